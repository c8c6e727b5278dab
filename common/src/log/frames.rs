//! The framed binary form of leases and settlements, between creel's own processes.
//!
//! A frame is `length u32 · kind u8 · payload`, little endian; the length is the
//! payload's. Records travel raw: a lease of 8 MiB is read with one allocation,
//! and each record is a slice of it (it keeps that memory alive). A last frame
//! says how many came before it, so that a cut message is never taken for a
//! short one.
//!
//! | kind | payload |
//! |---|---|
//! | 0 end | number of frames before it, u32 |
//! | 1 lease | id u64 · expires in ms u64 · items u32 · route |
//! | 2 item of the lease before it | offset u64 · attempt u32 · generation u32 · record |
//! | 3 settled | bincode of [`Settled`] |

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::codec;
use super::{LEASE_ITEMS_MAX, Lease, Leased, Settled};

/// Largest frame that is read: 256 MiB, far above any body.
pub const FRAME_BYTES_MAX: usize = 256 << 20;

/// Most frames in one message.
pub const FRAMES_MAX: u32 = 1 << 20;

/// A record of at least this size is handed on without being copied.
const RAW_BYTES_MIN: usize = 32 << 10;

const END: u8 = 0;
const LEASE: u8 = 1;
const ITEM: u8 = 2;
const SETTLED: u8 = 3;

const ITEM_HEAD_BYTES: usize = 16;
const LEASE_HEAD_BYTES: usize = 20;

/// Bytes that are no message of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a readable message: {0}")]
pub struct FrameError(&'static str);

/// Writes leases as a sequence of chunks; large records are not copied.
///
/// # Errors
/// When a record is larger than [`FRAME_BYTES_MAX`].
pub fn encode_leases(leases: &[Lease]) -> Result<Vec<Bytes>, FrameError> {
    let mut out = Writer::default();
    for lease in leases {
        out.head(LEASE, LEASE_HEAD_BYTES + lease.route.len())?;
        out.buffer.put_u64_le(lease.id);
        out.buffer.put_u64_le(millis(lease.expires_in));
        out.buffer.put_u32_le(count(lease.items.len())?);
        out.buffer.put_slice(lease.route.as_bytes());
        for item in &lease.items {
            out.head(ITEM, ITEM_HEAD_BYTES + item.record.len())?;
            out.buffer.put_u64_le(item.offset);
            out.buffer.put_u32_le(item.attempt);
            out.buffer.put_u32_le(item.generation);
            out.raw(&item.record);
        }
    }
    out.end()
}

/// Reads leases; records share the memory of `message`.
///
/// # Errors
/// [`FrameError`] when the message is not whole and exactly so.
pub fn decode_leases(message: Bytes) -> Result<Vec<Lease>, FrameError> {
    let mut frames = Reader::new(message);
    let mut leases = Vec::new();
    while let Some((kind, payload)) = frames.next()? {
        if kind != LEASE {
            return Err(FrameError("an item without a lease"));
        }
        let (mut lease, items) = read_lease(payload)?;
        for _ in 0..items {
            match frames.next()? {
                Some((ITEM, payload)) => lease.items.push(read_item(payload)?),
                _ => return Err(FrameError("a lease with too few items")),
            }
        }
        leases.push(lease);
    }
    Ok(leases)
}

/// Writes settlements.
///
/// # Errors
/// When one is larger than [`codec::PART_BYTES_MAX`].
pub fn encode_settled(settled: &[Settled]) -> Result<Bytes, FrameError> {
    let mut out = Writer::default();
    for one in settled {
        let payload = codec::to_bytes(one).map_err(|_| FrameError("too large to encode"))?;
        out.head(SETTLED, payload.len())?;
        out.buffer.put_slice(&payload);
    }
    out.frame_end()?;
    Ok(out.buffer.freeze())
}

/// Reads settlements, at most [`LEASE_ITEMS_MAX`].
///
/// # Errors
/// [`FrameError`] when the message is not whole and exactly so.
pub fn decode_settled(message: Bytes) -> Result<Vec<Settled>, FrameError> {
    let mut frames = Reader::new(message);
    let mut settled = Vec::new();
    while let Some((kind, payload)) = frames.next()? {
        if kind != SETTLED {
            return Err(FrameError("another kind of frame"));
        }
        if settled.len() >= LEASE_ITEMS_MAX as usize {
            return Err(FrameError("more than a lease holds"));
        }
        settled.push(codec::from_slice(&payload).map_err(|_| FrameError("undecodable"))?);
    }
    Ok(settled)
}

fn read_lease(mut payload: Bytes) -> Result<(Lease, u32), FrameError> {
    if payload.len() < LEASE_HEAD_BYTES {
        return Err(FrameError("cut short"));
    }
    let id = payload.get_u64_le();
    let expires_in = Duration::from_millis(payload.get_u64_le());
    let items = payload.get_u32_le();
    if items > LEASE_ITEMS_MAX {
        return Err(FrameError("more items than a lease holds"));
    }
    let route = std::str::from_utf8(&payload)
        .map_err(|_| FrameError("a route that is not text"))?
        .to_owned();
    let lease = Lease {
        id,
        route,
        expires_in,
        items: Vec::new(),
    };
    Ok((lease, items))
}

fn read_item(mut payload: Bytes) -> Result<Leased, FrameError> {
    if payload.len() < ITEM_HEAD_BYTES {
        return Err(FrameError("cut short"));
    }
    Ok(Leased {
        offset: payload.get_u64_le(),
        attempt: payload.get_u32_le(),
        generation: payload.get_u32_le(),
        record: payload,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn count(n: usize) -> Result<u32, FrameError> {
    u32::try_from(n).map_err(|_| FrameError("too many"))
}

#[derive(Default)]
struct Writer {
    done: Vec<Bytes>,
    buffer: BytesMut,
    frames: u32,
}

impl Writer {
    fn head(&mut self, kind: u8, payload_bytes: usize) -> Result<(), FrameError> {
        if payload_bytes > FRAME_BYTES_MAX {
            return Err(FrameError("too large to encode"));
        }
        self.buffer.put_u32_le(count(payload_bytes)?);
        self.buffer.put_u8(kind);
        self.frames += 1;
        Ok(())
    }

    fn raw(&mut self, record: &Bytes) {
        if record.len() < RAW_BYTES_MIN {
            self.buffer.put_slice(record);
            return;
        }
        self.done.push(self.buffer.split().freeze());
        self.done.push(record.clone());
    }

    fn frame_end(&mut self) -> Result<(), FrameError> {
        let before = self.frames;
        self.head(END, 4)?;
        self.buffer.put_u32_le(before);
        Ok(())
    }

    fn end(mut self) -> Result<Vec<Bytes>, FrameError> {
        self.frame_end()?;
        self.done.push(self.buffer.freeze());
        Ok(self.done)
    }
}

struct Reader {
    rest: Bytes,
    frames: u32,
}

impl Reader {
    fn new(message: Bytes) -> Self {
        Self {
            rest: message,
            frames: 0,
        }
    }

    /// The next frame; `None` after a good last one.
    fn next(&mut self) -> Result<Option<(u8, Bytes)>, FrameError> {
        if self.rest.len() < 5 {
            return Err(FrameError("cut short"));
        }
        let len = self.rest.get_u32_le() as usize;
        let kind = self.rest.get_u8();
        if len > FRAME_BYTES_MAX || self.frames >= FRAMES_MAX {
            return Err(FrameError("too large"));
        }
        if len > self.rest.len() {
            return Err(FrameError("cut short"));
        }
        let payload = self.rest.split_to(len);
        if kind != END {
            self.frames += 1;
            return Ok(Some((kind, payload)));
        }
        if payload[..] != self.frames.to_le_bytes() || !self.rest.is_empty() {
            return Err(FrameError("the end is not where it says"));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Report;
    use crate::outcome::Outcome;
    use proptest::prelude::*;

    fn lease(id: u64, records: &[Vec<u8>]) -> Lease {
        let item = |(at, record): (usize, &Vec<u8>)| Leased {
            offset: at as u64 + 7,
            attempt: 2,
            generation: 1,
            record: Bytes::from(record.clone()),
        };
        Lease {
            id,
            route: "github-builds".into(),
            expires_in: Duration::from_secs(60),
            items: records.iter().enumerate().map(item).collect(),
        }
    }

    fn joined(chunks: &[Bytes]) -> Bytes {
        Bytes::from(chunks.concat())
    }

    #[test]
    fn leases_read_back_with_small_and_large_records() {
        let leases = vec![
            lease(u64::MAX, &[vec![], vec![1; 10], vec![2; RAW_BYTES_MIN + 3]]),
            lease(2, &[]),
            lease(3, &[vec![0xff; 5]]),
        ];
        let message = joined(&encode_leases(&leases).unwrap());
        assert_eq!(decode_leases(message).unwrap(), leases);
    }

    #[test]
    fn a_large_record_is_not_copied_on_either_side() {
        let leases = [lease(1, &[vec![9; RAW_BYTES_MIN]])];
        let chunks = encode_leases(&leases).unwrap();
        let record = leases[0].items[0].record.as_ptr();
        assert!(chunks.iter().any(|chunk| chunk.as_ptr() == record));
        let message = joined(&chunks);
        let within = message.as_ptr_range();
        let read = decode_leases(message).unwrap();
        assert!(within.contains(&read[0].items[0].record.as_ptr()));
    }

    #[test]
    fn settlements_read_back() {
        let settled: Vec<Settled> = [
            Outcome::Delivered,
            Outcome::Retry {
                after: Some(Duration::from_secs(3)),
            },
            Outcome::Reject,
        ]
        .into_iter()
        .enumerate()
        .map(|(at, outcome)| Settled {
            offset: at as u64,
            outcome,
            report: Report {
                status: Some(500),
                error: Some("no".into()),
                response: vec![0xff, 0],
                ..Report::default()
            },
        })
        .collect();
        let message = encode_settled(&settled).unwrap();
        assert_eq!(decode_settled(message).unwrap(), settled);
    }

    #[test]
    fn more_items_than_a_lease_holds_are_refused_before_anything_is_made_for_them() {
        let mut message = BytesMut::new();
        message.put_u32_le(21);
        message.put_u8(LEASE);
        message.put_u64_le(1);
        message.put_u64_le(1);
        message.put_u32_le(u32::MAX);
        message.put_u8(b'r');
        assert!(decode_leases(message.freeze()).is_err());
    }

    proptest! {
        #[test]
        fn a_cut_message_is_never_a_shorter_one(cut in 0usize..200) {
            let message = joined(&encode_leases(&[lease(1, &[vec![1; 40], vec![2; 40]])]).unwrap());
            let cut = cut.min(message.len() - 1);
            prop_assert!(decode_leases(message.slice(..cut)).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_leases(Bytes::from(bytes.clone()));
            let _ = decode_settled(Bytes::from(bytes));
        }
    }
}
