//! Makes a log of a backup: a new one, with a name of its own.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::format::{self, Format};
use super::super::name::VolumeName;
use super::super::offsets::{Marks, OffsetsFile, RESERVED};
use super::super::recovery::{gap, make_durable, sync_parent};
use super::super::spans::Spans;
use super::super::state::State;
use super::super::volume::Volume;
use super::super::{chain, database, files};
use super::manifest::{Copied, Manifest, VolumeEntry};
use super::target::{Source, failed};
use super::verify::Reading;
use super::{is_plain, known_lost};
use crate::engine::backup::{BackupError, Damage, RestoreReport, Stage, Watch};
use crate::engine::{Block, EngineError, Gap};
use crate::ids::{LogId, Offset};
use crate::time::Timestamp;

/// Blocks are synced this often.
const FLUSH_BYTES: usize = 16 << 20;
/// Offsets passed over at least, whatever the clock says: what the log that was backed up gave out
/// after the backup is not given out again.
const PASSED_OVER: u64 = 1_000_000_000;

/// What is to be restored, and where to.
#[derive(Clone, Copy)]
pub struct RestoreCall<'a> {
    /// The directory with the backup.
    pub backup: &'a Path,
    /// The new log's directory: new or empty.
    pub dir: &'a Path,
    /// Random bits for the new log's name.
    pub dice: u64,
    /// Now.
    pub now: Timestamp,
    /// Restore what can be read of a damaged backup; what cannot is recorded as lost.
    pub partial: bool,
    /// Is told how it goes.
    pub watch: &'a dyn Watch,
}

/// Makes a log of the newest complete backup in a directory, checking all of it on the way. The new
/// log has another id, and its first new offset is above all that the old one may have given out
/// since.
///
/// `creel.log` comes last: what an interrupted restore leaves is no log, and says so.
///
/// # Errors
/// [`BackupError::Unfit`] has touched nothing. [`BackupError::Damaged`]: the backup does not read
/// back, and `partial` was not asked for; what was made of it is no log.
pub fn restore(call: &RestoreCall<'_>) -> Result<RestoreReport, BackupError> {
    let source = Source::open(call.backup)?;
    check_format(&source.manifest, call.backup)?;
    check_target(call)?;
    files::make_dir(call.dir).map_err(failed(call.dir))?;
    files::keep_private(call.dir);
    let marker = call.dir.join(format::RESTORING);
    files::replace(&marker, b"a restore that was interrupted: delete it all\n")
        .map_err(failed(&marker))?;
    make_durable(call.dir)?;
    call.watch.begun();
    let mut made = Restore {
        dir: call.dir,
        reading: Reading::new(&source, call.watch, Stage::Volumes),
        partial: call.partial,
    };
    made.volumes(&source.manifest.volumes)?;
    made.state(&source.manifest)?;
    for copied in &source.manifest.files {
        made.file(copied)?;
    }
    made.reading.account(&source.manifest);
    made.refuse_damage()?;
    let Restore { reading, .. } = made;
    let gaps = with_damage(&source.manifest, &reading.damage);
    let next = above(&source.manifest, call.now);
    let log = new_name(call.dice, source.manifest.log);
    begin(call.dir, &source.manifest, &gaps, next)?;
    fs::remove_file(&marker).map_err(failed(&marker))?;
    let format = Format {
        version: source.manifest.log_format,
        log,
        segment_bytes: database::SEGMENT_BYTES,
    };
    format.create(call.dir)?;
    sync_parent(call.dir)?;
    Ok(RestoreReport {
        dir: call.dir.to_owned(),
        from: source.manifest.log,
        log,
        at: source.manifest.at,
        first: source.manifest.first(),
        end: source.manifest.next,
        next,
        deliveries: reading.deliveries,
        volumes: source.manifest.volumes.len() as u64,
        bytes: reading.bytes,
        lost: known_lost(&gaps),
        damage: reading.damage,
    })
}

fn check_format(manifest: &Manifest, dir: &Path) -> Result<(), BackupError> {
    if (format::OLDEST_READ..=format::VERSION).contains(&manifest.log_format) {
        return Ok(());
    }
    Err(BackupError::Unfit(format!(
        "{} holds a log of format {}; this creel reads {} to {}",
        dir.display(),
        manifest.log_format,
        format::OLDEST_READ,
        format::VERSION
    )))
}

/// Refuses a directory with anything in it, and one inside the backup.
fn check_target(call: &RestoreCall<'_>) -> Result<(), BackupError> {
    let dir = call.dir;
    let unfit = |what: &str| Err(BackupError::Unfit(format!("{} {what}", dir.display())));
    if dir.exists() {
        let mut entries = fs::read_dir(dir).map_err(failed(dir))?;
        if !entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lost+found")) {
            return unfit("is not empty; a log is restored into an empty or a new directory");
        }
    }
    let there = dir.ancestors().find(|above| above.exists());
    let there = there.unwrap_or(Path::new("."));
    let backup = call.backup.canonicalize().map_err(failed(call.backup))?;
    let there = match there.as_os_str().is_empty() {
        true => Path::new("."),
        false => there,
    };
    if there
        .canonicalize()
        .map_err(failed(there))?
        .starts_with(&backup)
    {
        return unfit("is inside the backup");
    }
    Ok(())
}

/// A name that is not the old one's.
fn new_name(dice: u64, old: LogId) -> LogId {
    match LogId::from_bits(dice) {
        same if same == old => LogId::from_bits(!dice),
        other => other,
    }
}

/// An offset that the log that was backed up has not given out since: as if it had taken as many in a
/// second as are reserved at once, and more besides.
fn above(manifest: &Manifest, now: Timestamp) -> Offset {
    let seconds = now.since(manifest.at).as_secs();
    let since = seconds.saturating_mul(RESERVED);
    manifest
        .ceiling
        .max(manifest.next)
        .saturating_add(since)
        .saturating_add(PASSED_OVER)
}

/// The gaps that the new log has.
fn with_damage(manifest: &Manifest, damage: &[Damage]) -> Vec<Gap> {
    let mut gaps = manifest.gaps.clone();
    let offsets = damage.iter().filter_map(|damage| damage.offsets);
    gaps.extend(offsets.map(|(first, last)| gap(first, last + 1, true)));
    gaps.sort_unstable_by_key(|gap| gap.first);
    gaps
}

/// Writes what says which offsets are used.
fn begin(dir: &Path, manifest: &Manifest, gaps: &[Gap], next: Offset) -> Result<(), BackupError> {
    let mut spans = Spans::open(dir)?;
    for &(first, end) in &manifest.removed {
        spans.add_removed(first, end)?;
    }
    spans.add_gaps(gaps)?;
    let passed_over = gap(manifest.next, next, false);
    spans.add_gaps(&[passed_over])?;
    let marks = Marks {
        ceiling: next + RESERVED,
        high: next,
        clean: true,
    };
    Ok(OffsetsFile::create(dir, marks)?)
}

struct Restore<'a> {
    dir: &'a Path,
    reading: Reading<'a>,
    partial: bool,
}

impl Restore<'_> {
    fn refuse_damage(&self) -> Result<(), BackupError> {
        match self.reading.damage.first() {
            Some(damage) if !self.partial => {
                let offsets = damage.offsets.map_or(String::new(), |(first, last)| {
                    format!(", offsets {first} to {last}")
                });
                Err(BackupError::Damaged(format!(
                    "{}{offsets}: {}",
                    damage.file, damage.what
                )))
            }
            _ => Ok(()),
        }
    }

    /// Makes the volumes, numbered anew.
    fn volumes(&mut self, entries: &[VolumeEntry]) -> Result<(), BackupError> {
        let dir = self.dir.join("v");
        files::make_dir(&dir).map_err(failed(&dir))?;
        for (number, entry) in (1..).zip(entries.iter().filter(|e| !e.parts.is_empty())) {
            self.volume(&dir, number, entry)?;
            self.refuse_damage()?;
        }
        files::sync_dir(&dir).map_err(failed(&dir))
    }

    fn volume(&mut self, dir: &Path, number: u64, entry: &VolumeEntry) -> Result<(), BackupError> {
        let plain = VolumeName::new(number);
        let name = match entry.rest {
            true => VolumeName::rest(plain, plain),
            false => plain,
        };
        let mut volume = chain::make_volume(dir, name)?;
        let mut filling = Filling {
            volume: &volume,
            scratch: Vec::new(),
            unsynced: 0,
        };
        for part in &entry.parts {
            self.reading
                .blocks(part, &mut |block| Ok(filling.put(block)?))?;
        }
        volume.flush()?;
        if entry.rest {
            volume.set_rest(entry.first, entry.end)?;
        }
        volume.seal()?;
        Ok(())
    }

    fn state(&mut self, manifest: &Manifest) -> Result<(), BackupError> {
        let state = State::open(self.dir)?;
        for stored in &manifest.state {
            self.reading
                .state(stored, &mut |changes| Ok(state.load(changes)?))?;
        }
        state.flush()?;
        self.refuse_damage()
    }

    fn file(&mut self, copied: &Copied) -> Result<(), BackupError> {
        if !is_plain(&copied.path) {
            return Err(BackupError::Damaged(format!(
                "the manifest names a file `{}`",
                copied.path.escape_debug()
            )));
        }
        let path = self.dir.join(&copied.path);
        let parents = parents(self.dir, &path);
        let mut file = create(&path).map_err(failed(&path))?;
        self.reading.plain(&copied.stored, &mut |bytes| {
            file.write_all(bytes).map_err(failed(&path))
        })?;
        file.sync_all().map_err(failed(&path))?;
        for parent in parents {
            files::sync_dir(&parent).map_err(failed(&parent))?;
        }
        self.refuse_damage()
    }
}

/// The directories between a file and the log's.
fn parents(log: &Path, path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().skip(1);
    above
        .take_while(|above| above.starts_with(log))
        .map(Path::to_owned)
        .collect()
}

fn create(path: &Path) -> std::io::Result<File> {
    files::make_dir(path.parent().unwrap_or(Path::new(".")))?;
    files::private().write(true).create_new(true).open(path)
}

/// A volume being filled.
struct Filling<'a> {
    volume: &'a Volume,
    scratch: Vec<u8>,
    unsynced: usize,
}

impl Filling<'_> {
    fn put(&mut self, block: &Block) -> Result<(), EngineError> {
        let at = self.volume.insert(block, &mut self.scratch)?;
        self.unsynced += block.bytes.len();
        self.volume.publish(std::slice::from_ref(block), &[at]);
        if self.unsynced >= FLUSH_BYTES {
            self.volume.flush()?;
            self.volume.write_index()?;
            self.unsynced = 0;
        }
        Ok(())
    }
}
