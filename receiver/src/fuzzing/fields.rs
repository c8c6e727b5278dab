//! Bodies that are looked into: forms and JSON.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use crate::verify::fuzzing::{self, Pointer};

/// Most bytes that a second reader checks: it builds what ours does not.
const COMPARED_BYTES_MAX: usize = 16 << 10;
const ITEMS_MAX: usize = 10_000;

/// The first line, and what is behind it.
fn line(data: &[u8]) -> (&[u8], &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n');
    match end {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}

/// A content type on the first line, a form after it.
pub fn form(data: &[u8]) {
    let (kind, body) = line(data);
    let Ok(kind) = HeaderValue::from_bytes(kind) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, kind);
    if let Some(fields) = fuzzing::form_fields(&headers, body) {
        let bytes: usize = fields
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        assert!(bytes <= body.len(), "a form of more than its bytes");
    }
    if let Some(sorted) = fuzzing::form_sorted(&headers, body) {
        assert!(sorted.len() <= body.len());
    }
    if body.len() <= COMPARED_BYTES_MAX {
        let ours = fuzzing::urlencoded(body);
        let theirs = url::form_urlencoded::parse(body);
        let lossy = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        let ours = ours.map(|(name, value)| (lossy(&name), lossy(&value)));
        let theirs = theirs.map(|(name, value)| (name.into_owned(), value.into_owned()));
        assert!(ours.eq(theirs), "another reader of forms reads otherwise");
    }
}

/// A JSON pointer on the first line, a text after it.
pub fn json(data: &[u8]) {
    let (path, text) = line(data);
    let path = String::from_utf8_lossy(path);
    let Ok(pointer) = Pointer::parse(&path) else {
        return;
    };
    let found = pointer.scalar(text);
    pointer.comparable(text);
    let items = pointer.items(text, ITEMS_MAX).unwrap_or_default();
    assert!(items.len() <= ITEMS_MAX);
    if text.len() > COMPARED_BYTES_MAX || path == "/" {
        return;
    }
    let Ok(tree) = serde_json::from_slice::<serde_json::Value>(text) else {
        return;
    };
    if let Some(serde_json::Value::String(wanted)) = tree.pointer(&path) {
        assert_eq!(found.as_deref(), Some(wanted.as_bytes()), "{path}");
    }
    if let Some(serde_json::Value::Array(wanted)) = tree.pointer(&path) {
        assert_eq!(items.len(), wanted.len().min(ITEMS_MAX), "{path}");
    }
}
