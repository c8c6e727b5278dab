//! What a body may have been before a proxy or a framework wrote it anew.
//!
//! Only to find out what is the matter: nothing is ever accepted because another body would fit.

/// Larger bodies are not tried in other spellings.
pub(crate) const BODY_BYTES_MAX: usize = 256 << 10;

/// Other spellings of a body, each with what it is.
pub(crate) fn spellings(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    if body.len() > BODY_BYTES_MAX {
        return Vec::new();
    }
    let mut all = vec![
        ("without the line break at its end", trimmed(body)),
        ("with a line break at its end", [body, b"\n"].concat()),
        ("with CR LF line breaks", with_crlf(body)),
        ("with LF line breaks", with_lf(body)),
        (
            "with its blanks percent-encoded",
            replaced(body, b"+", b"%20"),
        ),
        (
            "with its blanks as plus signs",
            replaced(body, b"%20", b"+"),
        ),
        (
            "with lower-case percent-encoding",
            escapes_as(body, u8::to_ascii_lowercase),
        ),
        (
            "with upper-case percent-encoding",
            escapes_as(body, u8::to_ascii_uppercase),
        ),
    ];
    let compact = json(body, (",", ":"));
    all.extend(compact.clone().map(|json| ("as JSON without blanks", json)));
    all.extend(json(body, (", ", ": ")).map(|json| ("as JSON with blanks", json)));
    all.extend(json(body, (",", ": ")).map(|json| ("as JSON with blanks", json)));
    all.extend(indented(body).map(|json| ("as indented JSON", json)));
    if let Some(json) = compact {
        let slashes = |from, to| replaced(&json, from, to);
        all.push(("as JSON with its slashes escaped", slashes(b"/", b"\\/")));
        all.push(("as JSON with its slashes bare", slashes(b"\\/", b"/")));
        all.push(("as JSON with its letters escaped", escaped_letters(&json)));
    }
    all.retain(|(_, other)| other != body);
    all
}

fn trimmed(body: &[u8]) -> Vec<u8> {
    let end = body.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
    body[..end.map_or(0, |at| at + 1)].to_vec()
}

fn with_lf(body: &[u8]) -> Vec<u8> {
    replaced(body, b"\r\n", b"\n")
}

fn with_crlf(body: &[u8]) -> Vec<u8> {
    replaced(&with_lf(body), b"\n", b"\r\n")
}

fn replaced(body: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(from) {
            out.extend_from_slice(to);
            rest = after;
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

/// The digits behind percent signs in one case.
fn escapes_as(body: &[u8], case: impl Fn(&u8) -> u8) -> Vec<u8> {
    let mut out = body.to_vec();
    for at in 0..out.len().saturating_sub(2) {
        if out[at] == b'%' && out[at + 1..at + 3].iter().all(u8::is_ascii_hexdigit) {
            out[at + 1] = case(&out[at + 1]);
            out[at + 2] = case(&out[at + 2]);
        }
    }
    out
}

/// Whether it is JSON, by its looks: the pieces that follow care for strings only.
fn is_json(body: &[u8]) -> bool {
    let looks = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
    looks && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

/// The bytes of JSON that are no blanks between its tokens, each with whether it is within a string.
fn tokens(body: &[u8]) -> impl Iterator<Item = (u8, bool)> {
    let (mut within, mut escaped) = (false, false);
    body.iter().filter_map(move |byte| {
        let was_within = within;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if within => escaped = true,
            b'"' => within = !within,
            b' ' | b'\t' | b'\r' | b'\n' if !within => return None,
            _ => {}
        }
        Some((*byte, was_within && within))
    })
}

/// JSON in the order and with the numbers that it has, with these behind commas and colons.
fn json(body: &[u8], (comma, colon): (&str, &str)) -> Option<Vec<u8>> {
    if !is_json(body) {
        return None;
    }
    let mut out = Vec::with_capacity(body.len());
    for (byte, in_string) in tokens(body) {
        match (byte, in_string) {
            (b',', false) => out.extend_from_slice(comma.as_bytes()),
            (b':', false) => out.extend_from_slice(colon.as_bytes()),
            _ => out.push(byte),
        }
    }
    Some(out)
}

/// JSON as most languages indent it, by two blanks.
fn indented(body: &[u8]) -> Option<Vec<u8>> {
    let compact = json(body, (",", ":"))?;
    let mut out = Vec::with_capacity(compact.len() * 2);
    let mut depth = 0;
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth.min(64) * 2));
    };
    let mut all = tokens(&compact).peekable();
    while let Some((byte, in_string)) = all.next() {
        match byte {
            b'{' | b'[' if !in_string => {
                out.push(byte);
                let empty = matches!(all.peek(), Some((b'}' | b']', false)));
                depth += 1;
                if !empty {
                    line(&mut out, depth);
                }
            }
            b'}' | b']' if !in_string => {
                depth -= 1;
                if !matches!(out.last(), Some(b'{' | b'[')) {
                    line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' if !in_string => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' if !in_string => out.extend_from_slice(b": "),
            _ => out.push(byte),
        }
    }
    Some(out)
}

/// Letters beyond ASCII as JSON escapes, a `\u` with four hexadecimal digits for each UTF-16 unit.
fn escaped_letters(body: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(body) else {
        return body.to_vec();
    };
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() {
            out.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out.into_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn has(body: &str, wanted: &str) -> bool {
        let all = spellings(body.as_bytes());
        all.iter().any(|(_, other)| other == wanted.as_bytes())
    }

    #[test]
    fn what_frameworks_make_of_json_is_undone() {
        let sent = r#"{"b":"x: y, {é","a":[1.50,{}],"u":"http://h/"}"#;
        let received = [
            "{\"b\": \"x: y, {é\", \"a\": [1.50, {}], \"u\": \"http://h/\"}",
            "{\n  \"b\": \"x: y, {é\",\n  \"a\": [\n    1.50,\n    {}\n  ],\n  \"u\": \"http://h/\"\n}",
            "{\"b\":\"x: y, {é\",\"a\":[1.50,{}],\"u\":\"http:\\/\\/h\\/\"}",
        ];
        for other in received {
            assert!(has(other, sent), "{other}");
        }
        // and the other way round: what was sent with blanks and came without
        for other in &received[..2] {
            assert!(has(sent, other), "{other}");
        }
        assert!(has(r#"{"a":"é😀"}"#, r#"{"a":"\u00e9\ud83d\ude00"}"#));
    }

    #[test]
    fn line_breaks_and_forms_are_tried_too() {
        assert!(has("a\r\n", "a\n") && has("a\n", "a") && has("a", "a\n"));
        assert!(has("q=a+b", "q=a%20b") && has("q=%2f", "q=%2F"));
        assert!(spellings(&vec![b'x'; BODY_BYTES_MAX + 1]).is_empty());
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic_and_none_is_offered_itself(
            body in proptest::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\",:a1 \\\\\n%]{0,60}",
        ) {
            for body in [body, text.into_bytes()] {
                prop_assert!(spellings(&body).iter().all(|(_, other)| *other != body));
            }
        }
    }
}
