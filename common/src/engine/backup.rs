//! What a backup is asked for, tells while it goes on, and answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::{Block, EngineError, Gap};
use crate::ids::{LogId, Offset};
use crate::time::Timestamp;

/// A backup as it is ordered from an engine.
#[derive(Clone, Copy)]
pub struct BackupCall<'a> {
    /// Where to: a directory that is new, empty, or holds an earlier backup of this log.
    pub dir: &'a Path,
    /// When it is taken.
    pub at: Timestamp,
    /// Bytes that have to stay free on the log's own disk; what a backup to another disk leaves
    /// there is not its concern.
    pub keep_free: u64,
    /// Read all of it back afterwards.
    pub verify: bool,
    /// Is told how it goes.
    pub watch: &'a dyn Watch,
}

/// Follows a backup, a verification or a restore.
pub trait Watch: Send + Sync {
    /// The directory is fit; copying begins.
    fn begun(&self) {}
    /// So many bytes of about so many are done.
    fn went(&self, _stage: Stage, _done: u64, _total: u64) {}
    /// Whether to give up; asked often.
    fn is_cancelled(&self) -> bool {
        false
    }
    /// Whether what is in a block is as whoever wrote it left it; the engine has compared checksums.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, _block: &Block) -> Result<(), String> {
        Ok(())
    }
}

/// Looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;
impl Watch for Unwatched {}

/// Told from outside to give up.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Gives up.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether that was said.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What is being done.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Cursors, waiting deliveries, dead letters: the moment that is backed up.
    #[default]
    State,
    /// Deliveries.
    Volumes,
    /// Idempotency keys and kept attempts.
    Files,
    /// All that was written is read back.
    Verify,
}

/// What a backup did.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupReport {
    /// The log.
    pub log: LogId,
    /// Which backup in this directory, from 1.
    pub number: u64,
    /// When it was begun.
    pub at: Timestamp,
    /// The oldest offset in it; equal to `next` when none is.
    pub first: Offset,
    /// One past the newest offset in it.
    pub next: Offset,
    /// Volumes in it.
    pub volumes: u64,
    /// Files in it.
    pub files: u64,
    /// Bytes of all files in it.
    pub bytes: u64,
    /// Files that this backup wrote.
    pub files_written: u64,
    /// Bytes that this backup wrote.
    pub bytes_written: u64,
    /// Blocks of deliveries that this backup wrote.
    pub blocks_written: u64,
    /// Files of the backup before that are not needed any more and were removed.
    pub files_removed: u64,
    /// Deliveries that could not be read, now or before, and are not in it.
    pub lost: Vec<Gap>,
    /// What reading it back found, if that was asked for.
    pub verified: Option<VerifyReport>,
}

/// Something in a backup that is not as it was written.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The file, below the backup's directory.
    pub file: String,
    /// Offsets that it cannot give, both ends in it; `None` where it is not about deliveries.
    pub offsets: Option<(Offset, Offset)>,
    /// What is wrong.
    pub what: String,
}

/// What reading a backup back found.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// The log.
    pub log: LogId,
    /// Which backup in its directory.
    pub number: u64,
    /// When it was taken.
    pub at: Timestamp,
    /// The oldest offset in it; equal to `next` when none is.
    pub first: Offset,
    /// One past the newest offset in it.
    pub next: Offset,
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Deliveries that read back as they were written.
    pub deliveries: u64,
    /// Deliveries that were lost before the backup was taken.
    pub lost: Vec<Gap>,
    /// What does not read back.
    pub damage: Vec<Damage>,
}

/// What a restore made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// Where the new log is.
    pub dir: PathBuf,
    /// The name of the log that was backed up.
    pub from: LogId,
    /// The new log's name.
    pub log: LogId,
    /// When the backup was taken.
    pub at: Timestamp,
    /// The oldest offset in it; equal to `end` when none is.
    pub first: Offset,
    /// One past the newest offset that was restored.
    pub end: Offset,
    /// The offset the next delivery gets.
    pub next: Offset,
    /// Deliveries in it.
    pub deliveries: u64,
    /// Volumes in it.
    pub volumes: u64,
    /// Bytes read from the backup.
    pub bytes: u64,
    /// Deliveries that were lost before the backup was taken, or could not be read from it.
    pub lost: Vec<Gap>,
    /// What of the backup does not read back, and was left out.
    pub damage: Vec<Damage>,
}

impl From<EngineError> for BackupError {
    fn from(error: EngineError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Why there is no backup, no verification, no restore.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// This engine's logs cannot be backed up.
    #[error("{0}")]
    Unsupported(String),
    /// The directory is not fit for it.
    #[error("{0}")]
    Unfit(String),
    /// Something else is working on the directory.
    #[error("{0} is in use by another backup")]
    Busy(String),
    /// The backup cannot be read as it is.
    #[error("{0}")]
    Damaged(String),
    /// It was told to give up.
    #[error("cancelled; the backup before it is as it was")]
    Cancelled,
    /// A disk failed, or is full; the log goes on.
    #[error("{0}")]
    Failed(String),
}
