//! Single values out of a JSON text, without building the tree.
//!
//! The text is read once per pointer, in bounded memory, whatever its size. Of
//! a repeated key the last one counts, as in nearly every parser downstream.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON pointer (RFC 6901); empty or `/` is the whole text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// Reads one.
    ///
    /// # Errors
    /// That it does not start with `/`, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text == "/" {
            return Ok(Self(Vec::new()));
        }
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!("a JSON pointer starts with `/`: `{text}`"));
        };
        Ok(Self(
            path.split('/')
                .map(|step| step.replace("~1", "/").replace("~0", "~"))
                .collect(),
        ))
    }
}

impl Pointer {
    /// A member of the outermost object, whatever is in its name.
    pub fn member(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }
}

/// The value at `pointer` as it stands in the text; `None` if it is not there
/// or the text is not JSON.
pub fn raw<'t>(text: &'t [u8], pointer: &Pointer) -> Option<&'t str> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let found = Seek(&pointer.0).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    found.map(RawValue::get)
}

/// The value at `pointer` as text: a string decoded, a number or boolean as
/// written. `None` for null, arrays and objects.
pub fn scalar<'t>(text: &'t [u8], pointer: &Pointer) -> Option<Cow<'t, [u8]>> {
    let raw = raw(text, pointer)?;
    match raw.as_bytes().first()? {
        b'"' => decode_string(raw),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(raw.as_bytes())),
    }
}

fn decode_string(raw: &str) -> Option<Cow<'_, [u8]>> {
    let inner = raw.get(1..raw.len() - 1)?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner.as_bytes()));
    }
    let text: String = serde_json::from_str(raw).ok()?;
    Some(Cow::Owned(text.into_bytes()))
}

/// What a condition compares with: scalars as [`scalar`], arrays and objects as
/// written but without blanks outside strings.
pub fn comparable(text: &[u8], pointer: &Pointer) -> Option<Vec<u8>> {
    let raw = raw(text, pointer)?;
    match raw.as_bytes().first()? {
        b'"' => decode_string(raw).map(Cow::into_owned),
        b'{' | b'[' => Some(compact(raw)),
        b'n' => None,
        _ => Some(raw.as_bytes().to_vec()),
    }
}

fn compact(raw: &str) -> Vec<u8> {
    let (mut quoted, mut escaped) = (false, false);
    raw.bytes()
        .filter(|byte| {
            let keep = quoted || !byte.is_ascii_whitespace();
            if escaped {
                escaped = false;
            } else if quoted && *byte == b'\\' {
                escaped = true;
            } else if *byte == b'"' {
                quoted = !quoted;
            }
            keep
        })
        .collect()
}

/// The value at `pointer` as text, as [`scalar`]; `None` too if it is empty or longer than `bytes_max`.
pub fn text(text: &str, pointer: &Pointer, bytes_max: usize) -> Option<String> {
    let value = scalar(text.as_bytes(), pointer)?;
    let usable = !value.is_empty() && value.len() <= bytes_max;
    usable.then(|| String::from_utf8(value.into_owned()).ok())?
}

/// The items of the array at `pointer`, the first `max` of them.
pub fn items<'t>(text: &'t [u8], pointer: &Pointer, max: usize) -> Option<Vec<&'t str>> {
    let array = raw(text, pointer)?;
    let mut reader = serde_json::Deserializer::from_str(array);
    let items = reader.deserialize_seq(First(max)).ok()?;
    reader.end().ok()?;
    Some(items)
}

/// The first of a sequence; the others are read and not kept.
struct First(usize);

impl<'t> Visitor<'t> for First {
    type Value = Vec<&'t str>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut first = Vec::new();
        while first.len() < self.0 {
            match items.next_element::<&RawValue>()? {
                Some(item) => first.push(item.get()),
                None => return Ok(first),
            }
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}

struct Seek<'p>(&'p [String]);

impl<'t, 'p> DeserializeSeed<'t> for Seek<'p> {
    type Value = Option<&'t RawValue>;

    fn deserialize<D: Deserializer<'t>>(self, from: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            return <&RawValue as serde::Deserialize>::deserialize(from).map(Some);
        }
        from.deserialize_any(self)
    }
}

impl<'t, 'p> Visitor<'t> for Seek<'p> {
    type Value = Option<&'t RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(here) = map.next_key_seed(KeyIs(&self.0[0]))? {
            if here {
                found = map.next_value_seed(Seek(&self.0[1..]))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let wanted: Option<usize> = self.0[0].parse().ok();
        let mut found = None;
        for index in 0usize.. {
            if Some(index) == wanted {
                match items.next_element_seed(Seek(&self.0[1..]))? {
                    Some(value) => found = value,
                    None => break,
                }
            } else if items.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether the key read next is this one; does not copy it.
struct KeyIs<'p>(&'p str);

impl<'t, 'p> DeserializeSeed<'t> for KeyIs<'p> {
    type Value = bool;

    fn deserialize<D: Deserializer<'t>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'t, 'p> Visitor<'t> for KeyIs<'p> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, pointer: &str) -> Option<String> {
        scalar(text.as_bytes(), &Pointer::parse(pointer).unwrap())
            .map(|value| String::from_utf8(value.into_owned()).unwrap())
    }

    #[test]
    fn a_scalar_is_found_at_any_depth() {
        let text = r#"{"a":{"b":[1,{"c/d":"x\u00e9\n"}]},"n":12.50,"t":true,"z":null}"#;
        assert_eq!(at(text, "/a/b/1/c~1d").as_deref(), Some("xé\n"));
        assert_eq!(at(text, "/a/b/0").as_deref(), Some("1"));
        assert_eq!(at(text, "/n").as_deref(), Some("12.50"));
        assert_eq!(at(text, "/t").as_deref(), Some("true"));
        assert_eq!(at(text, "/z"), None);
        assert_eq!(at(text, "/a"), None);
        assert_eq!(at(text, "/n/x"), None);
        assert_eq!(at(text, "/missing"), None);
    }

    #[test]
    fn of_a_repeated_key_the_last_counts() {
        assert_eq!(at(r#"{"a":1,"a":"two"}"#, "/a").as_deref(), Some("two"));
    }

    #[test]
    fn broken_json_holds_nothing() {
        for text in ["", "{", r#"{"a":1"#, r#"{"a":1} x"#, "\u{feff}{}", "[1,"] {
            assert_eq!(at(text, "/a"), None, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(at(&deep, "/0/0/0"), None);
    }

    #[test]
    fn the_first_items_are_kept_as_they_stand() {
        let body = br#"{"a":[ {"b": 1}, "x" ,[ ], 4]}"#;
        let pointer = Pointer::parse("/a").unwrap();
        assert_eq!(
            items(body, &pointer, 3).unwrap(),
            [r#"{"b": 1}"#, r#""x""#, "[ ]"]
        );
        assert_eq!(items(body, &pointer, 9).unwrap().len(), 4);
        assert_eq!(items(body, &Pointer::parse("/a/0").unwrap(), 9), None);
        assert_eq!(items(b"[1,2", &Pointer::parse("/").unwrap(), 1), None);
        assert_eq!(items(br#"{"a":[1,2,}"#, &pointer, 1), None);
    }

    #[test]
    fn an_empty_array_compares_without_its_blanks() {
        let pointer = Pointer::parse("/events").unwrap();
        let got = comparable(br#"{"events": [ ] }"#, &pointer).unwrap();
        assert_eq!(got, b"[]");
    }
}
