//! One volume: a sled database of blocks, and its index file.
//!
//! A block is one value or, when it is large, several, in slots one after the other (`slots.rs`).
//! They are inserted in order, so that after a crash, which leaves a prefix of the inserts, a block is
//! there exactly if its last piece is. Each value says which piece of which block it is, and carries
//! a checksum over its key and all of that.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};

use super::database::{self, OpenError, VALUE_BYTES_MAX, panic_text, sled_failed};
use super::files::{self, Cursor, failed, put_u32, put_u64};
use super::index::{self, BlockRef, Footer, IndexWriter};
use super::name::VolumeName;
use super::rest::Rest;
use super::slots::{Slot, Slots, key, parse_key};
use crate::engine::{Block, EngineError, IndexEntry};
use crate::ids::Offset;

/// crc, first offset, piece number, count, index length, block length
const HEAD_BYTES: usize = 4 + 8 + 4 * 4;
/// Content in one piece.
pub(super) const PIECE_BYTES: usize = VALUE_BYTES_MAX - HEAD_BYTES;
/// Page cache of a volume.
const CACHE_BYTES: u64 = 16 << 20;
/// sled evicts pages only when one of 256 queues has taken 64 accesses, whatever its cache's bound.
/// Appended or read once, a leaf is accessed about 8 times and then never again, so that a whole
/// volume would stay in memory (measured: 250 MB of 400). These extra accesses per value fill a
/// queue with each leaf, which leaves one leaf per queue (46 MB), and cost 3 µs per value.
const TOUCHES: usize = 8;
/// Smaller values fill no memory to speak of and are not touched again.
const TOUCHED_BYTES_MIN: usize = 4 * 1024;
/// Room for a block that is made before its first piece has shown that it is there.
const READ_AHEAD_BYTES: usize = 1 << 20;
/// So many blocks at each end say whether an index is that of its database.
const FITTING: usize = 3;

/// An open volume.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) name: VolumeName,
    path: PathBuf,
    db: sled::Db,
    /// The database's file, to ask its size.
    file: File,
    /// Its blocks whose append has returned, in order.
    refs: RwLock<Vec<BlockRef>>,
    /// Where the next value goes.
    slots: Mutex<Slots>,
    /// Being written, unless it is sealed.
    index: Mutex<Option<IndexWriter>>,
    /// Not all of its database could be read: nothing may be appended.
    pub(super) hurt: bool,
    /// The span it stands for, if it was rewritten.
    rest: Option<Rest>,
    /// Indexes of blocks that its database has not kept.
    pub(super) gone: Vec<IndexEntry>,
}

/// Is handed blocks with their indexes.
type Visit<'a> = &'a mut dyn FnMut(BlockRef, &[u8]) -> Result<(), EngineError>;

/// The name of a kept index file.
fn index_copy(name: VolumeName) -> String {
    format!("{name}-index")
}

/// The index entries of a volume, as far as its file can be read.
pub(super) fn entries(path: &Path) -> std::io::Result<Vec<IndexEntry>> {
    let mut entries = Vec::new();
    index::read(path, &mut |block, bytes: &[u8]| {
        entries.push(index::entry(block, bytes))
    })?;
    Ok(entries)
}

/// What a value says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    /// First offset of its block.
    first: Offset,
    /// Which piece of the block, from 0.
    piece: u32,
    /// Deliveries in the block.
    count: u32,
    index_bytes: u32,
    /// Length of the whole block.
    bytes: u32,
}

impl BlockRef {
    /// How many values it takes.
    fn pieces(&self) -> u32 {
        (self.bytes as usize).div_ceil(PIECE_BYTES).max(1) as u32
    }

    /// The slot of its last piece.
    fn last_slot(&self) -> Slot {
        self.slot + (self.pieces() - 1)
    }
}

/// Fills `scratch` with the value of one piece.
fn encode<'a>(scratch: &'a mut Vec<u8>, key: &[u8], head: Head, piece: &[u8]) -> &'a [u8] {
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
fn decode<'a>(key: &[u8], value: &'a [u8]) -> Option<(Head, &'a [u8])> {
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

impl Volume {
    /// Makes an empty volume, closed and synced.
    pub(super) fn create(volumes: &Path, name: VolumeName) -> Result<(), EngineError> {
        let path = volumes.join(name.to_string());
        let making = volumes.join(format!("making-{name}"));
        database::create(&path, &making, &[])
    }

    /// Opens a volume for reading and, unless it is sealed, for writing. Blocks without a frame
    /// in the index get one; pieces of a block that is not whole are passed over.
    pub(super) fn open(volumes: &Path, name: VolumeName) -> Result<Self, OpenError> {
        let path = volumes.join(name.to_string());
        let copy = damaged_dir(volumes).join(name.to_string());
        let db = database::open_or_mend(&path, &copy, CACHE_BYTES)?;
        let file = File::open(path.join("db")).map_err(failed(&path))?;
        let mut refs = Vec::new();
        let found = index::read(&path, &mut |block, _| refs.push(block)).map_err(failed(&path))?;
        let mut volume = Self {
            name,
            rest: Rest::read(&path),
            path,
            db,
            file,
            refs: RwLock::new(refs),
            slots: Mutex::new(Slots::default()),
            index: Mutex::new(None),
            hurt: false,
            gone: Vec::new(),
        };
        if found.footer.is_none() {
            volume.hurt = !volume.catch_up(found.valid_bytes, &copy)?;
        }
        Ok(volume)
    }

    /// Whether what the index says is what the database says of itself. Only what can be read counts:
    /// a damaged database has no other index.
    pub(super) fn fits_its_index(&self) -> bool {
        let refs = self.refs.read();
        let (first, last) = (refs.iter().take(FITTING), refs.iter().rev().take(FITTING));
        first.chain(last).all(|block| match self.get(block.slot) {
            Ok(Some(value)) => decode(&key(block.slot), &value).is_none_or(|(head, _)| {
                (head.first, head.piece, head.count, head.bytes)
                    == (block.first, 0, block.count, block.bytes)
            }),
            _ => true,
        })
    }

    /// Brings the index of an unsealed volume up to what its database holds; answers whether all
    /// of that could be read.
    fn catch_up(&mut self, valid_bytes: u64, copy: &Path) -> Result<bool, EngineError> {
        let mut known = Vec::new();
        let fits = self.fits_its_index();
        let mut refs = self.refs.write();
        let last = refs
            .last()
            .map(|last| self.get(last.last_slot()))
            .transpose();
        let last = sound_or_none(last)?;
        let valid_bytes = match &last {
            _ if !fits => {
                tracing::error!(volume = %self.name, "its index is not its own; made anew");
                files::keep_copy(&self.path, copy);
                refs.clear();
                0
            }
            // the index knows more than the database has kept: it is rebuilt
            Some(Some(None)) => {
                tracing::error!(volume = %self.name, "it has lost its last blocks");
                files::keep_copy(&self.path, copy);
                known = entries(&self.path).map_err(failed(&self.path))?;
                refs.clear();
                0
            }
            _ => valid_bytes,
        };
        let index_file = self.path.join(index::FILE);
        if std::fs::metadata(&index_file).is_ok_and(|file| file.len() > valid_bytes) {
            files::keep_copy(&index_file, &copy.with_file_name(index_copy(self.name)));
        }
        let mut writer = IndexWriter::open(&self.path, valid_bytes).map_err(failed(&self.path))?;
        let from = refs.last().map_or(0, |last| last.last_slot() + 1);
        let scanned = self.scan_guarded(from, &mut |block, bytes| {
            writer.push(block, bytes);
            refs.push(block);
            if writer.pending().len() > 1 << 20 {
                writer.write().map_err(failed(&self.path))?;
            }
            Ok(())
        });
        let slots = sound_or_none(scanned)?;
        writer.write().map_err(failed(&self.path))?;
        *self.index.lock() = Some(writer);
        *self.slots.lock() = slots.unwrap_or_default();
        let is_gone = |entry: &IndexEntry| {
            refs.binary_search_by_key(&entry.first, |b| b.first)
                .is_err()
        };
        known.retain(is_gone);
        drop(refs);
        self.gone = known;
        Ok(last.is_some() && slots.is_some())
    }

    /// As [`Volume::scan`]; a panic of sled's is damage.
    fn scan_guarded(&self, from: Slot, visit: Visit<'_>) -> Result<Slots, EngineError> {
        catch_unwind(AssertUnwindSafe(|| self.scan(from, visit)))
            .unwrap_or_else(|panic| Err(EngineError::Damaged(panic_text(&*panic))))
    }

    /// Hands the blocks from `from` on to `visit` with their indexes, and answers which slots are
    /// taken. A damaged piece takes its block along, whose offsets are then found missing.
    fn scan(&self, from: Slot, visit: Visit<'_>) -> Result<Slots, EngineError> {
        let mut slots = Slots {
            next: from,
            staked: from,
        };
        let mut run = Run::default();
        for entry in self.db.range(key(from)..) {
            let (key, value) = entry.map_err(|e| self.unreadable(slots.next, &e))?;
            let Some(slot) = parse_key(&key) else {
                continue;
            };
            slots.staked = slot + 1;
            if value.is_empty() {
                continue;
            }
            slots.next = slot + 1;
            let Some((head, content)) = decode(&key, &value) else {
                tracing::error!(volume = %self.name, slot, "damaged value");
                run = Run::default();
                continue;
            };
            let Some(block) = run.take(slot, head, content) else {
                continue;
            };
            visit(block, &run.index)?;
        }
        Ok(slots)
    }

    fn failed(&self, error: &sled::Error) -> EngineError {
        sled_failed(&self.path, error)
    }

    fn damaged(&self, block: BlockRef, what: &str) -> EngineError {
        EngineError::Damaged(format!(
            "volume {}, offsets {} to {}: {what}",
            self.name.number,
            block.first,
            block.end() - 1
        ))
    }

    /// Inserts a block, unsynced and not yet visible; answers where it is.
    pub(super) fn insert(
        &self,
        block: &Block,
        scratch: &mut Vec<u8>,
    ) -> Result<BlockRef, EngineError> {
        let mut slots = self.slots.lock();
        let at = BlockRef {
            first: block.first,
            count: block.count,
            bytes: block.bytes.len() as u32,
            slot: slots.next,
        };
        for piece in 0..at.pieces() {
            slots.stake(&self.db).map_err(|e| self.failed(&e))?;
            let from = piece as usize * PIECE_BYTES;
            let to = (from + PIECE_BYTES).min(block.bytes.len());
            let key = key(slots.next);
            let head = Head {
                first: block.first,
                piece,
                count: block.count,
                index_bytes: block.index_bytes,
                bytes: at.bytes,
            };
            let value = encode(scratch, &key, head, &block.bytes[from..to]);
            let bytes = value.len();
            self.db.insert(key, value).map_err(|e| self.failed(&e))?;
            self.touch(&key, bytes)?;
            slots.next += 1;
        }
        Ok(at)
    }

    /// Makes sled notice that the leaf of this value, and others before it, can be evicted.
    fn touch(&self, key: &[u8], bytes: usize) -> Result<(), EngineError> {
        if bytes >= TOUCHED_BYTES_MIN {
            for _ in 0..TOUCHES {
                self.db.get(key).map_err(|e| self.failed(&e))?;
            }
        }
        Ok(())
    }

    /// Syncs all that was inserted.
    pub(super) fn flush(&self) -> Result<(), EngineError> {
        self.db.flush().map(drop).map_err(|e| self.failed(&e))
    }

    /// Makes blocks visible whose flush has returned; `refs` is what their inserts answered.
    pub(super) fn publish(&self, blocks: &[Block], refs: &[BlockRef]) {
        if let Some(writer) = &mut *self.index.lock() {
            for (block, at) in blocks.iter().zip(refs) {
                writer.push(*at, &block.bytes[..block.index_bytes as usize]);
            }
        }
        self.refs.write().extend_from_slice(refs);
    }

    /// Its first offset and one past its last; `None` when it is empty.
    pub(super) fn span(&self) -> Option<(Offset, Offset)> {
        if let Some(rest) = self.rest {
            return Some((rest.first, rest.end));
        }
        let refs = self.refs.read();
        Some((refs.first()?.first, refs.last()?.end()))
    }

    /// Stretches of offsets that its blocks hold; for a rewritten one in which no block is missing
    /// all that it stands for.
    pub(super) fn stretches(&self) -> Vec<(Offset, Offset)> {
        if let Some(rest) = self.rest
            && rest.blocks == self.refs.read().len() as u64
        {
            return vec![(rest.first, rest.end)];
        }
        let mut all: Vec<(Offset, Offset)> = Vec::new();
        for block in &*self.refs.read() {
            match all.last_mut() {
                Some(last) if last.1 == block.first => last.1 = block.end(),
                _ => all.push((block.first, block.end())),
            }
        }
        all
    }

    /// Size of its database's file.
    pub(super) fn db_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |m| m.len())
    }

    /// Blocks that end above `from`, as many as fit into `bytes_max`, and whether these are all.
    pub(super) fn refs_from(&self, from: Offset, bytes_max: usize) -> (Vec<BlockRef>, bool) {
        let refs = self.refs.read();
        let rest = &refs[refs.partition_point(|b| b.end() <= from)..];
        let mut left = bytes_max;
        let fitting = rest.iter().take_while(|b| {
            let fits = left.checked_sub(b.bytes as usize);
            left = fits.unwrap_or(0);
            fits.is_some()
        });
        let fitting: Vec<BlockRef> = fitting.copied().collect();
        let all = fitting.len() == rest.len();
        (fitting, all)
    }

    /// The first block that ends above `from`.
    pub(super) fn ref_at(&self, from: Offset) -> Option<BlockRef> {
        let refs = self.refs.read();
        refs.get(refs.partition_point(|b| b.end() <= from)).copied()
    }

    /// The value in a slot; `None` when nothing was put there.
    fn get(&self, slot: Slot) -> Result<Option<sled::IVec>, EngineError> {
        // sled may panic on a page that is not what it wrote
        let found = catch_unwind(AssertUnwindSafe(|| self.db.get(key(slot))));
        match found {
            Ok(Ok(found)) => Ok(found.filter(|value| !value.is_empty())),
            Ok(Err(e)) => Err(self.unreadable(slot, &e)),
            Err(panic) => Err(EngineError::Damaged(format!(
                "volume {}, slot {slot}: {}",
                self.name.number,
                panic_text(&*panic)
            ))),
        }
    }

    fn unreadable(&self, slot: Slot, error: &sled::Error) -> EngineError {
        match error {
            sled::Error::Corruption { .. } => {
                EngineError::Damaged(format!("volume {}, slot {slot}: {error}", self.name.number))
            }
            error => self.failed(error),
        }
    }

    /// Reads a block back, checked.
    pub(super) fn read_block(&self, block: BlockRef) -> Result<Block, EngineError> {
        let mut all = BytesMut::with_capacity((block.bytes as usize).min(READ_AHEAD_BYTES));
        let mut index_bytes = 0;
        for piece in 0..block.pieces() {
            let slot = block.slot + piece;
            let value = self.get(slot)?;
            let value = value.ok_or_else(|| self.damaged(block, "not there"))?;
            let key = key(slot);
            let (head, content) =
                decode(&key, &value).ok_or_else(|| self.damaged(block, "checksum differs"))?;
            self.touch(&key, value.len())?;
            index_bytes = head.index_bytes;
            let wanted = Head {
                first: block.first,
                piece,
                count: block.count,
                index_bytes,
                bytes: block.bytes,
            };
            if head != wanted {
                return Err(self.damaged(block, "not what the index says"));
            }
            all.extend_from_slice(content);
        }
        if all.len() != block.bytes as usize || index_bytes > block.bytes {
            return Err(self.damaged(block, "not what the index says"));
        }
        Ok(Block {
            first: block.first,
            count: block.count,
            index_bytes,
            bytes: Bytes::from(all),
        })
    }

    /// The index entries of an unsealed volume; `None` when it is sealed.
    pub(super) fn entries(&self) -> Result<Option<Vec<IndexEntry>>, EngineError> {
        let writer = self.index.lock();
        let Some(writer) = &*writer else {
            return Ok(None);
        };
        let mut entries = Vec::new();
        let mut push = |block, bytes: &[u8]| entries.push(index::entry(block, bytes));
        index::read(&self.path, &mut push).map_err(failed(&self.path))?;
        index::read_buffer(writer.pending(), &mut push);
        Ok(Some(entries))
    }

    /// Gives pending index frames to the file, unsynced.
    pub(super) fn write_index(&self) -> Result<(), EngineError> {
        match &mut *self.index.lock() {
            Some(writer) => writer.write().map_err(failed(&self.path)),
            None => Ok(()),
        }
    }

    /// Ends its index file with a footer, synced. Nothing may be appended any more.
    pub(super) fn seal(&self) -> Result<Footer, EngineError> {
        let (first, end) = self.span().unwrap_or_default();
        let footer = Footer {
            first,
            end,
            blocks: self.refs.read().len() as u64,
            db_bytes: self.db_bytes(),
        };
        let mut writer = self.index.lock();
        if let Some(writer) = &mut *writer {
            writer
                .seal(&self.path, footer)
                .map_err(failed(&self.path))?;
        }
        *writer = None;
        Ok(footer)
    }

    /// Says durably that it stands for `first .. end`, with the blocks that are in it now.
    pub(super) fn set_rest(&mut self, first: Offset, end: Offset) -> Result<(), EngineError> {
        let rest = Rest {
            first,
            end,
            blocks: self.refs.read().len() as u64,
        };
        rest.write(&self.path).map_err(failed(&self.path))?;
        self.rest = Some(rest);
        Ok(())
    }

    /// Reads every block; answers those that cannot be read back.
    pub(super) fn verify(&self) -> Result<Vec<BlockRef>, EngineError> {
        let refs = self.refs.read().clone();
        let mut unreadable = Vec::new();
        for block in refs {
            match self.read_block(block) {
                Ok(_) => {}
                Err(EngineError::Damaged(_)) => unreadable.push(block),
                Err(e) => return Err(e),
            }
        }
        Ok(unreadable)
    }
}

/// The pieces of one block, as a scan meets them.
#[derive(Debug, Default)]
struct Run {
    /// The piece met last.
    last: Option<(Slot, Head)>,
    /// The block's index, as far as it has been met.
    index: Vec<u8>,
}

impl Run {
    /// Takes the next piece; answers the block that it completes, whose index is in `self.index`.
    fn take(&mut self, slot: Slot, head: Head, content: &[u8]) -> Option<BlockRef> {
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
pub(super) fn read_values<'a>(values: impl Iterator<Item = &'a [u8]>) {
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
pub(super) fn sample_value() -> Vec<u8> {
    let head = Head {
        first: 1,
        piece: 0,
        count: 1,
        index_bytes: 4,
        bytes: 10,
    };
    encode(&mut Vec::new(), &key(0), head, b"0123456789")[4..].to_vec()
}

/// `None` for damage, which has been logged then.
fn sound_or_none<T>(read: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(EngineError::Damaged(why)) => {
            tracing::error!(why, "damaged; going on with what can be read");
            Ok(None)
        }
        Err(e) => Err(e),
    }
}

/// Where damaged volumes, and copies of them, are kept for people.
pub(super) fn damaged_dir(volumes: &Path) -> PathBuf {
    volumes.with_file_name("damaged")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::engine::{assert_same_blocks, block};

    fn reopened(volumes: &Path) -> Volume {
        Volume::open(volumes, VolumeName::new(1)).unwrap()
    }

    fn volume(dir: &Path) -> (PathBuf, Volume) {
        let volumes = dir.join("v");
        super::super::files::make_dir(&volumes).unwrap();
        Volume::create(&volumes, VolumeName::new(1)).unwrap();
        let volume = reopened(&volumes);
        (volumes, volume)
    }

    fn append(volume: &Volume, blocks: &[Block]) -> Vec<BlockRef> {
        let insert = |block| volume.insert(block, &mut Vec::new()).unwrap();
        let refs: Vec<BlockRef> = blocks.iter().map(insert).collect();
        volume.flush().unwrap();
        volume.publish(blocks, &refs);
        refs
    }

    #[test]
    fn pieces_of_a_block_that_is_not_whole_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (volumes, volume) = volume(dir.path());
        append(&volume, &[block(1, 2, 100_000)]);
        // what a crash between the pieces of block 3 leaves
        let torn = volume.insert(&block(3, 1, 90_000), &mut Vec::new());
        let last = torn.unwrap().last_slot();
        volume.db.insert(key(last), &[]).unwrap();
        volume.flush().unwrap();
        drop(volume);
        let volume = reopened(&volumes);
        assert_eq!(volume.span(), Some((1, 3)));
        let again = [block(3, 2, 50_000), block(5, 1, 10)];
        let refs = append(&volume, &again);
        assert_eq!(refs[0].slot, last);
        drop(volume);
        // also when the index has to be found again
        std::fs::remove_file(
            volumes
                .join(VolumeName::new(1).to_string())
                .join(index::FILE),
        )
        .unwrap();
        let volume = reopened(&volumes);
        assert_eq!(volume.span(), Some((1, 6)));
        let read = |at: &BlockRef| volume.read_block(*at).unwrap();
        assert_same_blocks(&refs.iter().map(read).collect::<Vec<_>>(), &again);
    }

    #[test]
    fn a_value_is_written_about_once() {
        let dir = tempfile::tempdir().unwrap();
        let (_, volume) = volume(dir.path());
        let blocks: Vec<Block> = (1..1000).map(|o| block(o, 1, PIECE_BYTES)).collect();
        append(&volume, &blocks);
        let bytes = blocks.len() * VALUE_BYTES_MAX;
        assert!(volume.db_bytes() < (bytes + bytes / 10) as u64);
    }

    #[test]
    fn an_index_behind_or_ahead_of_the_database_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let (volumes, volume) = volume(dir.path());
        let blocks: Vec<Block> = (1..50).map(|o| block(o, 1, 50_000)).collect();
        append(&volume, &blocks[..20]);
        volume.write_index().unwrap();
        append(&volume, &blocks[20..]);
        drop(volume);
        let index_file = volumes
            .join(VolumeName::new(1).to_string())
            .join(index::FILE);
        let wanted: Vec<IndexEntry> = blocks.iter().map(Block::index_entry).collect();
        let volume = reopened(&volumes);
        assert_eq!(volume.entries().unwrap().unwrap(), wanted);
        let ghost = BlockRef {
            slot: volume.refs.read().last().unwrap().last_slot() + 1,
            first: 50,
            count: 1,
            bytes: 10,
        };
        volume.publish(&[block(50, 1, 10)], &[ghost]);
        volume.write_index().unwrap();
        drop(volume);
        assert_eq!(reopened(&volumes).entries().unwrap().unwrap(), wanted);
        std::fs::write(&index_file, b"garbage that is no index").unwrap();
        assert_eq!(reopened(&volumes).entries().unwrap().unwrap(), wanted);
        std::fs::remove_file(&index_file).unwrap();
        assert_eq!(reopened(&volumes).entries().unwrap().unwrap(), wanted);
    }

    #[test]
    fn a_changed_value_is_damage_and_never_a_body() {
        let dir = tempfile::tempdir().unwrap();
        let (_, volume) = volume(dir.path());
        append(&volume, &[block(1, 1, 60_000), block(2, 1, 10)]);
        let first = volume.ref_at(1).unwrap();
        for piece in 0..3 {
            let slot = first.slot + piece;
            let original = volume.get(slot).unwrap().unwrap();
            for at in [0, 5, 13, original.len() - 1] {
                let mut value = original.to_vec();
                value[at] ^= 1;
                volume.db.insert(key(slot), value).unwrap();
                let damaged = volume.read_block(first);
                assert!(matches!(damaged, Err(EngineError::Damaged(_))));
            }
            volume.db.insert(key(slot), original).unwrap();
            assert_same_blocks(&[volume.read_block(first).unwrap()], &[block(1, 1, 60_000)]);
        }
        // a piece in the place of another
        let other = volume.get(first.slot + 2).unwrap().unwrap();
        volume.db.insert(key(first.slot + 1), other).unwrap();
        assert_eq!(volume.verify().unwrap(), [first]);
    }

    #[test]
    fn no_blob_is_ever_written() {
        let dir = tempfile::tempdir().unwrap();
        let (volumes, volume) = volume(dir.path());
        let blocks: Vec<Block> = (1..200).map(|o| block(o, 1, PIECE_BYTES)).collect();
        append(&volume, &blocks);
        append(&volume, &[block(200, 1, 3_000_000)]);
        drop(volume);
        drop(reopened(&volumes));
        let blobs =
            std::fs::read_dir(volumes.join(VolumeName::new(1).to_string()).join("blobs")).unwrap();
        assert_eq!(blobs.count(), 0);
    }
}
