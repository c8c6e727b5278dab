//! Watches the head of a request for what two programs may read in two ways.
//!
//! With both `Content-Length` and `Transfer-Encoding` hyper follows the second
//! and forgets the first, as RFC 9112 6.3 allows. A proxy before us may have
//! followed the first: that is request smuggling, so such a request is refused.
//! So is a head with a line that ends in a bare LF: hyper takes it for the end of the line (RFC 9112,
//! 2.2), and a proxy before us may have taken it for a part of it.
//! A pipelined head that arrives in one read with the request before it is not
//! looked at; hyper's reading of it is safe for us by itself.

/// The longest name that matters, with its colon.
const NAME_BYTES_MAX: usize = TRANSFER_ENCODING.len();

const CONTENT_LENGTH: &[u8] = b"content-length:";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding:";

/// What was seen of one head so far.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    start: [u8; NAME_BYTES_MAX],
    /// Bytes of this line, as far as they are kept.
    kept: usize,
    /// The line is longer than what is kept of it.
    longer: bool,
    has_length: bool,
    has_encoding: bool,
    /// A line ended without a CR.
    has_bare_feed: bool,
    /// The last byte so far.
    last: u8,
    /// There was a line that is not empty: empty ones before a request are no part of it.
    begun: bool,
    ended: bool,
}

impl Framing {
    /// Reads on; answers whether the head can be read in two ways.
    pub fn read(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !self.ended && !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (line, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
            self.keep(line);
            if let Some(end) = end {
                let before = end.checked_sub(1).map_or(self.last, |before| rest[before]);
                self.has_bare_feed |= before != b'\r';
                self.end_line();
            }
            self.last = *line.last().unwrap_or(&self.last);
            rest = after;
        }
        self.has_bare_feed || self.has_length && self.has_encoding
    }

    fn keep(&mut self, part: &[u8]) {
        let room = NAME_BYTES_MAX - self.kept;
        let part_kept = part.len().min(room);
        self.start[self.kept..self.kept + part_kept].copy_from_slice(&part[..part_kept]);
        self.kept += part_kept;
        self.longer |= part.len() > room;
    }

    fn end_line(&mut self) {
        let line = &self.start[..self.kept];
        let begins =
            |name: &[u8]| line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name);
        self.has_length |= begins(CONTENT_LENGTH);
        self.has_encoding |= begins(TRANSFER_ENCODING);
        let is_empty = !self.longer && matches!(line, b"\n" | b"\r\n");
        self.ended = self.begun && is_empty;
        self.begun |= !is_empty;
        self.kept = 0;
        self.longer = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: &[u8] =
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nx: y\r\nTRANSFER-encoding:chunked\r\n\r\n";
    const ONE: &[u8] = b"POST / HTTP/1.1\r\nx-content-length: 1\r\ncontent-length:5\r\n\r\n\
        transfer-encoding: chunked\r\n\r\n";

    proptest! {
        #[test]
        fn two_lengths_are_seen_however_the_bytes_come(pieces in 1usize..40) {
            let mut framing = Framing::default();
            let seen = BOTH.chunks(pieces).fold(false, |_, piece| framing.read(piece));
            prop_assert!(seen);
        }

        #[test]
        fn empty_lines_before_a_request_hide_nothing(pieces in 1usize..40) {
            let hidden = [b"\r\n\r\n", BOTH].concat();
            let mut framing = Framing::default();
            let seen = hidden.chunks(pieces).fold(false, |_, piece| framing.read(piece));
            prop_assert!(seen);
        }

        #[test]
        fn a_bare_feed_is_seen_wherever_the_bytes_break(pieces in 1usize..40) {
            let mut framing = Framing::default();
            let bare = b"POST / HTTP/1.1\r\nx: y\nz: a\r\n\r\n";
            let seen = bare.chunks(pieces).fold(false, |_, piece| framing.read(piece));
            prop_assert!(seen);
        }

        #[test]
        fn a_body_that_looks_like_a_header_is_none(pieces in 1usize..40) {
            let mut framing = Framing::default();
            let seen = ONE.chunks(pieces).fold(false, |_, piece| framing.read(piece));
            prop_assert!(!seen);
        }
    }
}
