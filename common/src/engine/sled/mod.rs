//! The default engine: a chain of sled databases that are really synced.
//!
//! ```text
//! data/creel.log     what this directory is: format, log id            format.rs
//!      lock          held by the one process that owns the log         files.rs
//!      offsets       reserved ceiling, high-water mark, clean flag     offsets.rs
//!      spans         offsets removed on purpose, and lost              spans.rs
//!      v/0000000001/ a volume: sled database and index file            volume.rs index.rs chain.rs
//!      state/        the state store, a sled database; state.1/ …      state/
//!      attempts/     kept attempts, append-only files                  attempts.rs
//!      files/        the log's own derived files
//!      ballast       room that an opening can give away                room.rs
//!      damaged/      copies of what was damaged, for people
//! ```
//!
//! What sled 0.34 does not do by itself is done in `durable.rs` (real syncs) and `database.rs`
//! (files it leaves unsynced or in its own way). Every offset below the next one is in a volume, or
//! was removed, or is in a recorded gap: opening checks that and records what is missing.

mod attempts;
pub mod backup;
mod chain;
mod database;
pub mod durable;
mod files;
mod format;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod index;
mod name;
mod offsets;
mod pins;
mod pool;
mod rest;
mod rewrite;
mod room;
mod slots;
mod spans;
#[cfg(test)]
mod speed;
mod state;
#[cfg(test)]
mod tests;
mod volume;
mod watch;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use self::attempts::Attempts;
use self::chain::{Chain, Recovered};
use self::files::{Lock, failed, unusable};
use self::format::Format;
use self::name::VolumeName;
use self::offsets::{Marks, OffsetsFile, RESERVED};
use self::pins::Pins;
use self::room::Ballast;
pub use self::room::Disk;
use self::spans::Spans;
use self::state::State;
use self::volume::{PIECE_BYTES, Volume};
use self::watch::{Call, Lane, Ticker, Watch};
use super::backup::{BackupCall, BackupError, BackupReport};
use super::{
    Block, Engine, EngineError, Entry, Gap, IndexEntry, Opened, Space, StateBatch, VolumeInfo,
};
use crate::ids::{LogId, Offset};

/// How often the high-water mark and the attempts are synced.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether the state store has grown.
const COMPACT_EVERY: Duration = Duration::from_secs(10);
/// Free space that is left alone by that.
const ROOM_TO_COMPACT: u64 = 64 << 20;
/// How often syncs under way are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Where a log lies and how large its parts get.
#[derive(Debug, Clone)]
pub struct SledSettings {
    /// Its directory; made, for this user only, if it is not there.
    pub path: PathBuf,
    /// A volume is sealed when its database has grown to this; 1 GiB by default.
    pub volume_bytes: u64,
    /// The oldest kept attempts go above this; 256 MiB by default.
    pub attempts_bytes: u64,
    /// Room taken to be given away when the disk is full; none by default.
    pub ballast_bytes: u64,
    /// The ballast is made while so much is free besides it.
    pub ballast_above_bytes: u64,
    /// A sync that takes longer ends the process; 30 s by default.
    pub sync_limit: Duration,
}

impl SledSettings {
    /// Defaults for a log at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            volume_bytes: 1 << 30,
            attempts_bytes: 256 << 20,
            ballast_bytes: 0,
            ballast_above_bytes: 0,
            sync_limit: Duration::from_secs(30),
        }
    }
}

/// A log on sled.
///
/// A failed sync of one of its files, a sync that hangs, and a panic of sled's threads end the
/// process with [`durable::DISK_FAILED`]. Dropping it without [`Engine::close`] is as safe as a
/// crash: the next opening is not clean.
#[derive(Debug)]
pub struct SledEngine {
    shared: Arc<Shared>,
    keeper: Mutex<Ticker>,
    compacter: Mutex<Ticker>,
    watcher: Mutex<Ticker>,
    call_keeper: Call,
    _lock: Lock,
}

#[derive(Debug)]
struct Shared {
    settings: SledSettings,
    opened: Opened,
    files: PathBuf,
    chain: Chain,
    /// Held while a volume is removed.
    pins: Pins,
    /// Held while a backup is taken.
    backing_up: Mutex<()>,
    writer: Mutex<Writer>,
    /// The next volume, made ahead; held while it is being made.
    prepared: Mutex<Option<Arc<Volume>>>,
    /// The next offset, of what is durable.
    next: AtomicU64,
    /// No offset at or above this may be used yet.
    ceiling: AtomicU64,
    offsets: Mutex<OffsetsFile>,
    spans: Mutex<Spans>,
    state: State,
    attempts: Attempts,
    ballast: Ballast,
    watch: Watch,
    taking: Mutex<Taking>,
    /// What takes long gives up.
    stopping: AtomicBool,
    /// Volumes in which damage was found, of which a copy is to be kept.
    hurt: Mutex<BTreeSet<u64>>,
}

/// Whether the log takes more.
#[derive(Debug)]
enum Taking {
    Open,
    Closed,
    /// After the first error, which is final.
    Failed(String),
}

#[derive(Debug)]
struct Writer {
    current: Arc<Volume>,
    scratch: Vec<u8>,
}

impl SledEngine {
    /// Opens the log at `settings.path`, making it if the directory is empty or not there. `dice`
    /// are random bits for the name of a new log.
    ///
    /// Call it before any socket is bound: it proves that syncs are real, and it may take seconds.
    ///
    /// # Errors
    /// [`EngineError::Locked`], [`EngineError::Format`] and [`EngineError::Unusable`] have touched
    /// nothing. [`EngineError::NotDurable`]: this build must not be used.
    /// [`EngineError::NoRoom`]: the disk is full, and the ballast has been given away.
    /// [`EngineError::Damaged`]: the state store cannot be opened; a copy is in `damaged/`.
    /// Damaged volumes are no error: see [`Opened::lost`].
    pub fn open(settings: SledSettings, dice: u64) -> Result<Self, EngineError> {
        let dir = settings.path.clone();
        if dir.exists() {
            Format::find(&dir)?;
        }
        files::make_dir(&dir).map_err(unusable(&dir))?;
        let lock = Lock::take(&dir)?;
        files::keep_private(&dir);
        let found = Format::find(&dir)?;
        room::require(&dir)?;
        make_durable(&dir)?;
        let created = found.is_none();
        let format = match found {
            Some(mut format) => {
                format.upgrade(&dir)?;
                format
            }
            None => create(&dir, dice)?,
        };
        sync_parent(&dir)?;
        let shared = Arc::new(Shared::open(settings, format.log, created)?);
        Self::start(shared, lock).map_err(unusable(&dir))
    }

    fn start(shared: Arc<Shared>, lock: Lock) -> std::io::Result<Self> {
        let call_keeper = Call::new();
        let kept = shared.clone();
        let keeper = Ticker::start("log keeper", HOUSEKEEPING_EVERY, &call_keeper, move || {
            kept.keep_house();
        })?;
        let compacted = shared.clone();
        let compacter = Ticker::start("log compacter", COMPACT_EVERY, &Call::new(), move || {
            compacted.compact();
        })?;
        let watched = shared.clone();
        let watcher = Ticker::start("log watch", WATCH_EVERY, &Call::new(), move || {
            watched.watch.check();
        })?;
        Ok(Self {
            shared,
            keeper: Mutex::new(keeper),
            compacter: Mutex::new(compacter),
            watcher: Mutex::new(watcher),
            call_keeper,
            _lock: lock,
        })
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        // they hold the databases open
        self.shared.stopping.store(true, Ordering::Release);
        self.keeper.lock().stop();
        self.compacter.lock().stop();
        self.watcher.lock().stop();
    }
}

/// The format that logs are written in.
pub const FORMAT: u32 = format::VERSION;

/// The format of the log in a directory, looked at without touching anything; `None` when there is no
/// log.
///
/// # Errors
/// [`EngineError::Format`] for one that this program does not read, [`EngineError::Unusable`].
pub fn format_found(dir: &Path) -> Result<Option<u32>, EngineError> {
    Ok(Format::find(dir)?.map(|format| format.version))
}

/// Makes failed syncs below `dir` final and proves that syncs are real.
fn make_durable(dir: &Path) -> Result<(), EngineError> {
    durable::arm(dir).map_err(unusable(dir))?;
    watch::end_on_panics_of_sled();
    let scratch = dir.join("proof");
    durable::prove_linked(&scratch)?;
    pool::make_small(&scratch);
    Ok(())
}

/// Makes a new log in an empty directory. The format file comes last: an interrupted first start
/// begins again.
fn create(dir: &Path, dice: u64) -> Result<Format, EngineError> {
    OffsetsFile::create(dir, Marks::NEW)?;
    let format = Format {
        version: format::VERSION,
        log: LogId::from_bits(dice),
        segment_bytes: database::SEGMENT_BYTES,
    };
    format.create(dir)?;
    Ok(format)
}

/// Makes the log's own name durable. At every start: the one that made the directory may have
/// ended before it came to this.
fn sync_parent(dir: &Path) -> Result<(), EngineError> {
    let dir = dir.canonicalize().map_err(unusable(dir))?;
    let parent = dir.parent().unwrap_or(Path::new("/"));
    files::sync_dir(parent).map_err(failed(parent))
}

/// The gap that is `first .. end`.
fn gap(first: Offset, end: Offset, known_lost: bool) -> Gap {
    Gap {
        first,
        last: end - 1,
        known_lost,
    }
}

/// Where the log goes on, and what is missing.
struct Recovery {
    next: Offset,
    lost: Vec<Gap>,
}

/// Compares what volumes and records hold with what is remembered to have been there.
fn recover(found: &Recovered, spans: &Spans, marks: Option<Marks>) -> Recovery {
    let mut covered = spans.all();
    covered.merge(&found.held);
    let mut lost: Vec<Gap> = covered
        .holes()
        .into_iter()
        .chain(found.unreadable.iter().copied())
        .map(|(first, end)| gap(first, end, true))
        .collect();
    let end = covered.end();
    let next = match marks {
        Some(marks) if end < marks.high => {
            lost.push(gap(end, marks.high, true));
            marks.ceiling.max(marks.high)
        }
        Some(_) => end,
        // nobody knows how far it had gone
        None => end + RESERVED,
    };
    let known = marks.map_or(end, |m| m.high.max(end));
    if known < next {
        lost.push(gap(known, next, false));
    }
    Recovery { next, lost }
}

impl Shared {
    fn open(settings: SledSettings, log: LogId, created: bool) -> Result<Self, EngineError> {
        let dir = settings.path.clone();
        let mut spans = Spans::open(&dir)?;
        let offsets = OffsetsFile::open(&dir)?;
        let marks = offsets.as_ref().map(OffsetsFile::marks);
        let state = State::open(&dir)?;
        let found = Chain::open(&dir.join("v"), &spans)?;
        let recovery = recover(&found, &spans, marks);
        let lost = spans.add_gaps(&recovery.lost)?;
        let offsets = match offsets {
            Some(offsets) => offsets,
            None => remake_offsets(&dir)?,
        };
        let files = dir.join("files");
        files::make_dir(&files).map_err(failed(&files))?;
        let attempts = Attempts::open(&dir, settings.attempts_bytes)?;
        files::sync_dir(&dir).map_err(failed(&dir))?;
        let ballast = Ballast::open(&dir, settings.ballast_bytes, settings.ballast_above_bytes);
        let opened = Opened {
            log,
            next: recovery.next,
            clean: marks.is_some_and(|m| m.clean),
            created,
            lost,
            gone: found.gone,
        };
        let shared = Self {
            hurt: Mutex::default(),
            watch: Watch::new(settings.sync_limit),
            settings,
            next: AtomicU64::new(opened.next),
            opened,
            files,
            chain: found.chain,
            pins: Pins::default(),
            backing_up: Mutex::new(()),
            writer: Mutex::new(Writer {
                current: found.current,
                scratch: Vec::new(),
            }),
            prepared: Mutex::new(found.prepared),
            ceiling: AtomicU64::new(0),
            offsets: Mutex::new(offsets),
            spans: Mutex::new(spans),
            state,
            attempts,
            ballast,
            taking: Mutex::new(Taking::Open),
            stopping: AtomicBool::new(false),
        };
        shared.reserve(shared.opened.next)?;
        Ok(shared)
    }

    /// Syncs a ceiling well above `from`, and the high-water mark.
    fn reserve(&self, from: Offset) -> Result<(), EngineError> {
        let mut offsets = self.offsets.lock();
        offsets.write(Marks {
            ceiling: from + RESERVED,
            high: self.next.load(Ordering::Acquire),
            clean: false,
        })?;
        let ceiling = offsets.marks().ceiling;
        self.ceiling.store(ceiling, Ordering::Release);
        Ok(())
    }

    /// The next offset, of what is durable.
    fn next(&self) -> Offset {
        self.next.load(Ordering::Acquire)
    }

    /// No offset at or above this may have been used.
    fn ceiling(&self) -> Offset {
        self.ceiling.load(Ordering::Acquire)
    }

    fn refuse_stopped(&self) -> Result<(), EngineError> {
        match &*self.taking.lock() {
            Taking::Open => Ok(()),
            Taking::Closed => Err(EngineError::Failed("the log is closed".to_owned())),
            Taking::Failed(why) => Err(EngineError::Failed(why.clone())),
        }
    }

    /// Runs what writes; its first error or panic is final.
    fn write_or_stop(
        &self,
        write: impl FnOnce() -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let written = catch_unwind(AssertUnwindSafe(write))
            .unwrap_or_else(|p| Err(EngineError::Failed(database::panic_text(&*p))));
        if let Err(e) = &written {
            *self.taking.lock() = Taking::Failed(e.to_string());
        }
        written
    }

    /// Whether a volume was begun.
    fn append(&self, writer: &mut Writer, blocks: &[Block]) -> Result<bool, EngineError> {
        let _watched = self.watch.begin(Lane::Append);
        let mut next = self.next.load(Ordering::Acquire);
        for block in blocks {
            block.check(next)?;
            next = block.end();
        }
        if next > self.ceiling.load(Ordering::Acquire) {
            self.reserve(next)?;
        }
        let rotated = self.rotate(writer)?;
        let mut refs = Vec::with_capacity(blocks.len());
        for block in blocks {
            refs.push(writer.current.insert(block, &mut writer.scratch)?);
        }
        writer.current.flush()?;
        writer.current.publish(blocks, &refs);
        self.next.store(next, Ordering::Release);
        Ok(rotated)
    }

    /// Begins the next volume when the current one is full.
    fn rotate(&self, writer: &mut Writer) -> Result<bool, EngineError> {
        let is_empty = writer.current.span().is_none();
        if is_empty || writer.current.db_bytes() < self.settings.volume_bytes {
            return Ok(false);
        }
        // held until the number is given out: one prepared meanwhile would come before this one
        let mut prepared = self.prepared.lock();
        let volume = match prepared.take() {
            Some(volume) => volume,
            None => self.make_volume()?,
        };
        drop(prepared);
        self.chain.push(volume.clone());
        writer.current = volume;
        Ok(true)
    }

    fn make_volume(&self) -> Result<Arc<Volume>, EngineError> {
        let name = VolumeName::new(self.chain.new_number());
        chain::make_volume(self.chain.dir(), name).map(Arc::new)
    }

    /// One round of what has to be done beside the appends.
    fn keep_house(&self) {
        self.keep_copies();
        let rounds = [
            ("mark offsets", self.mark()),
            ("seal volumes", self.chain.seal_full()),
            ("prepare the next volume", self.prepare()),
            ("sync attempts", self.attempts.sync()),
        ];
        for (what, done) in rounds {
            // a failed sync has ended the process; all else is tried again
            if let Err(e) = done {
                tracing::error!(error = %e, "cannot {what}");
            }
        }
        self.ballast.keep();
    }

    /// Has the state store rewritten when it has grown to several times what is in it.
    fn compact(&self) {
        let free = Disk::of(&self.settings.path).map_or(u64::MAX, |disk| disk.free);
        // the new one is smaller, and goes beside the old one for a while
        if !self.state.has_grown() || free < self.state.bytes() + ROOM_TO_COMPACT {
            return;
        }
        if let Err(error) = self
            .state
            .compact(&|| self.stopping.load(Ordering::Acquire))
        {
            tracing::error!(%error, "the state store could not be rewritten");
        }
    }

    /// Beside the reads that found the damage: a copy may take long.
    fn keep_copies(&self) {
        let hurt = std::mem::take(&mut *self.hurt.lock());
        hurt.into_iter()
            .for_each(|number| self.chain.keep_copy(number));
    }

    /// Syncs the high-water mark if it has moved, and a higher ceiling when half of it is used.
    fn mark(&self) -> Result<(), EngineError> {
        let next = self.next.load(Ordering::Acquire);
        let mut offsets = self.offsets.lock();
        let marks = offsets.marks();
        if marks.high >= next || marks.clean {
            return Ok(());
        }
        let used_up = next + RESERVED / 2 > marks.ceiling;
        offsets.write(Marks {
            ceiling: if used_up { next + RESERVED } else { 0 },
            high: next,
            clean: false,
        })?;
        let ceiling = offsets.marks().ceiling;
        self.ceiling.fetch_max(ceiling, Ordering::AcqRel);
        Ok(())
    }

    /// Makes the next volume once the current one is half full.
    fn prepare(&self) -> Result<(), EngineError> {
        let current = self.writer.lock().current.clone();
        if current.db_bytes() < self.settings.volume_bytes / 2 || current.span().is_none() {
            return Ok(());
        }
        let mut prepared = self.prepared.lock();
        if prepared.is_none() {
            *prepared = Some(self.make_volume()?);
        }
        Ok(())
    }

    /// Blocks of one volume from `from` on; `false` when more of it did not fit.
    fn read_volume(
        &self,
        number: u64,
        from: Offset,
        bytes_max: usize,
        found: &mut Vec<Block>,
    ) -> Result<bool, EngineError> {
        let taken: usize = found.iter().map(|b| b.bytes.len()).sum();
        let volume = self.chain.volume(number).inspect_err(|e| {
            self.note_damage(number, e, self.chain.span(number));
        })?;
        let (mut refs, all) = volume.refs_from(from, bytes_max.saturating_sub(taken));
        if refs.is_empty() && found.is_empty() {
            refs.extend(volume.ref_at(from));
        }
        let whole = all || refs.last().map(index::BlockRef::end) == volume.span().map(|s| s.1);
        for block in refs {
            let read = volume.read_block(block).inspect_err(|e| {
                self.note_damage(number, e, Some((block.first, block.end())));
            });
            found.push(read?);
        }
        Ok(whole)
    }

    fn read_chain(&self, from: Offset, bytes_max: usize) -> Result<Vec<Block>, EngineError> {
        let mut found = Vec::new();
        for number in self.chain.from(from) {
            match self.read_volume(number, from, bytes_max, &mut found) {
                Ok(true) => {}
                Ok(false) => break,
                // removed meanwhile
                Err(_) if self.chain.span(number).is_none() => {}
                Err(e) if found.is_empty() => return Err(e),
                Err(_) => break,
            }
        }
        Ok(found)
    }

    /// Records offsets that turned out to be unreadable.
    fn note_damage(&self, number: u64, error: &EngineError, span: Option<(Offset, Offset)>) {
        let (EngineError::Damaged(_), Some((first, end))) = (error, span) else {
            return;
        };
        self.hurt.lock().insert(number);
        tracing::error!(%error, first, end, "lost");
        self.note_lost(&[(first, end)]);
    }

    /// Records what reading found missing in volumes.
    fn note_missing(&self) {
        let missing = self.chain.take_missing();
        if !missing.is_empty() {
            tracing::error!(?missing, "lost");
            self.note_lost(&missing);
        }
    }

    fn note_lost(&self, spans: &[(Offset, Offset)]) {
        let gaps: Vec<Gap> = spans
            .iter()
            .map(|&(first, end)| gap(first, end, true))
            .collect();
        if let Err(e) = self.spans.lock().add_gaps(&gaps) {
            tracing::error!(error = %e, "cannot record what is lost");
        }
    }

    fn raise(&self, at_least: Offset) -> Result<(), EngineError> {
        let next = self.next.load(Ordering::Acquire);
        if at_least <= next {
            return Ok(());
        }
        let target = at_least.max(self.ceiling.load(Ordering::Acquire));
        let mut gaps = vec![gap(next, at_least, true)];
        if at_least < target {
            gaps.push(gap(at_least, target, false));
        }
        self.spans.lock().add_gaps(&gaps)?;
        self.next.store(target, Ordering::Release);
        self.reserve(target)
    }

    /// Syncs everything and marks the shutdown clean.
    fn finish(&self) -> Result<(), EngineError> {
        let writer = self.writer.lock();
        self.refuse_stopped()?;
        *self.taking.lock() = Taking::Closed;
        let _watched = self.watch.begin(Lane::Append);
        writer.current.flush()?;
        self.state.flush()?;
        self.chain.seal_full()?;
        self.attempts.sync()?;
        self.offsets.lock().write(Marks {
            ceiling: 0,
            high: self.next.load(Ordering::Acquire),
            clean: true,
        })
    }
}

fn remake_offsets(dir: &Path) -> Result<OffsetsFile, EngineError> {
    tracing::error!("the record of offsets in use was lost; continuing above a reserve");
    OffsetsFile::create(dir, Marks::NEW)?;
    OffsetsFile::open(dir)?.ok_or_else(|| {
        EngineError::Failed(format!("{}: offsets cannot be read back", dir.display()))
    })
}

impl Engine for SledEngine {
    fn opened(&self) -> &Opened {
        &self.shared.opened
    }

    fn block_bytes_best(&self) -> usize {
        PIECE_BYTES
    }

    fn gaps(&self) -> Vec<Gap> {
        self.shared.spans.lock().gaps().to_vec()
    }

    fn raise_next(&self, at_least: Offset) -> Result<Offset, EngineError> {
        let shared = &self.shared;
        let _writer = shared.writer.lock();
        shared.refuse_stopped()?;
        shared.write_or_stop(|| shared.raise(at_least))?;
        Ok(shared.next.load(Ordering::Acquire))
    }

    fn append(&self, blocks: &[Block]) -> Result<(), EngineError> {
        if blocks.is_empty() {
            return Ok(());
        }
        let shared = &self.shared;
        let mut writer = shared.writer.lock();
        shared.refuse_stopped()?;
        shared.write_or_stop(|| {
            if shared.append(&mut writer, blocks)? {
                self.call_keeper.now();
            }
            Ok(())
        })
    }

    fn read(&self, from: Offset, bytes_max: usize) -> Result<Vec<Block>, EngineError> {
        let shared = &self.shared;
        loop {
            let rewrites = shared.chain.rewrites();
            let found = shared.read_chain(from, bytes_max);
            shared.note_missing();
            // else what was not found where it was looked for may be somewhere else now
            if rewrites == shared.chain.rewrites() {
                return found;
            }
        }
    }

    fn index(&self, volume: u64) -> Result<Vec<IndexEntry>, EngineError> {
        let entries = self.shared.chain.entries(volume).inspect_err(|e| {
            let shared = &self.shared;
            shared.note_damage(volume, e, shared.chain.span(volume));
        });
        self.shared.note_missing();
        entries
    }

    fn volumes(&self) -> Vec<VolumeInfo> {
        let next = self.shared.next.load(Ordering::Acquire);
        self.shared.chain.infos(next)
    }

    fn remove_volume(&self, number: u64) -> Result<(), EngineError> {
        let shared = &self.shared;
        shared.refuse_stopped()?;
        let mut pins = shared.pins.lock();
        let span = shared.chain.full_span(number).ok_or_else(|| {
            EngineError::Failed(format!("volume {number} is not there or not sealed"))
        })?;
        shared.spans.lock().add_removed(span.0, span.1)?;
        if pins.defer(number) {
            return Ok(());
        }
        shared.chain.remove(number)
    }

    fn rewrite_volumes(
        &self,
        first: u64,
        last: u64,
        left: &mut dyn FnMut() -> Result<Option<Block>, EngineError>,
    ) -> Result<(), EngineError> {
        self.shared.refuse_stopped()?;
        self.shared.rewrite(first, last, left)
    }

    fn backup(&self, call: &BackupCall<'_>) -> Result<BackupReport, BackupError> {
        let Some(_one_at_a_time) = self.shared.backing_up.try_lock() else {
            let dir = call.dir.display().to_string();
            return Err(BackupError::Busy(dir));
        };
        backup::take(&self.shared, call)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.shared.state.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, EngineError> {
        self.shared.state.scan(from, to, limit)
    }

    fn commit(&self, batch: &StateBatch) -> Result<(), EngineError> {
        batch.check()?;
        let shared = &self.shared;
        shared.refuse_stopped()?;
        if batch.is_empty() {
            return Ok(());
        }
        shared.write_or_stop(|| {
            let _watched = shared.watch.begin(Lane::State);
            shared.state.commit(batch)
        })
    }

    fn append_attempts(&self, span: (Offset, Offset), bytes: &[u8]) -> Result<(), EngineError> {
        self.shared.refuse_stopped()?;
        self.shared.attempts.append(span, bytes)
    }

    fn attempts(
        &self,
        about: Option<Offset>,
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), EngineError> {
        self.shared.attempts.visit(about, visit)
    }

    fn files(&self) -> Option<&Path> {
        Some(&self.shared.files)
    }

    fn space(&self) -> Option<Space> {
        let shared = &self.shared;
        let disk = Disk::of(&shared.settings.path)?;
        let ballast = shared.ballast.bytes();
        let stores = shared.chain.bytes() + shared.state.bytes() + shared.attempts.bytes();
        Some(Space {
            used: stores + files::dir_bytes(&shared.files) + ballast,
            free: disk.free,
            ballast,
        })
    }

    fn parts(&self) -> Vec<(&'static str, u64)> {
        let shared = &self.shared;
        let dir = &shared.settings.path;
        vec![
            ("volumes", shared.chain.bytes()),
            ("state", shared.state.bytes()),
            ("keys", files::dir_bytes(&shared.files)),
            ("attempts", shared.attempts.bytes()),
            ("ballast", shared.ballast.bytes()),
            ("damaged", files::dir_bytes(&dir.join("damaged"))),
        ]
    }

    fn close(&self) -> Result<(), EngineError> {
        if matches!(*self.shared.taking.lock(), Taking::Closed) {
            return Ok(());
        }
        self.shared.stopping.store(true, Ordering::Release);
        self.keeper.lock().stop();
        self.compacter.lock().stop();
        self.shared.keep_copies();
        let finished = self.shared.finish();
        self.watcher.lock().stop();
        finished
    }
}
