//! Opens the engine a configuration names.

use std::path::Path;
use std::sync::Arc;

use creel_common::config::{Config, EngineKind};
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::engine::sled::{Disk, SledEngine, SledSettings};
use creel_common::engine::{Engine, EngineError};

use crate::failure::{Failure, usage};

/// Opens it; only one process can at a time. May take seconds: it proves that syncs are real.
///
/// # Errors
/// [`Failure::Disk`] when the disk failed or is full; wrong usage when the directory cannot be used.
pub fn open(config: &Config) -> anyhow::Result<Arc<dyn Engine>> {
    let dice = rand::random();
    match config.log.engine {
        EngineKind::Memory => Ok(Arc::new(MemoryEngine::new(MemorySettings::default(), dice))),
        EngineKind::Sled => {
            let settings = SledSettings {
                volume_bytes: config.log.volume_bytes,
                attempts_bytes: config.log.attempts_bytes,
                ballast_bytes: config.log.ballast_bytes,
                ballast_above_bytes: config.log.reserve_bytes.saturating_mul(2),
                ..SledSettings::new(&config.log.path)
            };
            let engine =
                SledEngine::open(settings, dice).map_err(|error| explain(config, error))?;
            Ok(Arc::new(engine))
        }
    }
}

/// What an error of opening means for whoever started this.
pub fn explain(config: &Config, error: EngineError) -> anyhow::Error {
    let path = config.log.path.display();
    match error {
        EngineError::Failed(why) => {
            Failure::Disk(format!("the log in {path} failed: {why}")).into()
        }
        EngineError::NoRoom(why) => {
            Failure::Disk(format!("the log in {path} cannot be opened: {why}")).into()
        }
        EngineError::Locked(_) => anyhow::anyhow!(
            "the log in {path} is in use by another process: a receiver is running on it"
        ),
        EngineError::Format { .. } | EngineError::Unusable(_) => {
            usage(format!("the log in {path} cannot be used: {error}"))
        }
        other => anyhow::anyhow!("the log in {path} cannot be opened: {other}"),
    }
}

/// Less than this is no room to speak of: a commit may be larger.
const FULL_BYTES: u64 = 8 << 20;

/// Bytes free on the disk of the log, if it is full.
pub fn is_full(path: &Path) -> Option<u64> {
    let free = Disk::of(path)?.free;
    (free < FULL_BYTES).then_some(free)
}
