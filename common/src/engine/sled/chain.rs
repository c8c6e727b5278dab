//! The chain of volumes: which there are, which are open, which has to be sealed.
//!
//! Only the newest volume and a few that are being read are open: each open database costs a thread
//! and about 10 MB.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::database::{OpenError, SEGMENT_BYTES};
use super::files::{self, failed};
use super::index::{self, Footer};
use super::name::VolumeName;
use super::spans::{Spans, Stretches};
use super::volume::{self, Volume, damaged_dir};
use crate::engine::{EngineError, IndexEntry, VolumeInfo};
use crate::ids::Offset;

/// A sealed database may grow by so much when it is closed, or was when a crash came before.
const GROWS_BY: u64 = 2 * SEGMENT_BYTES as u64;
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

/// What opening the chain found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) chain: Chain,
    /// The volume to append to.
    pub(super) current: Arc<Volume>,
    /// The next one, if it was made ahead.
    pub(super) prepared: Option<Arc<Volume>>,
    /// Offsets that the volumes hold.
    pub(super) held: Stretches,
    /// Offsets that they should hold but that cannot be read: first and end.
    pub(super) unreadable: Vec<(Offset, Offset)>,
    /// Indexes of blocks that are gone.
    pub(super) gone: Vec<IndexEntry>,
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
    pub(super) fn open(dir: &Path, spans: &Spans) -> Result<Recovered, EngineError> {
        files::make_dir(dir).map_err(failed(dir))?;
        let mut opening = Opening::default();
        for name in tidy(dir).map_err(failed(dir))? {
            opening.highest = opening.highest.max(name.last);
            opening.take(dir, name, spans)?;
        }
        opening.highest = opening.highest.max(highest_set_aside(dir));
        opening.finish(dir)
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
        let slot = self.slots.write().remove(&number);
        match slot.map(|slot| slot.name) {
            Some(name) => remove_dir(&self.dir, name),
            None => Ok(()),
        }
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
        let chain = Chain {
            dir: dir.to_owned(),
            slots: RwLock::new(self.slots),
            opening: Mutex::new(()),
            uses: AtomicU64::new(0),
            highest: AtomicU64::new(self.highest),
            rewrites: AtomicU64::new(0),
            missing: Mutex::new(Vec::new()),
        };
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
