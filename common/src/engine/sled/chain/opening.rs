//! Opening the chain: what is there, what of it is whole, and which volume goes on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::super::database::{OpenError, SEGMENT_BYTES};
use super::super::files::{self, failed};
use super::super::index::{self, Footer};
use super::super::name::VolumeName;
use super::super::spans::{Spans, Stretches};
use super::super::volume::{self, Volume, damaged_dir};
use super::{Chain, Sealed, Slot, make_volume, remove_dir};
use crate::engine::{EngineError, IndexEntry};
use crate::ids::Offset;

/// A sealed database may grow by so much when it is closed, or was when a crash came before.
const GROWS_BY: u64 = 2 * SEGMENT_BYTES as u64;
/// What opening the chain found.
#[derive(Debug)]
pub(in crate::engine::sled) struct Recovered {
    pub(in crate::engine::sled) chain: Chain,
    /// The volume to append to.
    pub(in crate::engine::sled) current: Arc<Volume>,
    /// The next one, if it was made ahead.
    pub(in crate::engine::sled) prepared: Option<Arc<Volume>>,
    /// Offsets that the volumes hold.
    pub(in crate::engine::sled) held: Stretches,
    /// Offsets that they should hold but that cannot be read: first and end.
    pub(in crate::engine::sled) unreadable: Vec<(Offset, Offset)>,
    /// Indexes of blocks that are gone.
    pub(in crate::engine::sled) gone: Vec<IndexEntry>,
}

/// Numbers found in the directory, and what became of them so far.
#[derive(Debug, Default)]
struct Opening {
    slots: BTreeMap<u64, Slot>,
    open: BTreeMap<u64, Volume>,
    held: Stretches,
    unreadable: Vec<(Offset, Offset)>,
    gone: Vec<IndexEntry>,
    highest: u64,
}

/// What reading a sealed volume came to.
enum Inspected {
    /// It can be used, but for blocks that have been noted.
    Sound,
    /// Why it cannot be opened.
    Unusable(String),
    /// What its index says is not what its database says.
    ForeignIndex,
}

impl Chain {
    /// Opens the chain in `dir`, made if it is not there: finishes removals off, seals what was
    /// not sealed in time, sets aside what cannot be opened.
    pub(in crate::engine::sled) fn open(
        dir: &Path,
        spans: &Spans,
    ) -> Result<Recovered, EngineError> {
        files::make_dir(dir).map_err(failed(dir))?;
        let mut opening = Opening::default();
        for name in tidy(dir).map_err(failed(dir))? {
            opening.highest = opening.highest.max(name.last);
            opening.take(dir, name, spans)?;
        }
        opening.highest = opening.highest.max(highest_set_aside(dir));
        opening.finish(dir)
    }
}

impl Opening {
    /// Looks at one volume: sealed ones are only measured, others are opened.
    fn take(&mut self, dir: &Path, name: VolumeName, spans: &Spans) -> Result<(), EngineError> {
        let path = dir.join(name.to_string());
        let number = name.number;
        let Some(footer) = index::read_footer(&path).map_err(failed(&path))? else {
            return self.open(dir, name);
        };
        if spans.removed().cover(footer.first, footer.end) {
            return remove_dir(dir, name);
        }
        let db_bytes = fs::metadata(path.join("db")).map_or(0, |m| m.len());
        let mut damage = None;
        // one of another size, or that says to hold what another holds, may be damaged or another's
        let is_held = self.held.cover(footer.first, footer.end);
        if is_held || !is_as_sealed(dir, name, footer, db_bytes)? {
            tracing::warn!(
                volume = number,
                "not as it was when it was sealed; reading it"
            );
            damage = match self.inspect(dir, name, footer)? {
                Inspected::Sound => None,
                Inspected::Unusable(why) => Some(why),
                Inspected::ForeignIndex => return self.index_anew(dir, name),
            };
        }
        self.held.add(footer.first, footer.end);
        let mut slot = Slot::sealed(name, Sealed::of(dir, name, footer));
        slot.damage = damage;
        self.slots.insert(number, slot);
        Ok(())
    }

    /// Reads a sealed volume that looks damaged, of which a copy is kept first.
    fn inspect(
        &mut self,
        dir: &Path,
        name: VolumeName,
        footer: Footer,
    ) -> Result<Inspected, EngineError> {
        let path = dir.join(name.to_string());
        files::keep_copy(&path, &damaged_dir(dir).join(name.to_string()));
        match Volume::open(dir, name) {
            Ok(volume) if !volume.fits_its_index() => Ok(Inspected::ForeignIndex),
            Ok(volume) => {
                for block in volume.verify()? {
                    self.unreadable.push((block.first, block.end()));
                }
                Ok(Inspected::Sound)
            }
            Err(OpenError::Damaged(why)) => {
                self.unreadable.push((footer.first, footer.end));
                Ok(Inspected::Unusable(why))
            }
            Err(OpenError::Failed(e)) => Err(e),
        }
    }

    /// Opens a volume whose index file is another's.
    fn index_anew(&mut self, dir: &Path, name: VolumeName) -> Result<(), EngineError> {
        tracing::error!(volume = %name, "its index is not its own; made anew");
        let index = dir.join(name.to_string()).join(index::FILE);
        fs::remove_file(&index).map_err(failed(&index))?;
        self.open(dir, name)?;
        if let Some(volume) = self.open.get_mut(&name.number) {
            volume.hurt = true;
        }
        Ok(())
    }

    fn open(&mut self, dir: &Path, name: VolumeName) -> Result<(), EngineError> {
        match Volume::open(dir, name) {
            Ok(mut volume) => {
                self.gone.append(&mut volume.gone);
                for (first, end) in volume.stretches() {
                    self.held.add(first, end);
                }
                self.open.insert(name.number, volume);
                Ok(())
            }
            Err(OpenError::Damaged(why)) => {
                tracing::error!(volume = %name, why, "cannot be opened; set aside");
                let path = dir.join(name.to_string());
                self.gone
                    .extend(volume::entries(&path).map_err(failed(&path))?);
                set_aside(dir, name)
            }
            Err(OpenError::Failed(e)) => Err(e),
        }
    }

    /// Decides which open volume goes on, and what becomes of the others.
    fn finish(mut self, dir: &Path) -> Result<Recovered, EngineError> {
        let last_sealed = self.slots.keys().next_back().copied().unwrap_or(0);
        let last_filled = self.open.values().rev().find(|v| v.span().is_some());
        let last_filled = last_filled
            .filter(|v| !v.name.is_rest())
            .map(|v| v.name.number)
            .filter(|n| *n > last_sealed);
        let mut current = None;
        let mut prepared = None;
        for (number, volume) in std::mem::take(&mut self.open) {
            let is_empty = volume.span().is_none();
            if Some(number) == last_filled && !volume.hurt {
                current = Some(volume);
            } else if !is_empty {
                let footer = volume.seal()?;
                let sealed = Sealed::of(dir, volume.name, footer);
                self.slots.insert(number, Slot::sealed(volume.name, sealed));
            } else if !volume.hurt
                && number > last_filled.unwrap_or(last_sealed)
                && prepared.is_none()
            {
                prepared = Some(volume);
            } else {
                // it once held what its neighbours do not, or was made too much
                let name = volume.name;
                drop(volume);
                set_aside(dir, name)?;
            }
        }
        let current = match current.or_else(|| prepared.take()) {
            Some(volume) => volume,
            None => self.make_volume(dir)?,
        };
        self.into_recovered(dir, Arc::new(current), prepared.map(Arc::new))
    }

    fn make_volume(&mut self, dir: &Path) -> Result<Volume, EngineError> {
        self.highest += 1;
        make_volume(dir, VolumeName::new(self.highest))
    }

    fn into_recovered(
        mut self,
        dir: &Path,
        current: Arc<Volume>,
        prepared: Option<Arc<Volume>>,
    ) -> Result<Recovered, EngineError> {
        self.slots
            .insert(current.name.number, Slot::open(current.clone()));
        let chain = Chain::of(dir, self.slots, self.highest);
        Ok(Recovered {
            chain,
            current,
            prepared,
            held: self.held,
            unreadable: self.unreadable,
            gone: self.gone,
        })
    }
}

/// Whether the database of a sealed volume is the one that was sealed, as far as its size tells and,
/// if it has grown a little since, what its index says of it.
fn is_as_sealed(
    dir: &Path,
    name: VolumeName,
    footer: Footer,
    db_bytes: u64,
) -> Result<bool, EngineError> {
    if !(footer.db_bytes + 1..=footer.db_bytes + GROWS_BY).contains(&db_bytes) {
        return Ok(db_bytes == footer.db_bytes);
    }
    match Volume::open(dir, name) {
        Ok(volume) => Ok(volume.fits_its_index()),
        Err(OpenError::Damaged(_)) => Ok(false),
        Err(OpenError::Failed(e)) => Err(e),
    }
}

/// Deletes what was being made or removed when the process ended, and what has been rewritten;
/// answers the volumes in order.
fn tidy(dir: &Path) -> std::io::Result<Vec<VolumeName>> {
    let mut names = Vec::new();
    let mut removed = false;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("making-") || name.starts_with("removing-") {
            fs::remove_dir_all(entry.path())?;
            removed = true;
        } else if let Some(name) = VolumeName::parse(&name) {
            names.push(name);
        }
    }
    if removed {
        files::sync_dir(dir)?;
    }
    let (old, mut names): (Vec<_>, Vec<_>) = names
        .iter()
        .copied()
        .partition(|name| names.iter().any(|other| other.replaces(*name)));
    for name in old {
        files::remove_dir(
            &dir.join(name.to_string()),
            &dir.join(format!("removing-{name}")),
        )?;
    }
    names.sort_unstable();
    Ok(names)
}

/// Moves a volume out of the chain, to be looked at by people.
fn set_aside(dir: &Path, name: VolumeName) -> Result<(), EngineError> {
    let aside = damaged_dir(dir);
    let path = dir.join(name.to_string());
    let target = aside.join(format!("{name}-as-found"));
    files::make_dir(&aside)
        .and_then(|()| fs::rename(&path, &target))
        .and_then(|()| files::sync_dir(&aside))
        .and_then(|()| files::sync_dir(dir))
        .map_err(failed(&path))
}

fn highest_set_aside(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(damaged_dir(dir)) else {
        return 0;
    };
    let numbers = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().get(..10)?.parse().ok()
    });
    numbers.max().unwrap_or(0)
}
