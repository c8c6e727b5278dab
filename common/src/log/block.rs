//! A block: the deliveries of one group commit, or a part of them.
//!
//! Layout, little endian:
//!
//! ```text
//! "CRB1" · crc32 of all that follows
//! first u64 · count u32 · received min u64 · received max u64
//! sources u16 × (length u8 · name) · keys u32 × (place u32 · key 16 · body digest u64)
//! 1 · sources × (deliveries u32 · bytes of their records u64)     may be missing
//! ── the index ends here ──
//! count × record length u32 · records
//! ```
//!
//! The index tells which sources are in the block, so that a route of a quiet
//! source skips busy ones, and which idempotency keys, so that they can be
//! found again without reading bodies. What each source has in the block was
//! added later: builds before it pass over it, and blocks of theirs are without.

use std::sync::Arc;

use bytes::{BufMut, Bytes};

use crate::engine::{self, IndexEntry};
use crate::ids::Offset;
use crate::log::account::{BySource, Kept};
use crate::log::keys::KeyMark;
use crate::time::Timestamp;

const MAGIC: [u8; 4] = *b"CRB1";
const CHECKED_FROM: usize = 8;
/// Says that what each source has follows.
const SHARES: u8 = 1;
/// What an index adds for each delivery's record: its length.
const LENGTH_BYTES: u64 = 4;

/// Bytes of a block that is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("block is not as it was written: {0}")]
pub struct BlockError(&'static str);

/// One delivery on its way into a block.
#[derive(Debug)]
pub struct Entry {
    /// Its encoded record.
    pub record: Vec<u8>,
    /// Its source.
    pub source: Arc<str>,
    /// When it was received.
    pub received_at: Timestamp,
    /// Its idempotency key, if it has one.
    pub key: Option<KeyMark>,
}

/// Encodes deliveries `first ..` as one block.
pub fn encode(first: Offset, entries: &[Entry]) -> engine::Block {
    let mut out =
        Vec::with_capacity(64 + entries.iter().map(|e| e.record.len() + 40).sum::<usize>());
    out.extend_from_slice(&MAGIC);
    out.put_u32_le(0);
    out.put_u64_le(first);
    out.put_u32_le(count(entries));
    let received = entries.iter().map(|e| e.received_at.millis());
    out.put_u64_le(received.clone().min().unwrap_or(0));
    out.put_u64_le(received.max().unwrap_or(0));
    let shares = shares(entries);
    put_sources(&mut out, &shares);
    put_keys(&mut out, entries);
    put_shares(&mut out, &shares);
    let index_bytes = u32::try_from(out.len()).expect("an index of one block is far below 4 GiB");
    for entry in entries {
        out.put_u32_le(
            u32::try_from(entry.record.len()).expect("bodies are bounded far below 4 GiB"),
        );
    }
    for entry in entries {
        out.extend_from_slice(&entry.record);
    }
    let crc = crc32fast::hash(&out[CHECKED_FROM..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    engine::Block {
        first,
        count: count(entries),
        index_bytes,
        bytes: Bytes::from(out),
    }
}

fn count(entries: &[Entry]) -> u32 {
    u32::try_from(entries.len()).expect("a commit holds far fewer than 2^32 deliveries")
}

/// What each source has among these deliveries, in order of its first.
pub fn shares(entries: &[Entry]) -> BySource {
    let mut shares: BySource = Vec::new();
    for entry in entries {
        let kept = Kept {
            deliveries: 1,
            bytes: entry.record.len() as u64,
            estimated_bytes: 0,
        };
        let is_its = |(name, _): &&mut (Arc<str>, Kept)| {
            Arc::ptr_eq(name, &entry.source) || **name == *entry.source
        };
        match shares.iter_mut().find(is_its) {
            Some((_, share)) => *share += kept,
            None => shares.push((entry.source.clone(), kept)),
        }
    }
    shares
}

fn put_sources(out: &mut Vec<u8>, shares: &[(Arc<str>, Kept)]) {
    out.put_u16_le(u16::try_from(shares.len()).expect("a block holds fewer than 65,536 sources"));
    for (name, _) in shares {
        out.put_u8(u8::try_from(name.len()).expect("source names are at most 64 bytes"));
        out.extend_from_slice(name.as_bytes());
    }
}

fn put_shares(out: &mut Vec<u8>, shares: &[(Arc<str>, Kept)]) {
    out.put_u8(SHARES);
    for (_, share) in shares {
        out.put_u32_le(u32::try_from(share.deliveries).expect("no more than deliveries in all"));
        out.put_u64_le(share.bytes);
    }
}

fn put_keys(out: &mut Vec<u8>, entries: &[Entry]) {
    let keys = entries
        .iter()
        .enumerate()
        .filter_map(|(place, e)| e.key.as_ref().map(|k| (place, k)));
    out.put_u32_le(u32::try_from(keys.clone().count()).expect("no more keys than deliveries"));
    for (place, mark) in keys {
        out.put_u32_le(u32::try_from(place).expect("no more places than deliveries"));
        out.put_u128_le(mark.key);
        out.put_u64_le(mark.digest);
    }
}

/// A block's index, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Offset of the first delivery.
    pub first: Offset,
    /// How many there are.
    pub count: u32,
    /// Earliest receive time.
    pub received_min: Timestamp,
    /// Latest receive time.
    pub received_max: Timestamp,
    /// Sources in it.
    pub sources: Vec<String>,
    /// Idempotency keys in it, with their offsets.
    pub keys: Vec<(Offset, KeyMark)>,
    /// What each of the sources has, unless an earlier build wrote it.
    shares: Option<Vec<Kept>>,
}

impl Index {
    /// Decodes the index part of a block.
    ///
    /// # Errors
    /// When the bytes are no block index. The checksum covers the whole block and is not checked here.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        let mut reader = Reader(bytes);
        if reader.array::<4>()? != MAGIC {
            return Err(BlockError("no block"));
        }
        reader.array::<4>()?;
        let first = reader.u64()?;
        let count = reader.u32()?;
        if first.checked_add(u64::from(count)).is_none() {
            return Err(BlockError("offsets beyond the last there is"));
        }
        let received_min = Timestamp(reader.u64()?);
        let received_max = Timestamp(reader.u64()?);
        let sources: Vec<String> = (0..reader.u16()?)
            .map(|_| reader.name())
            .collect::<Result<_, _>>()?;
        let keys = (0..reader.u32()?)
            .map(|_| reader.key(first, count))
            .collect::<Result<_, _>>()?;
        let shares = reader.shares(&sources)?;
        Ok(Self {
            first,
            count,
            received_min,
            received_max,
            sources,
            keys,
            shares,
        })
    }

    /// What each source has in the block that `entry` is of. Where the index does not say, it is an
    /// even share: exact for a block of one source.
    pub fn kept(&self, entry: &IndexEntry) -> impl Iterator<Item = (&str, Kept)> {
        let head_bytes = entry.bytes.len() as u64 + LENGTH_BYTES * u64::from(self.count);
        let records_bytes = entry.block_bytes.saturating_sub(head_bytes);
        let sources = self.sources.len() as u64;
        self.sources.iter().enumerate().map(move |(place, source)| {
            let kept = match &self.shares {
                Some(shares) => shares[place],
                None => even_share(place as u64, sources, self.count, records_bytes),
            };
            (source.as_str(), kept)
        })
    }
}

fn even_share(place: u64, sources: u64, deliveries: u32, bytes: u64) -> Kept {
    let of = |all: u64| all / sources + u64::from(place < all % sources);
    Kept {
        deliveries: of(u64::from(deliveries)),
        bytes: of(bytes),
        estimated_bytes: if sources > 1 { of(bytes) } else { 0 },
    }
}

/// A block as it is read: checked, records found, nothing copied.
#[derive(Debug, Clone)]
pub struct Block {
    first: Offset,
    bytes: Bytes,
    /// Where each record begins, and the end of the last one.
    starts: Vec<u32>,
}

impl Block {
    /// Checks a stored block and finds its records.
    ///
    /// # Errors
    /// When its checksum or shape is wrong.
    pub fn open(stored: &engine::Block) -> Result<Self, BlockError> {
        let bytes = stored.bytes.clone();
        let crc = bytes.get(4..8).ok_or(BlockError("cut short"))?;
        if crc != crc32fast::hash(&bytes[CHECKED_FROM..]).to_le_bytes() {
            return Err(BlockError("wrong checksum"));
        }
        Self::trusted(stored)
    }

    /// Finds the records of a block that this process has just made.
    ///
    /// # Errors
    /// When its shape is wrong.
    pub fn trusted(stored: &engine::Block) -> Result<Self, BlockError> {
        let index_bytes = stored.index_bytes as usize;
        let content = stored.bytes.get(index_bytes..);
        let mut lengths = Reader(content.ok_or(BlockError("cut short"))?);
        // before so many are made room for
        let lengths_bytes = 4 * stored.count as usize;
        if lengths.0.len() < lengths_bytes {
            return Err(BlockError("cut short"));
        }
        let mut at = index_bytes + lengths_bytes;
        let mut starts = Vec::with_capacity(stored.count as usize + 1);
        for _ in 0..stored.count {
            starts.push(u32::try_from(at).map_err(|_| BlockError("too large"))?);
            at += lengths.u32()? as usize;
        }
        starts.push(u32::try_from(at).map_err(|_| BlockError("too large"))?);
        if at != stored.bytes.len() {
            return Err(BlockError("records do not fill it"));
        }
        Ok(Self {
            first: stored.first,
            bytes: stored.bytes.clone(),
            starts,
        })
    }

    /// Offset of its first delivery.
    pub fn first(&self) -> Offset {
        self.first
    }

    /// One past the offset of its last delivery.
    pub fn end(&self) -> Offset {
        self.first + (self.starts.len() as u64 - 1)
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The record at an offset, if it is in here; shares the block's memory.
    pub fn record(&self, offset: Offset) -> Option<Bytes> {
        let place = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        let (start, end) = (*self.starts.get(place)?, *self.starts.get(place + 1)?);
        Some(self.bytes.slice(start as usize..end as usize))
    }

    /// The record at an offset without taking a share of the memory.
    pub fn peek(&self, offset: Offset) -> Option<&[u8]> {
        let place = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        let (start, end) = (*self.starts.get(place)?, *self.starts.get(place + 1)?);
        self.bytes.get(start as usize..end as usize)
    }
}

/// Reads little-endian values off the front of a slice.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], BlockError> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(BlockError("cut short"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, BlockError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, BlockError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, BlockError> {
        self.array().map(u64::from_le_bytes)
    }

    fn name(&mut self) -> Result<String, BlockError> {
        let [len] = self.array::<1>()?;
        let (name, rest) = self
            .0
            .split_at_checked(len as usize)
            .ok_or(BlockError("cut short"))?;
        self.0 = rest;
        String::from_utf8(name.to_vec()).map_err(|_| BlockError("a source name is not text"))
    }

    /// What each of the sources has, if that is there and of a kind that is known.
    fn shares(&mut self, sources: &[String]) -> Result<Option<Vec<Kept>>, BlockError> {
        if self.0.first() != Some(&SHARES) {
            return Ok(None);
        }
        self.array::<1>()?;
        let mut shares = Vec::with_capacity(sources.len());
        for _ in sources {
            shares.push(Kept {
                deliveries: u64::from(self.u32()?),
                bytes: self.u64()?,
                estimated_bytes: 0,
            });
        }
        Ok(Some(shares))
    }

    fn key(&mut self, first: Offset, count: u32) -> Result<(Offset, KeyMark), BlockError> {
        let place = self.u32()?;
        if place >= count {
            return Err(BlockError("a key of no delivery in it"));
        }
        let key = self.array().map(u128::from_le_bytes)?;
        Ok((
            first + u64::from(place),
            KeyMark {
                key,
                digest: self.u64()?,
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(source: &str, record: &[u8], key: Option<u128>) -> Entry {
        Entry {
            record: record.to_vec(),
            source: source.into(),
            received_at: Timestamp(record.len() as u64 + 7),
            key: key.map(|key| KeyMark { key, digest: 9 }),
        }
    }

    #[test]
    fn a_block_reads_back_what_went_in() {
        let stored = encode(
            10,
            &[
                entry("a", b"one", Some(1)),
                entry("b", b"", None),
                entry("a", b"three", Some(2)),
            ],
        );
        let block = Block::open(&stored).unwrap();
        assert_eq!((block.first(), block.end()), (10, 13));
        assert_eq!(block.record(10).unwrap(), "one");
        assert_eq!(block.record(11).unwrap(), "");
        assert_eq!(block.peek(12).unwrap(), b"three");
        assert!(block.record(9).is_none() && block.record(13).is_none());
    }

    #[test]
    fn the_index_alone_tells_sources_times_and_keys() {
        let stored = encode(
            10,
            &[
                entry("a", b"one", Some(1)),
                entry("b", b"", None),
                entry("a", b"three", Some(2)),
            ],
        );
        let index = Index::decode(&stored.bytes[..stored.index_bytes as usize]).unwrap();
        assert_eq!(index.sources, ["a", "b"]);
        assert_eq!(
            (index.received_min, index.received_max),
            (Timestamp(7), Timestamp(12))
        );
        let keys: Vec<_> = index.keys.iter().map(|(o, k)| (*o, k.key)).collect();
        assert_eq!(keys, [(10, 1), (12, 2)]);
    }

    fn kept_of(stored: &engine::Block) -> Vec<(String, u64, u64, u64)> {
        let entry = stored.index_entry();
        let index = Index::decode(&entry.bytes).unwrap();
        let figures = |(source, kept): (&str, Kept)| {
            let Kept {
                deliveries,
                bytes,
                estimated_bytes,
            } = kept;
            (source.to_owned(), deliveries, bytes, estimated_bytes)
        };
        index.kept(&entry).map(figures).collect()
    }

    /// As a build before there were quotas wrote it.
    fn without_shares(stored: &engine::Block, sources: usize) -> engine::Block {
        let shares_bytes = 1 + 12 * sources;
        let end = stored.index_bytes as usize;
        let mut bytes = stored.bytes.to_vec();
        bytes.drain(end - shares_bytes..end);
        let crc = crc32fast::hash(&bytes[CHECKED_FROM..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        engine::Block {
            index_bytes: stored.index_bytes - shares_bytes as u32,
            bytes: Bytes::from(bytes),
            ..stored.clone()
        }
    }

    #[test]
    fn the_index_tells_what_each_source_has_and_shares_evenly_where_it_does_not() {
        let entries = [
            entry("a", b"one", Some(1)),
            entry("b", b"", None),
            entry("a", b"three", Some(2)),
        ];
        let stored = encode(10, &entries);
        let told = [("a".to_owned(), 2, 8, 0), ("b".to_owned(), 1, 0, 0)];
        assert_eq!(kept_of(&stored), told);
        let old = without_shares(&stored, 2);
        assert_eq!(Block::open(&old).unwrap().record(12).unwrap(), "three");
        let shared = [("a".to_owned(), 2, 4, 4), ("b".to_owned(), 1, 4, 4)];
        assert_eq!(kept_of(&old), shared);
        let alone = without_shares(&encode(10, &entries[..1]), 1);
        assert_eq!(kept_of(&alone), [("a".to_owned(), 1, 3, 0)]);
    }

    #[test]
    fn an_index_names_no_offset_that_is_not_in_its_block() {
        let stored = encode(7, &[entry("a", b"one", Some(1))]);
        let index = &stored.bytes[..stored.index_bytes as usize];
        let changed = |at: usize, bytes: &[u8]| {
            let mut index = index.to_vec();
            index[at..at + bytes.len()].copy_from_slice(bytes);
            Index::decode(&index)
        };
        assert!(changed(8, &7u64.to_le_bytes()).is_ok());
        assert!(changed(8, &u64::MAX.to_le_bytes()).is_err());
        // what each source has comes after the keys
        let place = index.len() - 28 - 13;
        assert!(changed(place, &1u32.to_le_bytes()).is_err());
    }

    #[test]
    fn a_count_beyond_the_block_takes_no_memory() {
        let stored = encode(1, &[entry("a", b"one", None)]);
        let damaged = engine::Block {
            count: u32::MAX,
            ..stored
        };
        assert_eq!(Block::open(&damaged).unwrap_err(), BlockError("cut short"));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_found(at in 0usize..200, bit in 0u8..8) {
            let stored = encode(1, &[entry("a", &[7; 120], Some(3)), entry("b", &[1; 30], None)]);
            let mut bytes = stored.bytes.to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let damaged = engine::Block { bytes: Bytes::from(bytes), ..stored };
            // the magic is the index decoder's to check
            prop_assert!(at < 4 || Block::open(&damaged).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), index_bytes in 0u32..200, count in 0u32..20) {
            let _ = Index::decode(&bytes);
            let _ = Block::trusted(&engine::Block { first: 1, count, index_bytes, bytes: Bytes::from(bytes) });
        }
    }
}
