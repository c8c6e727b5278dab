//! The one file that a process is writing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the name of a file ends while a process writes it.
pub(super) const CURRENT: &str = ".current.jsonl";

/// How it ends when it is done.
const DONE: &str = ".jsonl";

/// A file of whole, synced lines, locked while this is alive.
pub(super) struct Current {
    file: File,
    path: PathBuf,
    bytes: u64,
    begun: Duration,
}

impl Current {
    /// Makes the directory if need be and a new file in it; both survive a power cut.
    pub(super) fn begin(dir: &Path, name: &str, now: Duration) -> io::Result<Self> {
        make_dir(dir)?;
        let path = dir.join(format!("{name}{CURRENT}"));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        // another process that is just starting may have taken the empty file for a leftover
        if !lock(&file)? || !is_at(&file, &path)? {
            return Err(io::Error::other(
                "the new file was taken by another process",
            ));
        }
        sync_dir(dir)?;
        Ok(Self {
            file,
            path,
            bytes: 0,
            begun: now,
        })
    }

    /// Writes and syncs. After an error the file holds anything: [`Current::abandon`] it.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        self.bytes += lines.len() as u64;
        Ok(())
    }

    /// Bytes written and synced.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When it was begun.
    pub(super) fn begun(&self) -> Duration {
        self.begun
    }

    /// Whether somebody removed it.
    pub(super) fn is_gone(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// Gives it its last name. On an error it goes on as it was.
    pub(super) fn finish(self) -> Result<(), (Self, io::Error)> {
        finish(&self.path).map_err(|error| (self, error))
    }

    /// Cuts off what the last append may have left and closes the file. Where even that fails, the
    /// next start mends it.
    pub(super) fn abandon(self) {
        let cut = self
            .file
            .set_len(self.bytes)
            .and_then(|()| self.file.sync_data())
            .and_then(|()| match self.bytes {
                0 => fs::remove_file(&self.path),
                _ => finish(&self.path),
            });
        if let Err(error) = cut {
            tracing::warn!(path = %self.path.display(), %error, "a torn line is left until the next start");
        }
    }
}

/// Renames a file that is done. Never over another: names are unique.
pub(super) fn finish(current: &Path) -> io::Result<()> {
    fs::rename(current, done_path(current))?;
    match current.parent() {
        Some(dir) => sync_dir(dir),
        None => Ok(()),
    }
}

/// The name a current file gets when it is done.
pub(super) fn done_path(current: &Path) -> PathBuf {
    let name = current.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(CURRENT).unwrap_or(&name);
    current.with_file_name(format!("{stem}{DONE}"))
}

/// Takes the file's lock; false when another process has it.
pub(super) fn lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Whether this very file is the one at `path`.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (open, named) = (file.metadata()?, fs::metadata(path)?);
    Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    // every directory that may be new is made durable through the one above it
    for above in dir.ancestors().skip(1).filter(|above| above.is_dir()) {
        sync_dir(above)?;
        if above.parent().is_none() || above.as_os_str().is_empty() {
            break;
        }
    }
    Ok(())
}
