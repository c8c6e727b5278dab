//! Values: what a piece of a block looks like in the database, and blocks out of pieces.

use super::super::database::VALUE_BYTES_MAX;
use super::super::files::{Cursor, put_u32, put_u64};
use super::super::index::BlockRef;
use super::super::slots::Slot;
#[cfg(feature = "fuzzing")]
use super::super::slots::key;
use crate::ids::Offset;

/// crc, first offset, piece number, count, index length, block length
const HEAD_BYTES: usize = 4 + 8 + 4 * 4;
/// Content in one piece.
pub(in crate::engine::sled) const PIECE_BYTES: usize = VALUE_BYTES_MAX - HEAD_BYTES;

/// What a value says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// First offset of its block.
    pub(super) first: Offset,
    /// Which piece of the block, from 0.
    pub(super) piece: u32,
    /// Deliveries in the block.
    pub(super) count: u32,
    pub(super) index_bytes: u32,
    /// Length of the whole block.
    pub(super) bytes: u32,
}

/// Fills `scratch` with the value of one piece.
pub(super) fn encode<'a>(
    scratch: &'a mut Vec<u8>,
    key: &[u8],
    head: Head,
    piece: &[u8],
) -> &'a [u8] {
    scratch.clear();
    put_u32(scratch, 0);
    put_u64(scratch, head.first);
    for number in [head.piece, head.count, head.index_bytes, head.bytes] {
        put_u32(scratch, number);
    }
    scratch.extend_from_slice(piece);
    let crc = checksum(key, &scratch[4..]);
    scratch[..4].copy_from_slice(&crc.to_le_bytes());
    scratch
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(value);
    crc.finalize()
}

/// The head and the content of a value that is as it was written.
pub(super) fn decode<'a>(key: &[u8], value: &'a [u8]) -> Option<(Head, &'a [u8])> {
    let mut cursor = Cursor(value);
    if cursor.u32()? != checksum(key, cursor.0) {
        return None;
    }
    let head = Head {
        first: cursor.u64()?,
        piece: cursor.u32()?,
        count: cursor.u32()?,
        index_bytes: cursor.u32()?,
        bytes: cursor.u32()?,
    };
    Some((head, cursor.0))
}

/// The pieces of one block, as a scan meets them.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// The piece met last.
    last: Option<(Slot, Head)>,
    /// The block's index, as far as it has been met.
    pub(super) index: Vec<u8>,
}

impl Run {
    /// Takes the next piece; answers the block that it completes, whose index is in `self.index`.
    pub(super) fn take(&mut self, slot: Slot, head: Head, content: &[u8]) -> Option<BlockRef> {
        if head.piece == 0 {
            self.index.clear();
        } else {
            let goes_on = self.last.is_some_and(|(at, last)| {
                at + 1 == slot
                    && head
                        == Head {
                            piece: last.piece + 1,
                            ..last
                        }
            });
            if !goes_on {
                self.last = None;
                return None;
            }
        }
        let missing = (head.index_bytes as usize).saturating_sub(self.index.len());
        self.index
            .extend_from_slice(&content[..missing.min(content.len())]);
        self.last = Some((slot, head));
        let block = BlockRef {
            first: head.first,
            count: head.count,
            bytes: head.bytes,
            slot: slot.checked_sub(head.piece)?,
        };
        (head.piece + 1 == block.pieces()).then_some(block)
    }
}

/// Reads values as a scan would, each under the next slot, also with checksums that fit.
#[cfg(feature = "fuzzing")]
pub(in crate::engine::sled) fn read_values<'a>(values: impl Iterator<Item = &'a [u8]>) {
    let mut run = Run::default();
    for (value, slot) in values.zip(0..) {
        let key = key(slot);
        let _ = decode(&key, value);
        let mut sound = vec![0; 4];
        sound.extend_from_slice(value);
        let crc = checksum(&key, value);
        sound[..4].copy_from_slice(&crc.to_le_bytes());
        if let Some((head, content)) = decode(&key, &sound)
            && run.take(slot, head, content).is_some()
        {
            assert!(run.index.len() <= head.index_bytes as usize);
        }
    }
}

/// A value as a door takes it: without its checksum.
#[cfg(feature = "fuzzing")]
pub(in crate::engine::sled) fn sample_value() -> Vec<u8> {
    let head = Head {
        first: 1,
        piece: 0,
        count: 1,
        index_bytes: 4,
        bytes: 10,
    };
    encode(&mut Vec::new(), &key(0), head, b"0123456789")[4..].to_vec()
}
