//! What the receiver knows of its log besides the verbs: place, room, readiness.

use std::sync::Arc;

use creel_common::engine::{Gap, Space, VolumeInfo};
use creel_common::ids::{LogId, Offset};
use creel_common::log::wire::LogView;

/// How the log stands at one moment.
#[derive(Debug, Clone)]
pub struct LogFacts {
    /// Its name.
    pub log: LogId,
    /// The offset the next delivery gets.
    pub next: Offset,
    /// Its volumes, oldest first.
    pub volumes: Vec<VolumeInfo>,
    /// What is known to be missing.
    pub gaps: Vec<Gap>,
    /// Room on its disk.
    pub space: Option<Space>,
    /// Why nothing is taken in just now; `None` while deliveries can be acknowledged.
    pub refuses: Option<String>,
}

/// Reads how the log stands; quick, never waits.
pub type ReadFacts = Arc<dyn Fn() -> LogFacts + Send + Sync>;

impl From<LogFacts> for LogView {
    fn from(facts: LogFacts) -> Self {
        Self {
            log: facts.log,
            next: facts.next,
            refuses: facts.refuses,
            used_bytes: facts.space.map(|space| space.used),
            free_bytes: facts.space.map(|space| space.free),
            volumes: facts.volumes.into_iter().map(Into::into).collect(),
            gaps: facts.gaps.into_iter().map(Into::into).collect(),
        }
    }
}
