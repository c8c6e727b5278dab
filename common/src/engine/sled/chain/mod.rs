//! The chain of volumes: which there are, which are open, which has to be sealed.
//!
//! Only the newest volume and a few that are being read are open: each open database costs a thread
//! and about 10 MB.

mod opening;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

pub(super) use self::opening::Recovered;
use super::database::OpenError;
use super::files::{self, failed};
use super::index::{self, Footer};
use super::name::VolumeName;
use super::spans::Stretches;
use super::volume::{Volume, damaged_dir};
use crate::engine::{EngineError, IndexEntry, VolumeInfo};
use crate::ids::Offset;

/// Sealed volumes kept open for readers.
const OPEN_MAX: usize = 2;

/// All volumes.
#[derive(Debug)]
pub(super) struct Chain {
    dir: PathBuf,
    slots: RwLock<BTreeMap<u64, Slot>>,
    /// Held while a sealed volume is opened, so that none is opened twice.
    opening: Mutex<()>,
    /// Counts uses of volumes.
    uses: AtomicU64,
    /// Highest number ever given to a volume.
    highest: AtomicU64,
    /// Counts rewritings: offsets may then be under another number than a moment ago.
    rewrites: AtomicU64,
    /// Offsets found missing when an index was rebuilt: first and end. To be recorded.
    missing: Mutex<Vec<(Offset, Offset)>>,
}

/// A volume, as a backup lists it.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) number: u64,
    /// Of its directory: another name is another volume, whatever its number.
    pub(super) name: String,
    /// First offset and end; `None` when nothing is in it.
    pub(super) span: Option<(Offset, Offset)>,
    /// It was rewritten: of its offsets only some are there.
    pub(super) rest: bool,
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct Slot {
    name: VolumeName,
    /// Known once its index file has a footer.
    sealed: Option<Sealed>,
    /// Nothing is appended any more, though it may not be sealed yet.
    full: bool,
    volume: Option<Arc<Volume>>,
    last_use: u64,
    /// Why its database does not open.
    damage: Option<String>,
}

/// Sealed volumes one after the other, as they are to be rewritten.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neighbours {
    pub(super) first: VolumeName,
    pub(super) last: VolumeName,
    /// First offset of the first and end of the last.
    pub(super) span: (Offset, Offset),
}

#[derive(Debug, Clone, Copy)]
struct Sealed {
    first: Offset,
    end: Offset,
    bytes: u64,
}

impl Chain {
    /// The chain of these volumes; `highest` is the highest number ever given to one.
    fn of(dir: &Path, slots: BTreeMap<u64, Slot>, highest: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            slots: RwLock::new(slots),
            opening: Mutex::new(()),
            uses: AtomicU64::new(0),
            highest: AtomicU64::new(highest),
            rewrites: AtomicU64::new(0),
            missing: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A number for a new volume.
    pub(super) fn new_number(&self) -> u64 {
        self.highest.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Makes `volume` the newest; the one before is full.
    pub(super) fn push(&self, volume: Arc<Volume>) {
        let mut slots = self.slots.write();
        if let Some(mut before) = slots.last_entry() {
            before.get_mut().full = true;
        }
        slots.insert(volume.name.number, Slot::open(volume));
    }

    /// Numbers of the volumes that hold offsets from `from` on, in order of offset.
    pub(super) fn from(&self, from: Offset) -> Vec<u64> {
        let slots = self.slots.read();
        let spans = slots
            .iter()
            .filter_map(|(number, slot)| Some((slot.span()?, *number)));
        let mut ahead: Vec<_> = spans.filter(|((_, end), _)| *end > from).collect();
        ahead.sort_unstable();
        ahead.into_iter().map(|(_, number)| number).collect()
    }

    /// What [`crate::engine::Engine::volumes`] answers; empty ones lie at `next`. In order of offset,
    /// which is that of numbers unless databases were put in each other's place.
    pub(super) fn infos(&self, next: Offset) -> Vec<VolumeInfo> {
        let slots = self.slots.read();
        let info = |(number, slot): (&u64, &Slot)| {
            let (first, end) = slot.span().unwrap_or((next, next));
            VolumeInfo {
                number: *number,
                first,
                end,
                bytes: slot.bytes(),
                sealed: slot.full,
                rest: slot.name.is_rest(),
            }
        };
        let mut infos: Vec<VolumeInfo> = slots.iter().map(info).collect();
        infos.sort_by_key(|info| (info.first, info.number));
        infos
    }

    /// What a backup has to know about the volumes, oldest first.
    pub(super) fn listed(&self) -> Vec<Listed> {
        let slots = self.slots.read();
        let listed = |(number, slot): (&u64, &Slot)| Listed {
            number: *number,
            name: slot.name.to_string(),
            span: slot.span(),
            rest: slot.name.is_rest(),
            bytes: slot.bytes(),
        };
        slots.iter().map(listed).collect()
    }

    /// The block of a volume that holds `from` or, in a hole, the first one after it: first offset and
    /// end. `None` when the volume cannot be read.
    pub(super) fn block_at(&self, number: u64, from: Offset) -> Option<(Offset, Offset)> {
        let block = self.volume(number).ok()?.ref_at(from)?;
        Some((block.first, block.end()))
    }

    /// Bytes of all volumes.
    pub(super) fn bytes(&self) -> u64 {
        self.slots.read().values().map(Slot::bytes).sum()
    }

    /// A volume and its span, opened if it is not.
    pub(super) fn volume(&self, number: u64) -> Result<Arc<Volume>, EngineError> {
        if let Some(open) = self.find_open(number)? {
            return Ok(open);
        }
        let _opening = self.opening.lock();
        if let Some(open) = self.find_open(number)? {
            return Ok(open);
        }
        let name = self.name(number)?;
        let evicted = self.evict(OPEN_MAX - 1);
        drop(evicted);
        match Volume::open(&self.dir, name) {
            Ok(volume) => self.keep_open(volume),
            Err(OpenError::Failed(e)) => Err(e),
            Err(OpenError::Damaged(why)) => {
                if let Some(slot) = self.slots.write().get_mut(&number) {
                    slot.damage = Some(why.clone());
                }
                Err(damaged(number, &why))
            }
        }
    }

    fn name(&self, number: u64) -> Result<VolumeName, EngineError> {
        let slots = self.slots.read();
        Ok(slots.get(&number).ok_or_else(|| gone(number))?.name)
    }

    fn find_open(&self, number: u64) -> Result<Option<Arc<Volume>>, EngineError> {
        let mut slots = self.slots.write();
        let slot = slots.get_mut(&number).ok_or_else(|| gone(number))?;
        if let Some(why) = &slot.damage {
            return Err(damaged(number, why));
        }
        slot.last_use = self.uses.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(slot.volume.clone())
    }

    fn keep_open(&self, volume: Volume) -> Result<Arc<Volume>, EngineError> {
        // its index file may have been damaged, and is rebuilt then
        let footer = volume.seal()?;
        let volume = Arc::new(volume);
        let number = volume.name.number;
        if let Some((first, end)) = self.span(number) {
            self.missing.lock().extend(missing(&volume, first, end));
        }
        let mut slots = self.slots.write();
        let slot = slots.get_mut(&number).ok_or_else(|| gone(number))?;
        if slot.sealed.is_none() {
            slot.sealed = Some(Sealed::of(&self.dir, volume.name, footer));
        }
        slot.volume = Some(volume.clone());
        Ok(volume)
    }

    /// Takes sealed volumes out of use until at most `keep` are open; to be dropped unlocked.
    fn evict(&self, keep: usize) -> Vec<Arc<Volume>> {
        let mut slots = self.slots.write();
        let mut idle: Vec<(u64, u64)> = slots
            .iter()
            .filter(|(_, s)| s.sealed.is_some() && s.volume.is_some())
            .map(|(number, s)| (s.last_use, *number))
            .collect();
        idle.sort_unstable();
        let too_many = idle.len().saturating_sub(keep);
        let evict = |(_, number): &(u64, u64)| slots.get_mut(number)?.volume.take();
        idle[..too_many].iter().filter_map(evict).collect()
    }

    /// Seals the volumes that are full; gives what is pending of the newest's index to its file.
    pub(super) fn seal_full(&self) -> Result<(), EngineError> {
        let open: Vec<(Arc<Volume>, bool)> = {
            let slots = self.slots.read();
            let unsealed = slots.values().filter(|s| s.sealed.is_none());
            unsealed
                .filter_map(|s| Some((s.volume.clone()?, s.full)))
                .collect()
        };
        for (volume, full) in open {
            if full {
                let footer = volume.seal()?;
                let sealed = Sealed::of(&self.dir, volume.name, footer);
                if let Some(slot) = self.slots.write().get_mut(&volume.name.number) {
                    slot.sealed = Some(sealed);
                    // nobody reads it: it gives its memory back when `volume` is dropped
                    slot.volume.take_if(|_| slot.last_use == 0);
                }
            } else {
                volume.write_index()?;
            }
        }
        drop(self.evict(OPEN_MAX));
        Ok(())
    }

    /// The index entries of a volume, without opening its database if its index file is sound.
    pub(super) fn entries(&self, number: u64) -> Result<Vec<IndexEntry>, EngineError> {
        let unsealed = {
            let slots = self.slots.read();
            let slot = slots.get(&number).ok_or_else(|| gone(number))?;
            slot.volume.clone().filter(|_| slot.sealed.is_none())
        };
        if let Some(volume) = unsealed
            && let Some(entries) = volume.entries()?
        {
            return Ok(entries);
        }
        if let Some(entries) = self.sealed_entries(number)? {
            return Ok(entries);
        }
        // damaged: an open one is closed, so that opening it rebuilds the file
        if let Some(slot) = self.slots.write().get_mut(&number) {
            slot.volume = None;
        }
        self.volume(number)?;
        let rebuilt = self.sealed_entries(number)?;
        rebuilt.ok_or_else(|| damaged(number, "its index cannot be rebuilt"))
    }

    fn sealed_entries(&self, number: u64) -> Result<Option<Vec<IndexEntry>>, EngineError> {
        let path = self.path(self.name(number)?);
        let mut entries = Vec::new();
        let mut push = |block, bytes: &[u8]| entries.push(index::entry(block, bytes));
        let found = index::read(&path, &mut push).map_err(failed(&path))?;
        Ok(found.footer.map(|_| entries))
    }

    /// Keeps a copy of a volume in which damage was found.
    pub(super) fn keep_copy(&self, number: u64) {
        let Ok(name) = self.name(number) else {
            return;
        };
        let (path, copy) = (self.path(name), damaged_dir(&self.dir));
        if path.is_dir() {
            files::keep_copy(&path, &copy.join(name.to_string()));
        }
    }

    /// Offsets newly found missing; answered once.
    pub(super) fn take_missing(&self) -> Vec<(Offset, Offset)> {
        std::mem::take(&mut *self.missing.lock())
    }

    /// First offset and end of a volume that nothing is appended to any more.
    pub(super) fn full_span(&self, number: u64) -> Option<(Offset, Offset)> {
        let slots = self.slots.read();
        slots.get(&number).filter(|s| s.full)?.span()
    }

    /// First offset and end of a volume with something in it.
    pub(super) fn span(&self, number: u64) -> Option<(Offset, Offset)> {
        self.slots.read().get(&number)?.span()
    }

    fn path(&self, name: VolumeName) -> PathBuf {
        self.dir.join(name.to_string())
    }

    /// Deletes a volume.
    pub(super) fn remove(&self, number: u64) -> Result<(), EngineError> {
        let _opening = self.opening.lock();
        let Some(slot) = self.slots.write().remove(&number) else {
            return Ok(());
        };
        let name = slot.name;
        let removed = remove_dir(&self.dir, name);
        if removed.is_err() && self.path(name).is_dir() {
            // to be tried again
            self.slots.write().insert(number, slot);
        }
        removed
    }

    /// The names of the neighbours with numbers `first` to `last`, and the span of all of them, if
    /// nothing is appended to them any more.
    pub(super) fn neighbours(&self, first: u64, last: u64) -> Option<Neighbours> {
        let slots = self.slots.read();
        let (first, last) = (slots.get(&first)?, slots.get(&last)?);
        let between = slots.range(first.name.number..=last.name.number);
        let is_sealed = between.clone().all(|(_, slot)| slot.sealed.is_some());
        is_sealed.then_some(Neighbours {
            first: first.name,
            last: last.name,
            span: (first.span()?.0, last.span()?.1),
        })
    }

    /// Counts the rewritings so far.
    pub(super) fn rewrites(&self) -> u64 {
        self.rewrites.load(Ordering::SeqCst)
    }

    /// Puts a volume that has just got its name in the place of those that it stands for, and
    /// deletes them.
    pub(super) fn replace(&self, by: VolumeName, footer: Footer) -> Result<(), EngineError> {
        let _opening = self.opening.lock();
        let slot = Slot::sealed(by, Sealed::of(&self.dir, by, footer));
        let replaced = {
            let mut slots = self.slots.write();
            let replaced: Vec<VolumeName> = slots.values().map(|slot| slot.name).collect();
            let replaced: Vec<VolumeName> =
                replaced.into_iter().filter(|n| by.replaces(*n)).collect();
            for name in &replaced {
                slots.remove(&name.number);
            }
            slots.insert(by.number, slot);
            // before anybody can miss what is not there any more
            self.rewrites.fetch_add(1, Ordering::SeqCst);
            replaced
        };
        replaced
            .into_iter()
            .try_for_each(|name| remove_dir(&self.dir, name))
    }
}

impl Slot {
    fn open(volume: Arc<Volume>) -> Self {
        Self {
            name: volume.name,
            sealed: None,
            full: false,
            volume: Some(volume),
            last_use: 0,
            damage: None,
        }
    }

    fn sealed(name: VolumeName, sealed: Sealed) -> Self {
        Self {
            name,
            sealed: Some(sealed),
            full: true,
            volume: None,
            last_use: 0,
            damage: None,
        }
    }

    fn span(&self) -> Option<(Offset, Offset)> {
        match (&self.sealed, &self.volume) {
            (Some(sealed), _) => Some((sealed.first, sealed.end)),
            (None, Some(volume)) => volume.span(),
            (None, None) => None,
        }
    }

    fn bytes(&self) -> u64 {
        match (&self.sealed, &self.volume) {
            (Some(sealed), _) => sealed.bytes,
            (None, Some(volume)) => volume.db_bytes(),
            (None, None) => 0,
        }
    }
}

impl Sealed {
    fn of(dir: &Path, name: VolumeName, footer: Footer) -> Self {
        let path = dir.join(name.to_string());
        let size = |name: &str| fs::metadata(path.join(name)).map_or(0, |m| m.len());
        Self {
            first: footer.first,
            end: footer.end,
            bytes: size("db") + size(index::FILE),
        }
    }
}

/// Stretches between `first` and `end` in which a volume holds nothing.
fn missing(volume: &Volume, first: Offset, end: Offset) -> Vec<(Offset, Offset)> {
    let mut held = Stretches::default();
    held.add(1, first);
    for (first, end) in volume.stretches() {
        held.add(first, end);
    }
    held.add(end, Offset::MAX);
    held.holes()
}

/// Makes a new volume and opens it.
pub(super) fn make_volume(dir: &Path, name: VolumeName) -> Result<Volume, EngineError> {
    Volume::create(dir, name)?;
    Volume::open(dir, name).map_err(|e| e.into_engine(&dir.join(name.to_string())))
}

fn gone(number: u64) -> EngineError {
    EngineError::Failed(format!("there is no volume {number}"))
}

fn damaged(number: u64, why: &str) -> EngineError {
    EngineError::Damaged(format!("volume {number}: {why}"))
}

/// Deletes a volume's directory for good.
fn remove_dir(dir: &Path, name: VolumeName) -> Result<(), EngineError> {
    let path = dir.join(name.to_string());
    let renamed = dir.join(format!("removing-{name}"));
    files::remove_dir(&path, &renamed).map_err(failed(&path))
}
