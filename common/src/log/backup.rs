//! A backup as people order it from a running log, and how it goes.

use serde::{Deserialize, Serialize};

use crate::engine::backup::{BackupReport, Stage};
use crate::time::Timestamp;

/// What is to be backed up, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupOrder {
    /// An absolute path on the receiver's machine: new, empty, or with an earlier backup of this log.
    pub dir: String,
    /// Read all of it back afterwards.
    pub verify: bool,
}

/// The backup that is under way, or the last one of this process.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatus {
    /// Which order of this process it is, from 1; 0 when there was none.
    pub order: u64,
    /// It is under way.
    pub running: bool,
    /// Where to.
    pub dir: Option<String>,
    /// When it was ordered.
    pub ordered_at: Option<Timestamp>,
    /// What is being done.
    pub stage: Stage,
    /// Bytes done of this stage.
    pub done: u64,
    /// About how many bytes there are; 0 while nobody knows.
    pub total: u64,
    /// What it did, once it is complete.
    pub report: Option<BackupReport>,
    /// Why it is not complete, if it failed.
    pub error: Option<String>,
}
