//! One request in quarantine, whole, and how it becomes bytes and back.
//!
//! A frame is `length u32 · CRC-32 u32 · payload`, little endian. The payload is `kind u8 · id u64
//! · received u64 · length u8 · reason · length u32 · what was beside the body (bincode) · body`. The kind is 1, or 2
//! where the request came under TLS.

use std::net::IpAddr;

use bytes::Bytes;
use creel_common::delivery::Header;
use creel_common::ids::QuarantineId;
use creel_common::log::codec;
use creel_common::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::verify::Reason;

/// Kinds of payload: a request that came in clear, and one that came under TLS.
const CLEAR: u8 = 1;
const SECURE: u8 = 2;
/// Length and checksum.
pub const FRAME_HEAD_BYTES: usize = 8;
/// Largest frame that is read: the largest body of a source, with its head.
pub const FRAME_BYTES_MAX: usize = 1 << 30;

/// A request that failed verification: everything that is needed to judge it again.
///
/// Credentials are whole in here, because a token can only be judged whole. Nothing of this is shown
/// but through `shown.rs`.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name; 0 until it is written.
    pub id: QuarantineId,
    /// When it had been received whole: it is judged as of then.
    pub received_at: Timestamp,
    /// Why it was refused.
    pub reason: Reason,
    /// It came under TLS.
    pub secure: bool,
    /// The rest of its head.
    pub head: ItemHead,
    /// The body, byte for byte.
    pub body: Bytes,
}

/// What a request says beside its body.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemHead {
    /// The source it was sent to.
    pub source: String,
    /// Who was connected.
    pub peer: IpAddr,
    /// The sender, as it was believed on arrival.
    pub remote: IpAddr,
    /// Host and port of an absolute request target.
    pub authority: Option<String>,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Header lines as they came, credentials too.
    pub headers: Vec<Header>,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Item")
            .field("id", &self.id)
            .field("source", &self.head.source)
            .field("reason", &self.reason)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Item {
    /// About the bytes that it takes in memory and on disk.
    pub fn weight(&self) -> usize {
        let headers = self.head.headers.iter();
        let headers: usize = headers.map(|h| h.name.len() + h.value.len() + 16).sum();
        256 + self.head.target.len() + headers + self.body.len()
    }

    /// Adds it as a frame.
    ///
    /// # Errors
    /// When its head is larger than the codec takes, which listeners prevent.
    pub fn put_frame(&self, out: &mut Vec<u8>) -> Result<(), codec::CodecError> {
        let head = codec::to_bytes(&self.head)?;
        let at = out.len();
        let reason = self.reason.name().as_bytes();
        out.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
        out.push(if self.secure { SECURE } else { CLEAR });
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.received_at.millis().to_le_bytes());
        out.push(u8::try_from(reason.len()).unwrap_or(0));
        out.extend_from_slice(reason);
        // the codec takes 4 MiB at most
        out.extend_from_slice(&u32::try_from(head.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&self.body);
        let payload = &out[at + FRAME_HEAD_BYTES..];
        let (bytes, crc) = (payload.len(), crc32fast::hash(payload));
        out[at..at + 4].copy_from_slice(&u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes());
        out[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        Ok(())
    }

    /// Reads a payload whose checksum was right.
    pub fn of_payload(payload: &Bytes) -> Option<Self> {
        let (brief, rest) = Brief::of(payload)?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (head, body) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        let body_at = payload.len() - body.len();
        Some(Self {
            id: brief.id,
            received_at: brief.received_at,
            reason: brief.reason,
            secure: payload.first() == Some(&SECURE),
            head: codec::from_slice(head).ok()?,
            body: payload.slice(body_at..),
        })
    }

    /// Its header lines as the listener had them.
    pub fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.head.headers.len());
        for header in &self.head.headers {
            let name = HeaderName::from_bytes(header.name.as_bytes());
            let value = HeaderValue::from_bytes(&header.value);
            // they came out of such a map
            if let (Ok(name), Ok(value)) = (name, value) {
                map.append(name, value);
            }
        }
        map
    }
}

/// What a frame is counted and chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brief {
    /// Its name.
    pub id: QuarantineId,
    /// When it was received.
    pub received_at: Timestamp,
    /// Why it was refused.
    pub reason: Reason,
}

impl Brief {
    /// Reads the beginning of a payload; the rest comes along.
    pub fn of(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (kind, rest) = payload.split_first()?;
        if ![CLEAR, SECURE].contains(kind) {
            return None;
        }
        let (id, rest) = rest.split_first_chunk::<8>()?;
        let (received, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first()?;
        let (reason, rest) = rest.split_at_checked(usize::from(*len))?;
        let brief = Self {
            id: QuarantineId(u64::from_le_bytes(*id)),
            received_at: Timestamp(u64::from_le_bytes(*received)),
            // a word of another version is kept as the most general one
            reason: Reason::named(reason).unwrap_or(Reason::NoMatch),
        };
        Some((brief, rest))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A request of `source` from `remote` at `at`.
    pub fn item(source: &str, remote: &str, at: u64, body: &[u8]) -> Item {
        Item {
            id: QuarantineId(0),
            received_at: Timestamp(at),
            reason: Reason::NoMatch,
            secure: false,
            head: ItemHead {
                source: source.into(),
                peer: "127.0.0.1".parse().unwrap(),
                remote: remote.parse().unwrap(),
                authority: None,
                method: "POST".into(),
                target: format!("/in/{source}"),
                headers: vec![
                    Header::new("x-a", "1"),
                    Header::new("x-a", b"\xff".to_vec()),
                ],
            },
            body: Bytes::copy_from_slice(body),
        }
    }

    #[test]
    fn a_frame_reads_back_what_was_written_and_shows_no_header() {
        let mut written = item("gh", "192.0.2.1", 7, b"body\0\xff");
        written.id = QuarantineId(42);
        written.secure = true;
        let mut frame = Vec::new();
        written.put_frame(&mut frame).unwrap();
        let payload = Bytes::from(frame.split_off(FRAME_HEAD_BYTES));
        assert_eq!(crc32fast::hash(&payload).to_le_bytes(), frame[4..8]);
        assert_eq!(Item::of_payload(&payload).as_ref(), Some(&written));
        assert_eq!(written.header_map().get_all("x-a").iter().count(), 2);
        assert!(!format!("{written:?}").contains("x-a"));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut frame = Vec::new();
        item("gh", "::1", 7, b"body").put_frame(&mut frame).unwrap();
        let payload = Bytes::from(frame.split_off(FRAME_HEAD_BYTES));
        for end in 0..payload.len() - 4 {
            assert!(Item::of_payload(&payload.slice(..end)).is_none(), "{end}");
        }
        for at in 0..payload.len() {
            let mut hurt = payload.to_vec();
            hurt[at] ^= 0xff;
            let _ = Item::of_payload(&hurt.into());
        }
    }
}
