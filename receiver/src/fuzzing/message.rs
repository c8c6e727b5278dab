//! A request as fuzzing writes it: a line, headers, an empty line, a body.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::connection::HEAD_BYTES_MAX;

/// One request, byte for byte where it matters.
pub(super) struct Message<'d> {
    pub first: &'d [u8],
    pub headers: HeaderMap,
    pub body: &'d [u8],
}

impl<'d> Message<'d> {
    /// What cannot be a header is left out, and a head that is too large is none: the listener
    /// refuses both.
    pub fn read(data: &'d [u8]) -> Option<Self> {
        let end = data.windows(2).position(|pair| pair == b"\n\n");
        let (head, body) = match end {
            Some(end) => (&data[..end], &data[end + 2..]),
            None => (data, &[][..]),
        };
        if head.len() > HEAD_BYTES_MAX {
            return None;
        }
        let mut lines = head.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        let mut headers = HeaderMap::new();
        for line in lines {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let name = HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value) {
                // a map holds 32,768 of them; the listener takes 100
                let _ = headers.try_append(name, value);
            }
        }
        Some(Self {
            first,
            headers,
            body,
        })
    }

    /// The words of the first line.
    pub fn words(&self) -> impl Iterator<Item = &'d [u8]> {
        self.first.split(|byte| *byte == b' ')
    }

    /// The same as it is read.
    pub fn write(first: &str, headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
        let mut out = first.as_bytes().to_vec();
        for (name, value) in headers {
            out.push(b'\n');
            out.extend_from_slice(name.as_str().as_bytes());
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(b"\n\n");
        out.extend_from_slice(body);
        out
    }
}
