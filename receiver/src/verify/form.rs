//! Form bodies and query strings: `application/x-www-form-urlencoded` and the
//! fields of `multipart/form-data`.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// More fields than this are not a form that any provider sends.
const FIELDS_MAX: usize = 4096;

/// One field, decoded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair<'r> {
    pub name: Cow<'r, [u8]>,
    pub value: Cow<'r, [u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Urlencoded,
    Multipart,
}

/// What kind of form the content type names.
pub(crate) fn kind(headers: &HeaderMap) -> Option<Kind> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media = value.split(';').next().unwrap_or("").trim();
    if media.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Some(Kind::Urlencoded)
    } else if media.eq_ignore_ascii_case("multipart/form-data") {
        Some(Kind::Multipart)
    } else {
        None
    }
}

/// The fields in order; `None` if the body is no form, is a broken multipart
/// one, or has more than 4096 fields.
pub(crate) fn parse<'r>(headers: &HeaderMap, body: &'r [u8]) -> Option<Vec<Pair<'r>>> {
    let pairs = match kind(headers)? {
        Kind::Urlencoded => urlencoded(body).take(FIELDS_MAX + 1).collect(),
        Kind::Multipart => multipart(body, &boundary(headers)?)?,
    };
    (pairs.len() <= FIELDS_MAX).then_some(pairs)
}

/// The pairs of an urlencoded text. Parts between `&` that are empty are none.
pub(crate) fn urlencoded(text: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    text.split(|byte| *byte == b'&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = match part.iter().position(|byte| *byte == b'=') {
                Some(at) => (&part[..at], &part[at + 1..]),
                None => (part, &part[part.len()..]),
            };
            Pair {
                name: decode(name),
                value: decode(value),
            }
        })
}

/// Percent-decoding with `+` as a blank; a `%` that starts no escape stays.
fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) => match (nibble(*high), nibble(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            (other, _) => out.push(*other),
        }
    }
    Cow::Owned(out)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Names and values in byte order, exact repetitions once, no delimiters.
pub(crate) fn sorted(pairs: &[Pair<'_>]) -> Vec<u8> {
    let mut order: Vec<&Pair<'_>> = pairs.iter().collect();
    order.sort_unstable();
    order.dedup();
    concatenate(order)
}

/// The same with only the last value of each name.
pub(crate) fn sorted_last(pairs: &[Pair<'_>]) -> Vec<u8> {
    let last: std::collections::BTreeMap<&[u8], &Pair<'_>> =
        pairs.iter().map(|pair| (&*pair.name, pair)).collect();
    concatenate(last.into_values().collect())
}

fn concatenate(pairs: Vec<&Pair<'_>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(pairs.iter().map(|p| p.name.len() + p.value.len()).sum());
    for pair in pairs {
        out.extend_from_slice(&pair.name);
        out.extend_from_slice(&pair.value);
    }
    out
}

fn boundary(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim().eq_ignore_ascii_case("boundary") && !value.is_empty() && value.len() <= 70)
            .then(|| value.to_owned())
    })
}

fn multipart<'r>(body: &'r [u8], boundary: &str) -> Option<Vec<Pair<'r>>> {
    let delimiter = format!("--{boundary}");
    let mut rest = after(body, delimiter.as_bytes())?;
    let inner = format!("\r\n{delimiter}");
    let mut pairs = Vec::new();
    while !rest.starts_with(b"--") {
        rest = rest.strip_prefix(b"\r\n")?;
        let end = find(rest, inner.as_bytes())?;
        if let Some(pair) = part(&rest[..end]) {
            pairs.push(pair);
        }
        if pairs.len() > FIELDS_MAX {
            return None;
        }
        rest = &rest[end + inner.len()..];
    }
    Some(pairs)
}

/// A part with a name; others are no fields.
fn part(text: &[u8]) -> Option<Pair<'_>> {
    let end = find(text, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&text[..end]).ok()?;
    let name = head.split("\r\n").find_map(|line| {
        let (header, value) = line.split_once(':')?;
        if !header.trim().eq_ignore_ascii_case("content-disposition") {
            return None;
        }
        value.split(';').find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim()
                .eq_ignore_ascii_case("name")
                .then(|| value.trim().trim_matches('"').to_owned())
        })
    })?;
    Some(Pair {
        name: Cow::Owned(name.into_bytes()),
        value: Cow::Borrowed(&text[end + 4..]),
    })
}

fn after<'t>(text: &'t [u8], needle: &[u8]) -> Option<&'t [u8]> {
    find(text, needle).map(|at| &text[at + needle.len()..])
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    // `needle` starts with a rare byte: jumping to it keeps this linear in practice,
    // and the cost is bounded by text × 76 in the worst case.
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = text.get(from..)?.iter().position(|byte| *byte == first) {
        let at = from + at;
        if text[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}
