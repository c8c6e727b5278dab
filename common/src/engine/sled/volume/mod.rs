//! One volume: a sled database of blocks, and its index file.
//!
//! A block is one value or, when it is large, several, in slots one after the other (`slots.rs`).
//! They are inserted in order, so that after a crash, which leaves a prefix of the inserts, a block is
//! there exactly if its last piece is. Each value says which piece of which block it is, and carries
//! a checksum over its key and all of that.

mod catch_up;
#[cfg(test)]
mod tests;
mod value;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};

pub(super) use self::value::PIECE_BYTES;
use self::value::{Head, decode, encode};
#[cfg(feature = "fuzzing")]
pub(super) use self::value::{read_values, sample_value};
use super::database::{self, OpenError, panic_text, sled_failed};
use super::files::failed;
use super::index::{self, BlockRef, Footer, IndexWriter};
use super::name::VolumeName;
use super::rest::Rest;
use super::slots::{Slot, Slots, key};
use crate::engine::{Block, EngineError, IndexEntry};
use crate::ids::Offset;

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

/// The index entries of a volume, as far as its file can be read.
pub(super) fn entries(path: &Path) -> std::io::Result<Vec<IndexEntry>> {
    let mut entries = Vec::new();
    index::read(path, &mut |block, bytes: &[u8]| {
        entries.push(index::entry(block, bytes))
    })?;
    Ok(entries)
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

/// Where damaged volumes, and copies of them, are kept for people.
pub(super) fn damaged_dir(volumes: &Path) -> PathBuf {
    volumes.with_file_name("damaged")
}
