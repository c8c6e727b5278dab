//! An engine that keeps everything in memory, for tests, with faults that tests can order.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::backup::{BackupCall, BackupError, BackupReport};
use super::{
    Block, Change, Engine, EngineError, Entry, Gap, IndexEntry, Opened, Space, StateBatch,
    VolumeInfo,
};
use crate::ids::{LogId, Offset};

/// Bounds of a [`MemoryEngine`].
#[derive(Debug, Clone, Copy)]
pub struct MemorySettings {
    /// A volume is sealed when it has grown to this many bytes.
    pub volume_bytes: u64,
    /// The oldest kept attempts go above this many bytes.
    pub attempts_bytes: u64,
    /// What [`Engine::block_bytes_best`] answers.
    pub block_bytes_best: usize,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self {
            volume_bytes: 64 << 20,
            attempts_bytes: 16 << 20,
            block_bytes_best: 28 * 1024,
        }
    }
}

/// Storage in memory. Everything whose call has returned counts as durable: [`MemoryEngine::reopen`]
/// gives what a process would find after a crash or a shutdown.
#[derive(Debug)]
pub struct MemoryEngine {
    settings: MemorySettings,
    opened: Opened,
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    released: Condvar,
}

#[derive(Debug, Clone)]
struct Store {
    next: Offset,
    volumes: Vec<Volume>,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    attempts: VecDeque<((Offset, Offset), Vec<u8>)>,
    attempts_bytes: u64,
    gaps: Vec<Gap>,
    closed: bool,
}

#[derive(Debug, Clone, Default)]
struct Volume {
    number: u64,
    blocks: Vec<Block>,
    bytes: u64,
    sealed: bool,
    /// What it stands for, if it was rewritten.
    rest: Option<(Offset, Offset)>,
}

#[derive(Debug, Default)]
struct Faults {
    append: Option<AppendFault>,
    commit_in: Option<u32>,
    held: bool,
    space: Option<Space>,
    /// The block that holds it cannot be read back.
    damaged: Option<Offset>,
    /// So many removals fail without changing anything.
    removals: u32,
    /// Set by the first fault; final.
    failed: bool,
}

#[derive(Debug)]
struct AppendFault {
    calls_left: u32,
    blocks_kept: usize,
}

impl MemoryEngine {
    /// An empty log with a name made of `dice`.
    pub fn new(settings: MemorySettings, dice: u64) -> Self {
        let store = Store {
            next: 1,
            volumes: vec![Volume {
                number: 1,
                ..Volume::default()
            }],
            state: BTreeMap::new(),
            attempts: VecDeque::new(),
            attempts_bytes: 0,
            gaps: Vec::new(),
            closed: false,
        };
        let opened = Opened {
            log: LogId::from_bits(dice),
            next: 1,
            clean: true,
            created: true,
            lost: Vec::new(),
            gone: Vec::new(),
        };
        Self::over(settings, opened, store)
    }

    /// What the next process would find: all that was durable, faults healed. The shutdown counts
    /// as clean if `close` was called. This engine is left as it is.
    pub fn reopen(&self) -> Self {
        self.reopen_with(self.store.lock().clone(), Vec::new())
    }

    /// As [`MemoryEngine::reopen`], on a disk that lost every block that begins at or above `from`.
    pub fn reopen_losing(&self, from: Offset) -> Self {
        let mut store = self.store.lock().clone();
        for volume in &mut store.volumes {
            volume.blocks.retain(|b| b.first < from);
        }
        let found = store.found();
        let mut lost = Vec::new();
        if found < store.next {
            lost.push(Gap {
                first: found,
                last: store.next - 1,
                known_lost: true,
            });
        }
        store.gaps.extend(&lost);
        self.reopen_with(store, lost)
    }

    fn reopen_with(&self, mut store: Store, lost: Vec<Gap>) -> Self {
        let opened = Opened {
            log: self.opened.log,
            next: store.next,
            clean: store.closed,
            created: false,
            lost,
            gone: Vec::new(),
        };
        store.closed = false;
        Self::over(self.settings, opened, store)
    }

    fn over(settings: MemorySettings, opened: Opened, store: Store) -> Self {
        Self {
            settings,
            opened,
            store: Mutex::new(store),
            faults: Mutex::new(Faults::default()),
            released: Condvar::new(),
        }
    }

    /// Lets the `nth` append from now (1 is the next one) fail after it has stored the first
    /// `blocks_kept` of its blocks. All later appends and commits fail too.
    pub fn fail_append(&self, nth: u32, blocks_kept: usize) {
        self.faults.lock().append = Some(AppendFault {
            calls_left: nth,
            blocks_kept,
        });
    }

    /// Lets the `nth` commit from now (1 is the next one) fail without changing anything. All
    /// later appends and commits fail too.
    pub fn fail_commit(&self, nth: u32) {
        self.faults.lock().commit_in = Some(nth);
    }

    /// Makes appends wait before they store anything, until the answer is dropped.
    pub fn hold_appends(&self) -> HeldAppends<'_> {
        self.faults.lock().held = true;
        HeldAppends(self)
    }

    /// Makes the block that holds `offset` unreadable.
    pub fn damage(&self, offset: Offset) {
        self.faults.lock().damaged = Some(offset);
    }

    /// What [`Engine::space`] answers from now on.
    pub fn set_space(&self, space: Option<Space>) {
        self.faults.lock().space = space;
    }

    /// Lets the next `count` removals of volumes fail without changing anything.
    pub fn fail_removals(&self, count: u32) {
        self.faults.lock().removals = count;
    }

    fn refuse_removal(&self) -> Result<(), EngineError> {
        let mut faults = self.faults.lock();
        match faults.removals.checked_sub(1) {
            Some(left) => {
                faults.removals = left;
                Err(EngineError::Failed("ordered to fail".into()))
            }
            None => Ok(()),
        }
    }

    /// Waits while held; answers how many blocks to keep if this append has to fail.
    fn append_fault(&self) -> Result<Option<usize>, EngineError> {
        let mut faults = self.faults.lock();
        while faults.held {
            self.released.wait(&mut faults);
        }
        refuse_failed(&faults)?;
        let Some(fault) = &mut faults.append else {
            return Ok(None);
        };
        fault.calls_left = fault.calls_left.saturating_sub(1);
        if fault.calls_left > 0 {
            return Ok(None);
        }
        let kept = fault.blocks_kept;
        faults.failed = true;
        Ok(Some(kept))
    }

    fn commit_fault(&self) -> Result<(), EngineError> {
        let mut faults = self.faults.lock();
        refuse_failed(&faults)?;
        match faults.commit_in {
            Some(0 | 1) => {
                faults.failed = true;
                refuse_failed(&faults)
            }
            Some(left) => {
                faults.commit_in = Some(left - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn open_store(&self) -> Result<MutexGuard<'_, Store>, EngineError> {
        let store = self.store.lock();
        if store.closed {
            return Err(EngineError::Failed("the log is closed".into()));
        }
        Ok(store)
    }
}

/// Appends wait while this lives.
#[derive(Debug)]
pub struct HeldAppends<'a>(&'a MemoryEngine);

impl Drop for HeldAppends<'_> {
    fn drop(&mut self) {
        self.0.faults.lock().held = false;
        self.0.released.notify_all();
    }
}

fn refuse_failed(faults: &Faults) -> Result<(), EngineError> {
    if faults.failed {
        return Err(EngineError::Failed("ordered to fail".into()));
    }
    Ok(())
}

impl Store {
    /// One past the last offset that is there.
    fn found(&self) -> Offset {
        let last = self.volumes.iter().rev().find_map(|v| v.blocks.last());
        last.map_or(1, |b| b.first + Offset::from(b.count))
    }

    fn append_one(&mut self, block: &Block, volume_bytes: u64) -> Result<(), EngineError> {
        block.check(self.next)?;
        self.rotate(volume_bytes);
        self.next += Offset::from(block.count);
        if let Some(volume) = self.volumes.last_mut() {
            volume.bytes += block.bytes.len() as u64;
            volume.blocks.push(block.clone());
        }
        Ok(())
    }

    fn rotate(&mut self, volume_bytes: u64) {
        let Some(volume) = self.volumes.last_mut() else {
            return;
        };
        if volume.bytes < volume_bytes {
            return;
        }
        volume.sealed = true;
        let number = volume.number + 1;
        self.volumes.push(Volume {
            number,
            ..Volume::default()
        });
    }

    fn trim_attempts(&mut self, bytes_max: u64) {
        while self.attempts_bytes > bytes_max && self.attempts.len() > 1 {
            if let Some((_, bytes)) = self.attempts.pop_front() {
                self.attempts_bytes -= bytes.len() as u64;
            }
        }
    }
}

impl Volume {
    fn info(&self, next: Offset) -> VolumeInfo {
        let held = self.blocks.first().zip(self.blocks.last());
        let held = held.map(|(first, last)| (first.first, last.end()));
        let (first, end) = self.rest.or(held).unwrap_or((next, next));
        VolumeInfo {
            number: self.number,
            first,
            end,
            bytes: self.bytes,
            sealed: self.sealed,
            rest: self.rest.is_some(),
        }
    }
}

impl Engine for MemoryEngine {
    fn opened(&self) -> &Opened {
        &self.opened
    }

    fn block_bytes_best(&self) -> usize {
        self.settings.block_bytes_best
    }

    fn gaps(&self) -> Vec<Gap> {
        self.store.lock().gaps.clone()
    }

    fn raise_next(&self, at_least: Offset) -> Result<Offset, EngineError> {
        let mut store = self.open_store()?;
        if at_least > store.next {
            let gap = Gap {
                first: store.next,
                last: at_least - 1,
                known_lost: true,
            };
            store.gaps.push(gap);
            store.next = at_least;
        }
        Ok(store.next)
    }

    fn append(&self, blocks: &[Block]) -> Result<(), EngineError> {
        let fault = self.append_fault()?;
        let mut store = self.open_store()?;
        for block in blocks.iter().take(fault.unwrap_or(usize::MAX)) {
            store.append_one(block, self.settings.volume_bytes)?;
        }
        match fault {
            Some(_) => Err(EngineError::Failed("ordered to fail".into())),
            None => Ok(()),
        }
    }

    fn read(&self, from: Offset, bytes_max: usize) -> Result<Vec<Block>, EngineError> {
        let damaged = self.faults.lock().damaged;
        let store = self.store.lock();
        let mut found = Vec::new();
        let mut bytes = 0;
        for volume in &store.volumes {
            let skip = volume.blocks.partition_point(|b| b.end() <= from);
            for block in &volume.blocks[skip..] {
                bytes += block.bytes.len();
                if bytes > bytes_max && !found.is_empty() {
                    return Ok(found);
                }
                if damaged.is_some_and(|at| block.first <= at && at < block.end()) {
                    return match found.is_empty() {
                        true => Err(EngineError::Damaged("ordered".into())),
                        false => Ok(found),
                    };
                }
                found.push(block.clone());
            }
        }
        Ok(found)
    }

    fn index(&self, volume: u64) -> Result<Vec<IndexEntry>, EngineError> {
        let store = self.store.lock();
        let volume = store.volumes.iter().find(|v| v.number == volume);
        let volume = volume.ok_or_else(|| EngineError::Failed("no such volume".into()))?;
        Ok(volume.blocks.iter().map(Block::index_entry).collect())
    }

    fn volumes(&self) -> Vec<VolumeInfo> {
        let store = self.store.lock();
        store.volumes.iter().map(|v| v.info(store.next)).collect()
    }

    fn remove_volume(&self, number: u64) -> Result<(), EngineError> {
        self.refuse_removal()?;
        let mut store = self.open_store()?;
        let at = store
            .volumes
            .iter()
            .position(|v| v.number == number && v.sealed);
        let at = at.ok_or_else(|| {
            EngineError::Failed(format!("volume {number} is not there or not sealed"))
        })?;
        store.volumes.remove(at);
        Ok(())
    }

    fn rewrite_volumes(
        &self,
        first: u64,
        last: u64,
        left: &mut dyn FnMut() -> Result<Option<Block>, EngineError>,
    ) -> Result<(), EngineError> {
        let mut blocks = Vec::new();
        while let Some(block) = left()? {
            blocks.push(block);
        }
        let mut store = self.open_store()?;
        let next = store.next;
        let is_old = |v: &Volume| first <= v.number && v.number <= last;
        let old: Vec<VolumeInfo> = store
            .volumes
            .iter()
            .filter(|v| is_old(v))
            .map(|v| v.info(next))
            .collect();
        let (Some(begin), Some(end)) = (old.first(), old.last()) else {
            return Err(EngineError::Failed("no such volumes".into()));
        };
        if !old.iter().all(|v| v.sealed) {
            return Err(EngineError::Failed("not sealed".into()));
        }
        let span = (begin.first, end.end);
        if blocks.iter().any(|b| b.first < span.0 || span.1 < b.end()) {
            return Err(EngineError::Failed("not of these volumes".into()));
        }
        let at = store.volumes.iter().position(is_old).unwrap_or(0);
        store.volumes.retain(|v| !is_old(v));
        let rest = Volume {
            number: first,
            bytes: blocks.iter().map(|b| b.bytes.len() as u64).sum(),
            blocks,
            sealed: true,
            rest: Some(span),
        };
        store.volumes.insert(at, rest);
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.store.lock().state.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, EngineError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let store = self.store.lock();
        let found = store.state.range::<[u8], _>((
            std::ops::Bound::Included(from),
            std::ops::Bound::Excluded(to),
        ));
        Ok(found
            .take(limit)
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect())
    }

    fn commit(&self, batch: &StateBatch) -> Result<(), EngineError> {
        batch.check()?;
        self.commit_fault()?;
        let mut store = self.open_store()?;
        for change in &batch.0 {
            match change {
                Change::Put(key, value) => store.state.insert(key.clone(), value.clone()),
                Change::Remove(key) => store.state.remove(key),
            };
        }
        Ok(())
    }

    fn append_attempts(&self, span: (Offset, Offset), bytes: &[u8]) -> Result<(), EngineError> {
        let mut store = self.open_store()?;
        store.attempts.push_back((span, bytes.to_vec()));
        store.attempts_bytes += bytes.len() as u64;
        store.trim_attempts(self.settings.attempts_bytes);
        Ok(())
    }

    fn attempts(
        &self,
        about: Option<Offset>,
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), EngineError> {
        let store = self.store.lock();
        let wanted = |span: &(Offset, Offset)| about.is_none_or(|o| span.0 <= o && o <= span.1);
        for (_, bytes) in store.attempts.iter().rev().filter(|(s, _)| wanted(s)) {
            if !visit(bytes) {
                break;
            }
        }
        Ok(())
    }

    fn backup(&self, _call: &BackupCall<'_>) -> Result<BackupReport, BackupError> {
        Err(BackupError::Unsupported(
            "a log in memory (log.engine = \"memory\") cannot be backed up".to_owned(),
        ))
    }

    fn files(&self) -> Option<&Path> {
        None
    }

    fn space(&self) -> Option<Space> {
        self.faults.lock().space
    }

    fn close(&self) -> Result<(), EngineError> {
        refuse_failed(&self.faults.lock())?;
        self.store.lock().closed = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::engine::{Sizes, Storage, block, engine_conformance, histories_agree};

    /// A memory "disk": opening it again finds what was durable.
    struct MemoryStorage {
        settings: MemorySettings,
        last: Option<std::sync::Arc<MemoryEngine>>,
    }

    impl Storage for MemoryStorage {
        fn open(&mut self) -> std::sync::Arc<dyn Engine> {
            let engine = match &self.last {
                Some(last) => last.reopen(),
                None => MemoryEngine::new(self.settings, 7),
            };
            let engine = std::sync::Arc::new(engine);
            self.last = Some(engine.clone());
            engine
        }
    }

    fn fresh(sizes: Sizes) -> Box<dyn Storage> {
        let settings = MemorySettings {
            volume_bytes: sizes.volume_bytes,
            attempts_bytes: sizes.attempts_bytes,
            ..MemorySettings::default()
        };
        Box::new(MemoryStorage {
            settings,
            last: None,
        })
    }

    #[test]
    fn memory_conforms() {
        engine_conformance(&fresh);
    }

    #[test]
    fn random_histories_agree_with_the_model() {
        histories_agree(&fresh, 128);
    }

    #[test]
    fn an_ordered_fault_keeps_the_blocks_it_was_told_to_and_is_final() {
        let engine = MemoryEngine::new(MemorySettings::default(), 1);
        engine.fail_append(2, 1);
        engine.append(&[block(1, 1, 10)]).unwrap();
        let torn = [block(2, 1, 10), block(3, 1, 10)];
        engine.append(&torn).unwrap_err();
        engine.append(&[block(3, 1, 10)]).unwrap_err();
        engine.commit(&StateBatch::default()).unwrap_err();
        let engine = engine.reopen();
        assert_eq!(engine.opened().next, 3);
        engine.append(&[block(3, 1, 10)]).unwrap();
    }

    #[test]
    fn a_failed_commit_changes_nothing() {
        let engine = MemoryEngine::new(MemorySettings::default(), 1);
        engine.fail_commit(1);
        let mut batch = StateBatch::default();
        batch.put("k", "v");
        engine.commit(&batch).unwrap_err();
        assert_eq!(engine.reopen().get(b"k").unwrap(), None);
    }

    #[test]
    fn a_lost_tail_is_reported_and_its_offsets_are_not_given_out_again() {
        let engine = MemoryEngine::new(MemorySettings::default(), 1);
        engine.append(&[block(1, 5, 10), block(6, 5, 10)]).unwrap();
        let engine = engine.reopen_losing(6);
        let gap = Gap {
            first: 6,
            last: 10,
            known_lost: true,
        };
        assert_eq!(engine.opened().lost, [gap]);
        assert_eq!((engine.gaps(), engine.opened().next), (vec![gap], 11));
        engine.append(&[block(11, 1, 10)]).unwrap();
    }

    #[test]
    fn a_held_append_waits_for_its_release() {
        let engine = MemoryEngine::new(MemorySettings::default(), 1);
        let held = engine.hold_appends();
        std::thread::scope(|s| {
            let append = s.spawn(|| engine.append(&[block(1, 1, 10)]));
            assert!(engine.read(1, 100).unwrap().is_empty());
            drop(held);
            append.join().unwrap().unwrap();
        });
        assert_eq!(engine.read(1, 100).unwrap().len(), 1);
    }
}
