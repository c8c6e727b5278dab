//! How kept attempts are written and found again.

use crate::attempt::Attempt;
use crate::engine::{Engine, EngineError};
use crate::ids::Offset;
use crate::log::codec;

/// Attempts in one block: bounded, so that a block with full responses stays below the codec's limit.
const BLOCK_ATTEMPTS: usize = 512;

/// Keeps attempts. They are made durable in the background; nothing depends on them.
///
/// # Errors
/// The engine's.
pub fn keep(engine: &dyn Engine, attempts: &[Attempt]) -> Result<(), EngineError> {
    for part in attempts.chunks(BLOCK_ATTEMPTS) {
        let offsets = part.iter().map(|attempt| attempt.offset);
        let span = (
            offsets.clone().min().unwrap_or(0),
            offsets.max().unwrap_or(0),
        );
        let bytes = codec::to_bytes(&part).map_err(|e| EngineError::Failed(e.to_string()))?;
        engine.append_attempts(span, &bytes)?;
    }
    Ok(())
}

/// Reads a block that may be anything.
#[cfg(feature = "fuzzing")]
pub fn read(bytes: &[u8]) {
    let _ = codec::from_slice::<Vec<Attempt>>(bytes);
}

/// The kept attempts of one delivery, oldest first, at most `limit` of the newest.
///
/// # Errors
/// The engine's.
pub fn of(engine: &dyn Engine, offset: Offset, limit: usize) -> Result<Vec<Attempt>, EngineError> {
    let mut found = Vec::new();
    engine.attempts(Some(offset), &mut |bytes| {
        match codec::from_slice::<Vec<Attempt>>(bytes) {
            Ok(part) => found.extend(
                part.into_iter()
                    .rev()
                    .filter(|attempt| attempt.offset == offset),
            ),
            Err(error) => tracing::warn!(%error, "a block of kept attempts cannot be read"),
        }
        found.len() < limit
    })?;
    found.truncate(limit);
    found.reverse();
    Ok(found)
}
