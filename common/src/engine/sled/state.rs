//! The state store: one sled database with atomic batches that cost one sync.
//!
//! sled's own `apply_batch` takes two syncs under a lock of the whole process, which would stop
//! appends while state is committed. What sled does promise is that a crash leaves a prefix of the
//! inserts of one thread. So a batch is first written into a journal tree (in pieces, the last one
//! marked), then applied, then taken out of the journal, then all is flushed at once. Opening
//! applies what is complete in the journal again and drops what is not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::database::{self, sled_failed};
use super::files::{Cursor, put_u32};
use crate::engine::{Change, EngineError, Entry, StateBatch};

const JOURNAL: &str = "journal";
/// Bytes of a batch in one journal entry: of larger ones, removed soon, more stays in memory for a while.
const PIECE_BYTES: usize = 4 * 1024;
/// sled counts what entries take on disk; in memory they take about three times as much.
const CACHE_BYTES: u64 = 1 << 20;

/// The open state store.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    db: sled::Db,
    journal: sled::Tree,
    /// Number of the next batch; held while one is committed.
    next_batch: Mutex<u64>,
}

impl State {
    /// Opens the store in `dir`, made if it is not there.
    pub(super) fn open(dir: &Path) -> Result<Self, EngineError> {
        let path = dir.join("state");
        if !path.exists() {
            database::create(&path, &dir.join("making-state"), &[JOURNAL])?;
        }
        let copy = dir.join("damaged").join("state");
        let db =
            database::open_or_mend(&path, &copy, CACHE_BYTES).map_err(|e| e.into_engine(&path))?;
        let journal = db.open_tree(JOURNAL).map_err(|e| sled_failed(&path, &e))?;
        let state = Self {
            path,
            db,
            journal,
            next_batch: Mutex::new(0),
        };
        state.replay()?;
        Ok(state)
    }

    fn failed(&self, error: &sled::Error) -> EngineError {
        sled_failed(&self.path, error)
    }

    /// Applies the complete batches of the journal in order and empties it.
    fn replay(&self) -> Result<(), EngineError> {
        let mut batches: BTreeMap<Vec<u8>, Vec<(sled::IVec, sled::IVec)>> = BTreeMap::new();
        for entry in &self.journal {
            let (key, value) = entry.map_err(|e| self.failed(&e))?;
            let number = key.get(..8).unwrap_or_default().to_vec();
            batches.entry(number).or_default().push((key, value));
        }
        for pieces in batches.values() {
            if let Some(bytes) = joined(pieces) {
                let changes = decode(&bytes).ok_or_else(|| {
                    EngineError::Damaged(format!("{}: journal", self.path.display()))
                })?;
                self.apply(&changes)?;
            }
            self.remove_journal(pieces.iter().map(|(key, _)| key))?;
        }
        if !batches.is_empty() {
            self.flush()?;
        }
        Ok(())
    }

    /// Takes a batch out of the journal. Its last piece goes first: what a crash leaves of it is
    /// then incomplete, and not applied again over later batches.
    fn remove_journal<K: AsRef<[u8]>>(
        &self,
        keys: impl DoubleEndedIterator<Item = K>,
    ) -> Result<(), EngineError> {
        for key in keys.rev() {
            self.journal.remove(key).map_err(|e| self.failed(&e))?;
        }
        Ok(())
    }

    fn apply(&self, changes: &[Change]) -> Result<(), EngineError> {
        for change in changes {
            let applied = match change {
                Change::Put(key, value) => self.db.insert(key, value.as_slice()),
                Change::Remove(key) => self.db.remove(key),
            };
            applied.map_err(|e| self.failed(&e))?;
        }
        Ok(())
    }

    /// Applies a batch, all or nothing, synced.
    pub(super) fn commit(&self, batch: &StateBatch) -> Result<(), EngineError> {
        let mut number = self.next_batch.lock();
        self.write(&mut number, batch)?;
        self.flush()
    }

    fn write(&self, number: &mut u64, batch: &StateBatch) -> Result<(), EngineError> {
        if batch.0.len() == 1 {
            // one insert is atomic by itself
            return self.apply(&batch.0);
        }
        *number += 1;
        let keys = self.write_journal(*number, &encode(batch))?;
        self.apply(&batch.0)?;
        self.remove_journal(keys.iter())
    }

    fn write_journal(&self, number: u64, bytes: &[u8]) -> Result<Vec<[u8; 12]>, EngineError> {
        let count = bytes.chunks(PIECE_BYTES).len();
        let mut keys = Vec::with_capacity(count);
        for (piece, content) in (0u32..).zip(bytes.chunks(PIECE_BYTES)) {
            let mut key = [0; 12];
            key[..8].copy_from_slice(&number.to_be_bytes());
            key[8..].copy_from_slice(&piece.to_be_bytes());
            let mut value = Vec::with_capacity(1 + content.len());
            value.push(u8::from(piece as usize + 1 == count));
            value.extend_from_slice(content);
            self.journal
                .insert(key, value)
                .map_err(|e| self.failed(&e))?;
            keys.push(key);
        }
        Ok(keys)
    }

    /// Syncs all that was written.
    pub(super) fn flush(&self) -> Result<(), EngineError> {
        self.db.flush().map(drop).map_err(|e| self.failed(&e))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let found = self.db.get(key).map_err(|e| self.failed(&e))?;
        Ok(found.map(|v| v.to_vec()))
    }

    pub(super) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, EngineError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let mut entries = Vec::new();
        for entry in self.db.range(from..to).take(limit) {
            let (key, value) = entry.map_err(|e| self.failed(&e))?;
            entries.push((key.to_vec(), value.to_vec()));
        }
        Ok(entries)
    }

    /// Bytes it takes on disk.
    pub(super) fn bytes(&self) -> u64 {
        std::fs::metadata(self.path.join("db")).map_or(0, |m| m.len())
    }
}

/// The bytes of a batch from its pieces; `None` when the last one is missing.
fn joined(pieces: &[(sled::IVec, sled::IVec)]) -> Option<Vec<u8>> {
    let (_, last) = pieces.last()?;
    let is_complete = last.first() == Some(&1);
    let content = pieces.iter().flat_map(|(_, piece)| piece.iter().skip(1));
    is_complete.then(|| content.copied().collect())
}

pub(super) fn encode(batch: &StateBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    for change in &batch.0 {
        let (kind, key, value) = match change {
            Change::Put(key, value) => (1, key, value.as_slice()),
            Change::Remove(key) => (0, key, &[][..]),
        };
        bytes.push(kind);
        put_u32(&mut bytes, key.len() as u32);
        put_u32(&mut bytes, value.len() as u32);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
    }
    let crc = crc32fast::hash(&bytes);
    put_u32(&mut bytes, crc);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Change>> {
    let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if u32::from_le_bytes(crc.try_into().ok()?) != crc32fast::hash(body) {
        return None;
    }
    let mut cursor = Cursor(body);
    let mut changes = Vec::new();
    while !cursor.0.is_empty() {
        let kind = cursor.u8()?;
        let (key, value) = (cursor.u32()? as usize, cursor.u32()? as usize);
        let key = cursor.bytes(key)?.to_vec();
        let value = cursor.bytes(value)?.to_vec();
        changes.push(match kind {
            1 => Change::Put(key, value),
            0 => Change::Remove(key),
            _ => return None,
        });
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(from: u16, to: u16, value: u8) -> StateBatch {
        let mut batch = StateBatch::default();
        for i in from..to {
            batch.put(i.to_be_bytes(), vec![value; 700]);
        }
        batch.remove(from.to_be_bytes());
        batch
    }

    #[test]
    fn a_batch_decodes_to_what_was_encoded_and_to_nothing_when_cut() {
        let batch = batch(0, 50, 3);
        let bytes = encode(&batch);
        assert_eq!(decode(&bytes).unwrap(), batch.0);
        for cut in (0..bytes.len()).step_by(97) {
            assert!(decode(&bytes[..cut]).is_none());
        }
    }

    #[test]
    fn a_batch_left_in_the_journal_is_applied_and_half_a_batch_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        state.commit(&batch(0, 10, 1)).unwrap();
        // as a crash leaves it: two batches complete, none of them applied; a third half written
        state.write_journal(7, &encode(&batch(5, 80, 2))).unwrap();
        state.write_journal(8, &encode(&batch(5, 9, 3))).unwrap();
        let keys = state.write_journal(9, &encode(&batch(0, 90, 4))).unwrap();
        assert!(keys.len() > 2);
        state.journal.remove(keys[keys.len() - 1]).unwrap();
        state.flush().unwrap();
        drop(state);
        let state = State::open(dir.path()).unwrap();
        let first = |i: u16| state.get(&i.to_be_bytes()).unwrap().map(|v| v[0]);
        assert_eq!([first(0), first(1), first(4)], [None, Some(1), Some(1)]);
        assert_eq!([first(5), first(6), first(8)], [None, Some(3), Some(3)]);
        assert_eq!([first(9), first(79), first(80)], [Some(2), Some(2), None]);
        assert!(state.journal.is_empty());
    }
}
