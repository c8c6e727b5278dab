//! A backup of a log in use: consistent, incremental, independent of how sled keeps its files.
//!
//! The order is what makes it consistent (`docs/decisions/0030-backup.md`):
//!
//! 1. No volume is removed from now on, and what was removed or lost so far is noted.
//! 2. The state store is copied as of one commit. Cursors are then behind the log that follows, which
//!    costs repeated deliveries; cursors ahead of their log would be reported as a loss.
//! 3. The key runs are opened: they cover keys up to below the height that follows.
//! 4. The height is read. From now on only the volumes below it are held, each until it is copied.
//! 5. Blocks are read through the volumes, so every checksum is compared on the way, and written into
//!    files of the backup. What an earlier backup has of a volume is not copied again.
//! 6. Files are copied, and the manifest replaces the one before.

mod manifest;
mod pace;
mod part;
mod restore;
mod target;
mod verify;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use self::restore::{RestoreCall, restore};
pub use self::verify::verify;

use self::manifest::{Copied, Manifest, Part, Stored, VolumeEntry};
use self::pace::Pace;
use self::part::PartWriter;
use self::target::{Target, failed};
use super::recovery::gap;
use super::shared::Shared;
use super::spans::Stretches;
use super::{chain, format};
use crate::engine::backup::{BackupCall, BackupError, BackupReport, Stage};
use crate::engine::{Block, EngineError, Gap};
use crate::ids::Offset;

/// Bytes of blocks that are read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// A volume in more parts than this is copied anew: many backups of a slow log made them.
const PARTS_MAX: usize = 32;
/// How often the list of files is read until two lists are the same.
const LISTS_MAX: usize = 20;
/// What the log's own files are called before they are complete.
const UNFINISHED: &str = "unfinished";

/// Takes a backup and, if that was asked for, reads it back.
pub(super) fn take(shared: &Shared, call: &BackupCall<'_>) -> Result<BackupReport, BackupError> {
    let mut report = write(shared, call)?;
    if call.verify {
        report.verified = Some(verify(call.dir, call.watch)?);
    }
    Ok(report)
}

fn write(shared: &Shared, call: &BackupCall<'_>) -> Result<BackupReport, BackupError> {
    let log_dir = &shared.settings.path;
    let mut target = Target::open(call.dir, shared.opened.log, log_dir, call.keep_free)?;
    call.watch.begun();
    let hold = Hold::all(shared);
    let (removed, gaps) = {
        let spans = shared.spans.lock();
        (spans.removed().all().to_vec(), spans.gaps().to_vec())
    };
    call.watch.went(Stage::State, 0, 0);
    let state = copy_state(shared, &mut target, call)?;
    let files = open_files(&shared.files).map_err(failed(&shared.files))?;
    let next = shared.next();
    let listed = shared.chain.listed();
    hold.only(listed.iter().map(|volume| volume.number));
    let mut copy = Copy {
        shared,
        call,
        hold: &hold,
        pace: Pace::new(next),
        next,
        blocks: 0,
        lost: Vec::new(),
        done: 0,
        total: 0,
        target,
    };
    let volumes = copy.volumes(&listed)?;
    let mut copied = copy.files("files", files)?;
    copied.extend(copy.attempts()?);
    let Copy {
        target,
        lost,
        blocks,
        ..
    } = copy;
    let manifest = Manifest {
        log_format: format::VERSION,
        log: shared.opened.log,
        number: target.number,
        creel: env!("CARGO_PKG_VERSION").to_owned(),
        at: call.at,
        next,
        ceiling: shared.ceiling(),
        removed,
        gaps,
        volumes,
        state: vec![state],
        files: copied,
    };
    let manifest = accounted(manifest, &lost);
    let (files_written, bytes_written) = target.written();
    let files_removed = target.complete(&manifest)?;
    Ok(BackupReport {
        log: manifest.log,
        number: manifest.number,
        at: manifest.at,
        first: manifest.first(),
        next,
        volumes: manifest.volumes.len() as u64,
        files: manifest.stored().count() as u64,
        bytes: manifest.stored().map(|stored| stored.bytes).sum(),
        files_written,
        bytes_written,
        blocks_written: blocks,
        files_removed,
        lost: known_lost(&manifest.gaps),
        verified: None,
    })
}

fn known_lost(gaps: &[Gap]) -> Vec<Gap> {
    gaps.iter().filter(|gap| gap.known_lost).copied().collect()
}

/// Records what could not be read, and whatever else is in no volume, as lost: that is what
/// opening the log would find.
fn accounted(mut manifest: Manifest, lost: &[(Offset, Offset)]) -> Manifest {
    let mut held = Stretches::default();
    for part in manifest.volumes.iter().flat_map(|v| &v.parts) {
        held.add(part.first, part.end);
    }
    for &(first, end) in lost {
        manifest.gaps.push(gap(first, end, true));
    }
    for (first, end) in manifest.unaccounted(&held) {
        tracing::error!(first, end, "in no volume of the backup");
        manifest.gaps.push(gap(first, end, true));
    }
    manifest.gaps.sort_unstable_by_key(|gap| gap.first);
    manifest.gaps.dedup();
    manifest
}

/// Holds volumes; when it is dropped they are let go.
struct Hold<'a>(&'a Shared);

impl<'a> Hold<'a> {
    fn all(shared: &'a Shared) -> Self {
        shared.pins.lock().hold_all();
        Self(shared)
    }

    fn only(&self, numbers: impl Iterator<Item = u64>) {
        let mut pins = self.0.pins.lock();
        let released = pins.hold_only(numbers);
        self.remove(&released);
    }

    fn release(&self, number: u64) {
        let mut pins = self.0.pins.lock();
        let released = pins.release(number);
        self.remove(&released);
    }

    fn remove(&self, numbers: &[u64]) {
        for &number in numbers {
            match self.0.chain.remove(number) {
                Ok(()) => tracing::info!(volume = number, "removed now that the backup has it"),
                // the next opening finishes it off
                Err(error) => tracing::error!(volume = number, %error, "cannot be removed"),
            }
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut pins = self.0.pins.lock();
        let released = pins.release_all();
        self.remove(&released);
    }
}

fn copy_state(
    shared: &Shared,
    target: &mut Target,
    call: &BackupCall<'_>,
) -> Result<Stored, BackupError> {
    let mut part = target.state()?;
    shared.state.snapshot(&mut |batch| {
        if call.watch.is_cancelled() {
            return Err(BackupError::Cancelled);
        }
        part.write_batch(batch).map_err(target.failed())?;
        call.watch.went(Stage::State, part.bytes(), 0);
        Ok(())
    })?;
    target.finish(part)
}

/// The log's own files, open: names in `dir`, and what they hold even when they are removed. They are
/// written once, under another name until they are complete; between two lists that are the same
/// none was put in the place of others.
fn open_files(dir: &Path) -> io::Result<Vec<(String, File)>> {
    let mut before: Option<Vec<String>> = None;
    for _ in 0..LISTS_MAX {
        let mut open = Vec::new();
        for name in list_files(dir, "")? {
            match File::open(dir.join(&name)) {
                Ok(file) => open.push((name, file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        let names = open.iter().map(|(name, _)| name.clone()).collect();
        if before.as_ref() == Some(&names) && list_files(dir, "")? == names {
            return Ok(open);
        }
        before = Some(names);
    }
    Err(io::Error::other(
        "files come and go too quickly to be copied",
    ))
}

fn list_files(dir: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            names.extend(list_files(&path, &format!("{name}/"))?);
        } else if path.extension().is_none_or(|e| e != UNFINISHED) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What is being copied, and how it goes.
struct Copy<'a> {
    shared: &'a Shared,
    call: &'a BackupCall<'a>,
    hold: &'a Hold<'a>,
    pace: Pace,
    /// Nothing at or above this is part of it.
    next: Offset,
    blocks: u64,
    /// What could not be read: first and end.
    lost: Vec<(Offset, Offset)>,
    done: u64,
    total: u64,
    target: Target,
}

/// What an earlier backup has of a volume, and how much it is about to get.
struct Todo {
    entry: VolumeEntry,
    number: u64,
    end: Offset,
    bytes: u64,
}

impl Todo {
    fn is_done(&self) -> bool {
        self.entry.end >= self.end
    }
}

impl Copy<'_> {
    fn volumes(&mut self, listed: &[chain::Listed]) -> Result<Vec<VolumeEntry>, BackupError> {
        let todo: Vec<Todo> = listed.iter().filter_map(|v| self.todo(v)).collect();
        self.total = todo.iter().map(|todo| todo.bytes).sum();
        let mut entries = Vec::with_capacity(todo.len());
        for todo in todo {
            let number = todo.number;
            entries.push(if todo.is_done() {
                todo.entry
            } else {
                self.volume(todo)?
            });
            self.hold.release(number);
        }
        Ok(entries)
    }

    /// What there is to do for a volume; `None` when nothing of it is part of the backup.
    fn todo(&self, listed: &chain::Listed) -> Option<Todo> {
        let (first, end) = listed.span?;
        let end = end.min(self.next);
        if first >= end {
            return None;
        }
        let before = self.target.before.iter().flat_map(|m| &m.volumes);
        // a name is never given twice; one that begins elsewhere is another volume all the same
        let known = before
            .clone()
            .find(|entry| entry.name == listed.name && entry.first == first)
            .filter(|entry| entry.end >= end || entry.parts.len() < PARTS_MAX);
        let entry = known.cloned().unwrap_or_else(|| VolumeEntry {
            name: listed.name.clone(),
            first,
            end: first,
            rest: listed.rest,
            parts: Vec::new(),
        });
        let share = |bytes: u64, part: u64, of: u64| {
            (u128::from(bytes) * u128::from(part) / u128::from(of.max(1))) as u64
        };
        let left = end.saturating_sub(entry.end);
        Some(Todo {
            bytes: share(listed.bytes, left, end - first),
            number: listed.number,
            end,
            entry,
        })
    }

    /// Copies what is new in a volume.
    fn volume(&mut self, todo: Todo) -> Result<VolumeEntry, BackupError> {
        let mut entry = todo.entry;
        let begun = (entry.end, self.done);
        let mut part = self.target.blocks(&format!("volume-{}", entry.name))?;
        let (mut from, mut blocks, mut first) = (entry.end, 0, None);
        while from < todo.end {
            if self.call.watch.is_cancelled() {
                return Err(BackupError::Cancelled);
            }
            self.target.check_room()?;
            let (found, end) = self.read(todo.number, from, todo.end)?;
            for block in &found {
                part.write_block(block).map_err(self.target.failed())?;
                first.get_or_insert(block.first);
                blocks += 1;
            }
            from = end;
            let share = (from - begun.0) as f64 / (todo.end - begun.0) as f64;
            self.done = begun.1 + (todo.bytes as f64 * share) as u64;
            self.call.watch.went(Stage::Volumes, self.done, self.total);
            self.pace.rest(self.shared.next());
        }
        self.blocks += blocks;
        let stored = self.target.finish(part)?;
        if let Some(first) = first {
            entry.parts.push(Part {
                stored,
                blocks,
                first,
                end: todo.end,
            });
        }
        entry.end = todo.end;
        Ok(entry)
    }

    /// Blocks of a volume from `from` on, and where the next ones begin. What is damaged is passed
    /// over and noted.
    fn read(
        &mut self,
        number: u64,
        from: Offset,
        end: Offset,
    ) -> Result<(Vec<Block>, Offset), BackupError> {
        let mut found = Vec::new();
        let read = self
            .shared
            .read_volume(number, from, CHUNK_BYTES, &mut found);
        self.shared.note_missing();
        found.retain(|block| block.end() <= end);
        match read {
            Ok(_) => {
                let next = found.last().map_or(end, Block::end);
                Ok((found, next))
            }
            Err(EngineError::Damaged(_)) if !found.is_empty() => {
                let next = found.last().map_or(end, Block::end);
                Ok((found, next))
            }
            Err(EngineError::Damaged(why)) => {
                let damaged = self.shared.chain.block_at(number, from);
                let (first, damaged_end) = damaged.unwrap_or((from, end));
                tracing::error!(why, first, end = damaged_end, "not in the backup");
                self.lost.push((first, damaged_end));
                Ok((found, damaged_end))
            }
            Err(e) => Err(BackupError::Failed(e.to_string())),
        }
    }

    fn attempts(&mut self) -> Result<Vec<Copied>, BackupError> {
        let dir = self.shared.settings.path.join("attempts");
        // what they hold beyond their frames at this moment may be half a frame; reading ends there
        let open = open_files(&dir).map_err(failed(&dir))?;
        self.files("attempts", open)
    }

    fn files(&mut self, dir: &str, open: Vec<(String, File)>) -> Result<Vec<Copied>, BackupError> {
        let mut copied = Vec::with_capacity(open.len());
        self.done = 0;
        self.total = open.iter().map(|(_, file)| length(file)).sum();
        for (name, file) in open {
            let path = format!("{dir}/{name}");
            let bytes = file.metadata().map_err(failed(Path::new(&path)))?.len();
            let before = self.target.before.iter().flat_map(|m| &m.files);
            // names are never given twice, and files are written once or only appended to
            let known = before
                .clone()
                .find(|known| known.path == path && known.stored.bytes == bytes);
            copied.push(match known {
                Some(known) => known.clone(),
                None => Copied {
                    stored: self.file(&path, file, bytes)?,
                    path,
                },
            });
            self.done += bytes;
        }
        Ok(copied)
    }

    /// Copies the first `bytes` of a file.
    fn file(&mut self, path: &str, file: File, bytes: u64) -> Result<Stored, BackupError> {
        let mut part = self.target.copy(path)?;
        let mut from = file.take(bytes);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            if self.call.watch.is_cancelled() {
                return Err(BackupError::Cancelled);
            }
            let count = from.read(&mut chunk).map_err(failed(Path::new(path)))?;
            if count == 0 {
                break;
            }
            self.target.check_room()?;
            self.copy_chunk(&mut part, &chunk[..count])?;
        }
        self.target.finish(part)
    }

    fn copy_chunk(&mut self, part: &mut PartWriter, chunk: &[u8]) -> Result<(), BackupError> {
        part.write(chunk).map_err(self.target.failed())?;
        let done = self.done + part.bytes();
        self.call.watch.went(Stage::Files, done, self.total);
        self.pace.rest(self.shared.next());
        Ok(())
    }
}

fn length(file: &File) -> u64 {
    file.metadata().map_or(0, |facts| facts.len())
}

/// Whether `path` can be in the log's directory as one of its files: what a manifest names is not
/// believed blindly.
fn is_plain(path: &str) -> bool {
    let path = PathBuf::from(path);
    let mut parts = path.components();
    matches!(parts.next(), Some(std::path::Component::Normal(dir)) if dir == "files" || dir == "attempts")
        && parts.all(|part| matches!(part, std::path::Component::Normal(_)))
}
