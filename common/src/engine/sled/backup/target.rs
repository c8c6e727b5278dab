//! Where a backup goes: a directory of its own.
//!
//! ```text
//! DIR/creel.backup  what this is: format, and which log's backups
//!     lock          held by whoever works on it
//!     manifest      what belongs to the newest complete backup
//!     parts/        its files; none is ever written twice
//! ```
//!
//! A backup writes new files beside those of the one before and then replaces the manifest: until
//! then the one before counts, afterwards this one. What no manifest names is left over from a backup
//! that was interrupted, or is of one that has been replaced; it is removed.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::files::{self, Lock};
use super::manifest::{Manifest, Stored, VERSION};
use super::part::PartWriter;
use crate::engine::EngineError;
use crate::engine::backup::BackupError;
use crate::ids::LogId;

const IDENTITY: &str = "creel.backup";
const PARTS: &str = "parts";

/// A disk's or the directory's error, with the file.
pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |e| BackupError::Failed(format!("{}: {e}", path.display()))
}

/// Trouble with the directory as it was given.
fn unusable(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |e| BackupError::Unfit(format!("cannot use {}: {e}", path.display()))
}

/// A directory that was opened for a backup; locked until it is dropped.
#[derive(Debug)]
pub(super) struct Target {
    dir: PathBuf,
    parts: PathBuf,
    /// The newest complete backup.
    pub(super) before: Option<Manifest>,
    /// The number of the backup that is being written.
    pub(super) number: u64,
    written: u64,
    bytes_written: u64,
    room: Room,
    _lock: Lock,
}

/// What has to stay free, when the backup is on the log's own disk.
#[derive(Debug, Clone, Copy)]
struct Room {
    keep_free: u64,
}

impl Target {
    /// Takes a directory for backups of `log`, whose directory is `log_dir`.
    pub(super) fn open(
        dir: &Path,
        log: LogId,
        log_dir: &Path,
        keep_free: u64,
    ) -> Result<Self, BackupError> {
        fit(dir, log_dir)?;
        let is_new = is_empty(dir)?;
        if !is_new {
            refuse_other(dir, log)?;
        }
        files::make_dir(dir).map_err(unusable(dir))?;
        let lock = lock(dir)?;
        files::keep_private(dir);
        if is_new {
            let text = format!("creel backup\nversion: {VERSION}\nlog: {log}\n");
            let path = dir.join(IDENTITY);
            files::replace(&path, text.as_bytes()).map_err(failed(&path))?;
        }
        let parts = dir.join(PARTS);
        files::make_dir(&parts).map_err(failed(&parts))?;
        sync_name(dir)?;
        let before = Manifest::read(dir)?;
        let mut target = Self {
            number: before.as_ref().map_or(0, |m| m.number) + 1,
            dir: dir.to_owned(),
            parts,
            before,
            written: 0,
            bytes_written: 0,
            room: Room { keep_free: 0 },
            _lock: lock,
        };
        if device(dir)? == device(log_dir)? {
            target.room.keep_free = keep_free;
        }
        if let Some(before) = target.before.clone() {
            target.remove_unnamed(&before)?;
        } else {
            target.remove_all()?;
        }
        Ok(target)
    }

    fn name(&self, what: &str) -> String {
        let what = what.replace('/', "-");
        format!("{:06}-{what}", self.number)
    }

    /// A new file of blocks.
    pub(super) fn blocks(&self, what: &str) -> Result<PartWriter, BackupError> {
        self.begin(PartWriter::for_blocks(&self.parts, self.name(what)))
    }

    /// A new file for the state store.
    pub(super) fn state(&self) -> Result<PartWriter, BackupError> {
        self.begin(PartWriter::for_state(&self.parts, self.name("state")))
    }

    /// A new file that is a copy of one.
    pub(super) fn copy(&self, what: &str) -> Result<PartWriter, BackupError> {
        self.begin(PartWriter::create(&self.parts, self.name(what)))
    }

    fn begin(&self, part: io::Result<PartWriter>) -> Result<PartWriter, BackupError> {
        self.check_room()?;
        part.map_err(failed(&self.parts))
    }

    /// A failure of a file in it.
    pub(super) fn failed(&self) -> impl FnOnce(io::Error) -> BackupError {
        failed(&self.parts)
    }

    /// Counts a file that was finished.
    pub(super) fn finish(&mut self, part: PartWriter) -> Result<Stored, BackupError> {
        let stored = part.finish().map_err(self.failed())?;
        self.written += 1;
        self.bytes_written += stored.bytes;
        Ok(stored)
    }

    /// Files and bytes written so far.
    pub(super) fn written(&self) -> (u64, u64) {
        (self.written, self.bytes_written)
    }

    /// Refuses to go on where the log would be left without room.
    pub(super) fn check_room(&self) -> Result<(), BackupError> {
        if self.room.keep_free == 0 {
            return Ok(());
        }
        let disk = rustix::fs::statvfs(&self.dir).map_err(|e| failed(&self.dir)(e.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.room.keep_free {
            return Err(BackupError::Failed(format!(
                "{} is on the log's own disk, of which only {free} bytes are free; the log needs \
                 {}: back up to another disk",
                self.dir.display(),
                self.room.keep_free
            )));
        }
        Ok(())
    }

    /// Makes `manifest` the one that counts and removes what it does not name; answers how many
    /// files that were.
    pub(super) fn complete(&self, manifest: &Manifest) -> Result<u64, BackupError> {
        files::sync_dir(&self.parts).map_err(failed(&self.parts))?;
        manifest.write(&self.dir).map_err(failed(&self.dir))?;
        self.remove_unnamed(manifest)
    }

    fn remove_unnamed(&self, manifest: &Manifest) -> Result<u64, BackupError> {
        let named: HashSet<&str> = manifest.stored().map(|s| s.file.as_str()).collect();
        self.remove(|name| !named.contains(name))
    }

    fn remove_all(&self) -> Result<u64, BackupError> {
        self.remove(|_| true)
    }

    fn remove(&self, doomed: impl Fn(&str) -> bool) -> Result<u64, BackupError> {
        let mut removed = 0;
        let entries = fs::read_dir(&self.parts).map_err(failed(&self.parts))?;
        for entry in entries {
            let entry = entry.map_err(failed(&self.parts))?;
            if doomed(&entry.file_name().to_string_lossy()) {
                let path = entry.path();
                fs::remove_file(&path).map_err(failed(&path))?;
                removed += 1;
            }
        }
        files::sync_dir(&self.parts).map_err(failed(&self.parts))?;
        Ok(removed)
    }
}

/// A backup that is there, to be read.
#[derive(Debug)]
pub(super) struct Source {
    parts: PathBuf,
    pub(super) manifest: Manifest,
    _lock: Option<Lock>,
}

impl Source {
    /// Opens the newest complete backup in `dir`.
    pub(super) fn open(dir: &Path) -> Result<Self, BackupError> {
        let text = identity(dir)?;
        if text.is_none() {
            return Err(BackupError::Unfit(format!(
                "{} is no backup of creel's: it has no {IDENTITY}",
                dir.display()
            )));
        }
        // a disk that cannot be written to is as good for reading
        let lock = match lock(dir) {
            Ok(lock) => Some(lock),
            Err(BackupError::Busy(dir)) => return Err(BackupError::Busy(dir)),
            Err(_) => None,
        };
        let manifest = Manifest::read(dir)?.ok_or_else(|| {
            BackupError::Unfit(format!(
                "no backup in {} was ever complete: it has no manifest",
                dir.display()
            ))
        })?;
        if let Some(stored) = manifest.stored().find(|s| s.file.contains('/')) {
            return Err(BackupError::Damaged(format!(
                "the manifest names a file `{}`",
                stored.file.escape_debug()
            )));
        }
        Ok(Self {
            parts: dir.join(PARTS),
            manifest,
            _lock: lock,
        })
    }

    pub(super) fn path(&self, stored: &Stored) -> PathBuf {
        self.parts.join(&stored.file)
    }
}

fn lock(dir: &Path) -> Result<Lock, BackupError> {
    Lock::take(dir).map_err(|e| match e {
        EngineError::Locked(dir) => BackupError::Busy(dir),
        other => BackupError::Unfit(other.to_string()),
    })
}

/// What the identity file says; `None` when there is none.
fn identity(dir: &Path) -> Result<Option<LogId>, BackupError> {
    let path = dir.join(IDENTITY);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(&path)(e)),
    };
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let version = field("version").unwrap_or("unknown");
    if !text.starts_with("creel backup\n") || version != VERSION.to_string() {
        return Err(BackupError::Unfit(format!(
            "{} is a backup of format {version}; this creel reads {VERSION}",
            dir.display()
        )));
    }
    let log = field("log").and_then(|log| log.parse().ok());
    log.map(Some)
        .ok_or_else(|| BackupError::Damaged(format!("{}: names no log", path.display())))
}

/// Refuses a directory that cannot be one for backups, wherever it is.
fn fit(dir: &Path, log_dir: &Path) -> Result<(), BackupError> {
    let unfit = |what: &str| Err(BackupError::Unfit(format!("{} {what}", dir.display())));
    if !dir.is_absolute() {
        return unfit("is not an absolute path");
    }
    if dir.exists() && !dir.is_dir() {
        return unfit("is no directory");
    }
    let there = dir.ancestors().find(|above| above.exists());
    let there = there.unwrap_or(Path::new("/"));
    let real = there.canonicalize().map_err(failed(there))?;
    let log_dir = log_dir.canonicalize().map_err(failed(log_dir))?;
    if real.starts_with(&log_dir) {
        return unfit("is inside the log's own directory; a backup belongs on another disk");
    }
    Ok(())
}

fn is_empty(dir: &Path) -> Result<bool, BackupError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.all(|entry| {
            // what an interrupted first backup leaves, and what a file system has of its own
            entry.is_ok_and(|e| {
                let name = e.file_name();
                name == "lock" || name == "creel.new" || name == "lost+found"
            })
        })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(unusable(dir)(e)),
    }
}

fn refuse_other(dir: &Path, log: LogId) -> Result<(), BackupError> {
    match identity(dir)? {
        Some(other) if other == log => Ok(()),
        Some(other) => Err(BackupError::Unfit(format!(
            "{} holds backups of log {other}; this log is {log}: give another directory",
            dir.display()
        ))),
        None => Err(BackupError::Unfit(format!(
            "{} holds other files and no backup; give an empty directory, or a new one",
            dir.display()
        ))),
    }
}

fn device(path: &Path) -> Result<u64, BackupError> {
    Ok(fs::metadata(path).map_err(failed(path))?.dev())
}

/// Makes the directory's own name durable.
fn sync_name(dir: &Path) -> Result<(), BackupError> {
    let dir = dir.canonicalize().map_err(failed(dir))?;
    let parent = dir.parent().unwrap_or(Path::new("/"));
    files::sync_dir(parent).map_err(failed(parent))
}
