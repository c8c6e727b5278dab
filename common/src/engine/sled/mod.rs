//! The default engine: a chain of sled databases that are really synced.
//!
//! ```text
//! data/creel.log     what this directory is: format, log id            format.rs
//!      lock          held by the one process that owns the log         files.rs
//!      offsets       reserved ceiling, high-water mark, clean flag     offsets.rs
//!      spans         offsets removed on purpose, and lost              spans.rs
//!      v/0000000001/ a volume: sled database and index file            volume/ index.rs chain/
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
mod housekeeping;
mod index;
mod name;
mod offsets;
mod pins;
mod pool;
mod recovery;
mod rest;
mod rewrite;
mod room;
mod shared;
mod slots;
mod spans;
#[cfg(test)]
mod speed;
mod state;
#[cfg(test)]
mod tests;
mod volume;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::files::{Lock, unusable};
use self::format::Format;
use self::housekeeping::Threads;
use self::recovery::{create, make_durable, sync_parent};
pub use self::room::Disk;
use self::shared::{Shared, Taking};
use self::volume::PIECE_BYTES;
use self::watch::Lane;
use super::backup::{BackupCall, BackupError, BackupReport};
use super::{
    Block, Engine, EngineError, Entry, Gap, IndexEntry, Opened, Space, StateBatch, VolumeInfo,
};
use crate::ids::Offset;

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
    threads: Threads,
    _lock: Lock,
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
        let threads = Threads::start(&shared).map_err(unusable(&dir))?;
        Ok(Self {
            shared,
            threads,
            _lock: lock,
        })
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        // they hold the databases open
        self.shared.stopping.store(true, Ordering::Release);
        self.threads.stop_keeping();
        self.threads.stop_watching();
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
                self.threads.call_keeper();
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
        shared.record_removed(span)?;
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
        self.threads.stop_keeping();
        self.shared.keep_copies();
        let finished = self.shared.finish();
        self.threads.stop_watching();
        finished
    }
}
