//! Rewriting sealed volumes: what is left of some neighbours moves into one new volume.
//!
//! The new volume is written and sealed beside the chain and then renamed into it, under a name that
//! says which volumes it stands for ([`VolumeName`]). Until that rename is durable the old ones are
//! the log's; from then on the new one is, and opening finishes the old ones off.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::chain::{self, Neighbours};
use super::database;
use super::files::{self, failed};
use super::index::Footer;
use super::name::VolumeName;
use super::pins::Pinned;
use super::shared::Shared;
use super::volume::Volume;
use crate::engine::{Block, EngineError};
use crate::ids::Offset;

/// Where the new volume is made, in the directory of the volumes.
const MAKING: &str = "making-rest";
/// Synced at once. After that it rests as long as the sync took: commits are to notice little of it.
const STEP_BYTES: usize = 1 << 20;

/// Hands out the blocks that are left, in order; `None` after the last one.
pub(super) type Left<'a> = &'a mut dyn FnMut() -> Result<Option<Block>, EngineError>;

impl Shared {
    /// Replaces the sealed neighbours `first` to `last` by what `left` hands out.
    pub(super) fn rewrite(&self, first: u64, last: u64, left: Left<'_>) -> Result<(), EngineError> {
        refuse_held(&self.pins.lock(), first, last)?;
        self.chain.seal_full()?;
        let old = self.chain.neighbours(first, last).ok_or_else(|| {
            EngineError::Failed(format!(
                "volumes {first} to {last} are not there or not sealed"
            ))
        })?;
        let dir = self.chain.dir();
        let making = dir.join(MAKING);
        let replaced = make(&making, old, left).and_then(|(name, footer)| {
            let pins = self.pins.lock();
            refuse_held(&pins, first, last)?;
            take_over(dir, &making, name).map_err(failed(dir))?;
            self.chain.replace(name, footer)
        });
        if making.exists() {
            // what cannot be cleared now is at the next opening
            let _ = fs::remove_dir_all(&making);
        }
        replaced
    }
}

/// A backup reads the volumes that it holds, and wants them as they were.
fn refuse_held(pins: &Pinned, first: u64, last: u64) -> Result<(), EngineError> {
    match (first..=last).find(|number| pins.holds(*number)) {
        Some(number) => Err(EngineError::Busy(format!("a backup needs volume {number}"))),
        None => Ok(()),
    }
}

/// Makes the new volume in `making`: written, sealed and synced.
fn make(
    making: &Path,
    old: Neighbours,
    left: Left<'_>,
) -> Result<(VolumeName, Footer), EngineError> {
    if making.exists() {
        fs::remove_dir_all(making).map_err(failed(making))?;
    }
    files::make_dir(making).map_err(failed(making))?;
    let name = VolumeName::rest(old.first, old.last);
    let mut volume = chain::make_volume(making, name)?;
    fill(&volume, old.span, left)?;
    volume.set_rest(old.span.0, old.span.1)?;
    let footer = volume.seal()?;
    drop(volume);
    database::finish(&making.join(name.to_string()))?;
    Ok((name, footer))
}

fn fill(volume: &Volume, span: (Offset, Offset), left: Left<'_>) -> Result<(), EngineError> {
    let mut scratch = Vec::new();
    let mut from = span.0;
    loop {
        let step = next_step(span.1, &mut from, left)?;
        if step.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let mut refs = Vec::with_capacity(step.len());
        for block in &step {
            refs.push(volume.insert(block, &mut scratch)?);
        }
        volume.flush()?;
        volume.publish(&step, &refs);
        volume.write_index()?;
        std::thread::sleep(began.elapsed());
    }
}

/// The next blocks, about [`STEP_BYTES`] of them; none after the last.
fn next_step(end: Offset, from: &mut Offset, left: Left<'_>) -> Result<Vec<Block>, EngineError> {
    let mut step = Vec::new();
    let mut bytes = 0;
    while bytes < STEP_BYTES
        && let Some(block) = left()?
    {
        let fits = *from <= block.first && block.end() <= end && block.count > 0;
        if !fits {
            return Err(EngineError::Failed(format!(
                "block of {} at offset {} is not between {from} and {end}",
                block.count, block.first
            )));
        }
        *from = block.end();
        bytes += block.bytes.len();
        step.push(block);
    }
    Ok(step)
}

/// The moment from which on the new volume is the log's and the old ones are not.
fn take_over(dir: &Path, making: &Path, name: VolumeName) -> std::io::Result<()> {
    files::sync_dir(making)?;
    fs::rename(making.join(name.to_string()), dir.join(name.to_string()))?;
    files::sync_dir(dir)
}
