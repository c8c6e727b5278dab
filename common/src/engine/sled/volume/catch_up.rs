//! Bringing the index of a volume up to what its database holds, as a crash or damage left both.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::super::database::panic_text;
use super::super::files::{self, failed};
use super::super::index::{self, BlockRef, IndexWriter};
use super::super::name::VolumeName;
use super::super::slots::{Slot, Slots, key, parse_key};
use super::value::{Run, decode};
use super::{Volume, entries};
use crate::engine::{EngineError, IndexEntry};

/// Frames of the index that are gathered before they are written.
const INDEX_PENDING_MAX: usize = 1 << 20;

/// Is handed blocks with their indexes.
type Visit<'a> = &'a mut dyn FnMut(BlockRef, &[u8]) -> Result<(), EngineError>;

/// The name of a kept index file.
fn index_copy(name: VolumeName) -> String {
    format!("{name}-index")
}

/// How far the index of a volume can be believed.
struct Believed {
    /// Bytes of its file that stay.
    valid_bytes: u64,
    /// The database's part that it told of could be read.
    sound: bool,
    /// What it told of when it was given up.
    known: Vec<IndexEntry>,
}

impl Volume {
    /// Brings the index of an unsealed volume up to what its database holds; answers whether all
    /// of that could be read.
    pub(super) fn catch_up(&mut self, valid_bytes: u64, copy: &Path) -> Result<bool, EngineError> {
        let believed = self.believe(valid_bytes, copy)?;
        self.keep_index(believed.valid_bytes, copy);
        let slots = self.extend_index(believed.valid_bytes)?;
        *self.slots.lock() = slots.unwrap_or_default();
        let refs = self.refs.read();
        let is_gone = |entry: &IndexEntry| {
            refs.binary_search_by_key(&entry.first, |b| b.first)
                .is_err()
        };
        let gone = believed.known.into_iter().filter(is_gone).collect();
        drop(refs);
        self.gone = gone;
        Ok(believed.sound && slots.is_some())
    }

    /// Gives up an index that is another's, or that knows more than the database has kept.
    fn believe(&self, valid_bytes: u64, copy: &Path) -> Result<Believed, EngineError> {
        let fits = self.fits_its_index();
        let mut refs = self.refs.write();
        let last = refs
            .last()
            .map(|last| self.get(last.last_slot()))
            .transpose();
        let last = sound_or_none(last)?;
        let mut believed = Believed {
            valid_bytes,
            sound: last.is_some(),
            known: Vec::new(),
        };
        let why = match &last {
            _ if !fits => "its index is not its own; made anew",
            Some(Some(None)) => "it has lost its last blocks",
            _ => return Ok(believed),
        };
        tracing::error!(volume = %self.name, why);
        files::keep_copy(&self.path, copy);
        if fits {
            believed.known = entries(&self.path).map_err(failed(&self.path))?;
        }
        believed.valid_bytes = 0;
        refs.clear();
        Ok(believed)
    }

    /// Keeps a copy of an index file of which not all stays.
    fn keep_index(&self, valid_bytes: u64, copy: &Path) {
        let file = self.path.join(index::FILE);
        if std::fs::metadata(&file).is_ok_and(|file| file.len() > valid_bytes) {
            files::keep_copy(&file, &copy.with_file_name(index_copy(self.name)));
        }
    }

    /// Adds what the database holds beyond the index; answers which slots are taken, or `None` when
    /// not all of it could be read.
    fn extend_index(&self, valid_bytes: u64) -> Result<Option<Slots>, EngineError> {
        let mut writer = IndexWriter::open(&self.path, valid_bytes).map_err(failed(&self.path))?;
        let mut refs = self.refs.write();
        let from = refs.last().map_or(0, |last| last.last_slot() + 1);
        let scanned = self.scan_guarded(from, &mut |block, bytes| {
            writer.push(block, bytes);
            refs.push(block);
            if writer.pending().len() > INDEX_PENDING_MAX {
                writer.write().map_err(failed(&self.path))?;
            }
            Ok(())
        });
        let slots = sound_or_none(scanned)?;
        writer.write().map_err(failed(&self.path))?;
        *self.index.lock() = Some(writer);
        Ok(slots)
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
