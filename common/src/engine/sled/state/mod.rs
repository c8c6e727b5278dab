//! The state store: a sled database (`store.rs`), and a new one in its place when it has grown.
//!
//! sled gives no space back. So a store that has grown to several times what is in it is copied, while
//! commits go on, into a new database, which then takes its place: `state`, `state.1`, `state.2`, …
//! The one with the highest number counts; opening removes the others, and what was being made.

mod recorder;
mod store;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};

use self::recorder::Recorder;
use self::store::Store;
pub(super) use self::store::{decode, encode};
use super::files::{self, failed};
use super::{database, durable};
use crate::engine::{Change, EngineError, Entry, StateBatch};

const NAME: &str = "state";
const MAKING: &str = "making-state";
/// A store that is smaller is not copied.
const COMPACTED_BYTES_MIN: u64 = 256 << 20;
/// Nor one that has grown to less than so many times what it was when it was new.
const GROWN: u64 = 4;
/// Synced at once while it is copied; after that it rests as long as that took.
const STEP_BYTES: usize = 1 << 20;

/// The open state store.
#[derive(Debug)]
pub(super) struct State {
    dir: PathBuf,
    store: RwLock<Arc<Store>>,
    /// Number of the next batch; held while one is committed.
    next_batch: Mutex<u64>,
    recorder: Recorder,
    /// Held while the store is copied, for whatever reason.
    copying: Mutex<()>,
    /// Its size when it was new; 0 when that is not known.
    new_bytes: AtomicU64,
}

impl State {
    /// Opens the store in the log's directory `dir`, made if it is not there.
    pub(super) fn open(dir: &Path) -> Result<Self, EngineError> {
        let generation = tidy(dir).map_err(failed(dir))?;
        let path = path(dir, generation.unwrap_or(0));
        if generation.is_none() {
            Store::create(&path, &dir.join(MAKING))?;
        }
        Ok(Self {
            store: RwLock::new(Arc::new(Store::open(&path, &copy_of(&path))?)),
            dir: dir.to_owned(),
            next_batch: Mutex::new(0),
            recorder: Recorder::default(),
            copying: Mutex::new(()),
            new_bytes: AtomicU64::new(0),
        })
    }

    fn store(&self) -> Arc<Store> {
        self.store.read().clone()
    }

    /// Applies a batch, all or nothing, synced.
    pub(super) fn commit(&self, batch: &StateBatch) -> Result<(), EngineError> {
        self.recorder.wait_for_room();
        let mut number = self.next_batch.lock();
        let store = self.store();
        store.write(&mut number, batch)?;
        self.recorder.record(batch);
        store.flush()
    }

    /// Syncs all that was written.
    pub(super) fn flush(&self) -> Result<(), EngineError> {
        self.store().flush()
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.store().get(key)
    }

    pub(super) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, EngineError> {
        self.store().scan(from, to, limit)
    }

    /// Hands the whole store to `write`, as of one commit, as batches to be applied in order.
    ///
    /// Commits go on meanwhile: entries are read while they may change, and the batches that were
    /// committed in the time come after them, so that what both have is as the last batch left it.
    pub(super) fn snapshot<E: From<EngineError>>(
        &self,
        write: &mut dyn FnMut(&StateBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let _one_at_a_time = self.copying.lock();
        self.start_recording();
        let read = self.store().read_all(write);
        let recorded = {
            let _between_commits = self.next_batch.lock();
            self.recorder.stop()
        };
        read?;
        recorded.iter().try_for_each(write)
    }

    fn start_recording(&self) {
        let _between_commits = self.next_batch.lock();
        self.recorder.start();
    }

    /// Applies changes of a snapshot to a store that nobody uses yet; unsynced.
    pub(super) fn load(&self, changes: &[Change]) -> Result<(), EngineError> {
        self.store().apply(changes)
    }

    /// Bytes it takes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.store().bytes()
    }

    /// Whether it had better be copied.
    pub(super) fn has_grown(&self) -> bool {
        let new_bytes = self.new_bytes.load(Ordering::Relaxed);
        self.bytes() > COMPACTED_BYTES_MIN.max(new_bytes.saturating_mul(GROWN))
    }

    /// Puts a new database with the same entries in the place of this one. Commits go on but for the
    /// last moment. `stops` is asked often; when it says so all is as it was.
    pub(super) fn compact(&self, stops: &dyn Fn() -> bool) -> Result<(), EngineError> {
        let Some(_one_at_a_time) = self.copying.try_lock() else {
            // a backup is taken
            return Ok(());
        };
        let before = self.bytes();
        self.start_recording();
        let copied = self.copy(stops);
        let number = self.next_batch.lock();
        let recorded = self.recorder.stop();
        let Some(new) = copied? else {
            return Ok(());
        };
        recorded.iter().try_for_each(|batch| new.apply(&batch.0))?;
        self.take_over(new)?;
        drop(number);
        let after = self.bytes();
        self.new_bytes.store(after, Ordering::Relaxed);
        tracing::info!(before, after, "the state store was rewritten");
        Ok(())
    }

    /// A new database with the entries of this one; `None` when it was told to stop.
    fn copy(&self, stops: &dyn Fn() -> bool) -> Result<Option<Store>, EngineError> {
        let making = self.dir.join(MAKING);
        remove(&making).map_err(failed(&making))?;
        Store::create(&making, &self.dir.join("making-state-new"))?;
        let new = Store::open(&making, &copy_of(&making))?;
        let (mut bytes, mut stopped) = (0, false);
        let copied = self.store().read_all(&mut |batch| {
            if stops() {
                stopped = true;
                return Err(EngineError::Busy("stopping".to_owned()));
            }
            let began = Instant::now();
            new.apply(&batch.0)?;
            bytes += batch.0.iter().map(Change::bytes).sum::<usize>();
            if bytes >= STEP_BYTES {
                bytes = 0;
                new.flush()?;
                std::thread::sleep(began.elapsed());
            }
            Ok(())
        });
        match copied {
            Err(_) if stopped => Ok(None),
            copied => copied.map(|()| Some(new)),
        }
    }

    /// Makes a database in [`MAKING`] the store. Between two commits.
    fn take_over(&self, new: Store) -> Result<(), EngineError> {
        new.flush()?;
        let making = new.path().to_owned();
        drop(new);
        database::finish(&making)?;
        let old = self.store().path().to_owned();
        let path = path(&self.dir, generation(&old).unwrap_or(0) + 1);
        fs::rename(&making, &path).map_err(failed(&path))?;
        // from here on the next opening would take it: nothing may be committed to the old one
        let opened = files::sync_dir(&self.dir)
            .map_err(failed(&self.dir))
            .and_then(|()| Store::open(&path, &copy_of(&path)));
        match opened {
            Ok(store) => *self.store.write() = Arc::new(store),
            Err(e) => durable::end(&format!("the rewritten state store cannot be opened: {e}")),
        }
        files::remove_dir(&old, &self.dir.join("removing-state")).map_err(failed(&old))
    }
}

fn path(dir: &Path, generation: u32) -> PathBuf {
    match generation {
        0 => dir.join(NAME),
        number => dir.join(format!("{NAME}.{number}")),
    }
}

fn generation(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?.strip_prefix(NAME)?;
    match name.strip_prefix('.') {
        Some(number) => number.parse().ok(),
        None => name.is_empty().then_some(0),
    }
}

/// Where a copy of a damaged one is kept.
fn copy_of(path: &Path) -> PathBuf {
    let damaged = path.with_file_name("damaged");
    damaged.join(path.file_name().unwrap_or_default())
}

fn remove(path: &Path) -> std::io::Result<()> {
    match path.exists() {
        true => fs::remove_dir_all(path),
        false => Ok(()),
    }
}

/// Removes what was being made and what has been replaced; answers which one counts.
fn tidy(dir: &Path) -> std::io::Result<Option<u32>> {
    for leftover in [MAKING, "making-state-new", "removing-state"] {
        remove(&dir.join(leftover))?;
    }
    let mut generations = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            generations.extend(generation(&entry.path()));
        }
    }
    generations.sort_unstable();
    let newest = generations.pop();
    for old in generations {
        files::remove_dir(&path(dir, old), &dir.join("removing-state"))?;
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicBool;

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
    fn a_snapshot_is_the_store_as_of_its_last_commit_while_commits_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        state.commit(&batch(0, 1000, 1)).unwrap();
        let mut copied = BTreeMap::new();
        let mut reads = 0;
        let mut write = |batch: &StateBatch| -> Result<(), EngineError> {
            reads += 1;
            if reads == 3 {
                // among those that were read, those that will be, and new ones on either side
                for (from, to) in [(50, 90), (880, 940), (1000, 1200)] {
                    let mut batch = self::batch(from, to, 2);
                    batch.remove((to - 1).to_be_bytes());
                    state.commit(&batch).unwrap();
                }
                state.commit(&self::batch(85, 95, 3)).unwrap();
            }
            for change in &batch.0 {
                match change {
                    Change::Put(key, value) => copied.insert(key.clone(), value.clone()),
                    Change::Remove(key) => copied.remove(key),
                };
            }
            Ok(())
        };
        state.snapshot(&mut write).unwrap();
        assert!(reads > 6, "{reads}");
        let there = state.scan(&[], &[0xff; 4], usize::MAX).unwrap();
        assert_eq!(copied.into_iter().collect::<Vec<_>>(), there);
        assert_eq!(state.recorder.stop(), []);
    }

    fn all(state: &State) -> Vec<Entry> {
        state.scan(&[], &[0xff; 4], usize::MAX).unwrap()
    }

    #[test]
    fn a_rewritten_store_holds_the_same_and_is_small() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        for round in 0..30 {
            state.commit(&batch(0, 3000, round)).unwrap();
        }
        let (before, entries) = (state.bytes(), all(&state));
        // commits before, between and after
        let committed = AtomicBool::new(false);
        let stops = || {
            if !committed.swap(true, Ordering::SeqCst) {
                state.commit(&batch(5, 40, 99)).unwrap();
                state.commit(&batch(2990, 3100, 98)).unwrap();
            }
            false
        };
        state.compact(&stops).unwrap();
        assert!(state.bytes() * 2 < before, "{} of {before}", state.bytes());
        let wanted = {
            let mut wanted: BTreeMap<_, _> = entries.into_iter().collect();
            for batch in [batch(5, 40, 99), batch(2990, 3100, 98)] {
                for change in batch.0 {
                    match change {
                        Change::Put(key, value) => wanted.insert(key, value),
                        Change::Remove(key) => wanted.remove(&key),
                    };
                }
            }
            wanted.into_iter().collect::<Vec<_>>()
        };
        assert!(all(&state) == wanted);
        state.commit(&batch(7000, 7010, 1)).unwrap();
        let wanted = all(&state);
        drop(state);
        let state = State::open(dir.path()).unwrap();
        assert!(all(&state) == wanted);
        // and again
        state.compact(&|| false).unwrap();
        assert!(all(&state) == wanted);
        drop(state);
        let names = fs::read_dir(dir.path()).unwrap();
        let names: Vec<_> = names.map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["state.2"]);
    }

    #[test]
    fn one_that_is_told_to_stop_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        state.commit(&batch(0, 900, 1)).unwrap();
        let wanted = all(&state);
        state.compact(&|| true).unwrap();
        assert!(all(&state) == wanted);
        drop(state);
        let state = State::open(dir.path()).unwrap();
        assert!(all(&state) == wanted && !dir.path().join(MAKING).exists());
    }

    #[test]
    fn a_crash_leaves_the_old_one_or_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        state.commit(&batch(0, 100, 1)).unwrap();
        drop(state);
        let old = path(dir.path(), 0);
        // not yet renamed
        files::copy_dir(&old, &dir.path().join(MAKING)).unwrap();
        let state = State::open(dir.path()).unwrap();
        assert_eq!(all(&state).len(), 99);
        drop(state);
        // renamed, and the old one still there
        files::copy_dir(&old, &path(dir.path(), 1)).unwrap();
        let state = State::open(dir.path()).unwrap();
        state.commit(&batch(200, 300, 1)).unwrap();
        drop(state);
        files::copy_dir(&path(dir.path(), 1), &old).unwrap();
        let state = State::open(dir.path()).unwrap();
        assert_eq!(all(&state).len(), 198);
        assert!(!old.exists());
    }
}
