//! The log's files on disk: directories, locks, and small files replaced atomically.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::engine::EngineError;

/// `failed(path)` as an error mapper: names the file in the message.
pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    move |e| EngineError::Failed(format!("{}: {e}", path.display()))
}

/// As [`failed`], for trouble with the directory as it is given.
pub(super) fn unusable(path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    move |e| EngineError::Unusable(format!("cannot use {}: {e}", path.display()))
}

/// Makes a directory, and those above it, for this user only. Fine if it is there.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Takes everybody else's rights to a directory away, as far as this user may.
pub(super) fn keep_private(dir: &Path) {
    if let Err(error) = fs::set_permissions(dir, fs::Permissions::from_mode(0o700)) {
        tracing::warn!(directory = %dir.display(), %error, "cannot keep it private");
    }
}

/// Makes names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Options for a file of ours that only this user may read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Restricts an existing file to this user.
pub(super) fn restrict(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

/// Replaces a small file: afterwards, and after a power cut, it holds the old bytes or the new.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = private()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Removes a directory for good: first renamed, so that a crash never leaves a part of it under
/// its old name.
pub(super) fn remove_dir(path: &Path, renamed: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::rename(path, renamed)?;
    sync_dir(parent)?;
    fs::remove_dir_all(renamed)?;
    sync_dir(parent)
}

/// Copies a directory and what is in it, synced.
pub(super) fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    make_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    sync_dir(to)
}

/// Bytes of the files below a directory; what cannot be read counts nothing.
pub(super) fn dir_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => dir_bytes(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}

/// A copy takes at most this part of the free space.
const COPY_OF_FREE: u64 = 2;

/// Keeps a copy of a damaged file or directory for people, unless there is one or it would fill the
/// disk. That none could be kept is said, and stops nothing.
pub(super) fn keep_copy(of: &Path, copy: &Path) {
    if copy.exists() {
        return;
    }
    match free_bytes(copy).and_then(|free| try_copy(of, copy, free)) {
        Ok(true) => {
            tracing::warn!(of = %of.display(), copy = %copy.display(), "a copy is kept, as it was found");
        }
        Ok(false) => tracing::error!(
            of = %of.display(),
            "no copy is kept: it would take more than half of the free space"
        ),
        Err(error) => {
            tracing::error!(of = %of.display(), %error, "no copy could be kept");
            // a part of one would only be taken for it; that it cannot go either has been said
            let _ = fs::remove_dir_all(copy.with_extension("part"));
        }
    }
}

/// Free space where a copy would be.
fn free_bytes(copy: &Path) -> io::Result<u64> {
    let parent = copy.parent().unwrap_or(Path::new("."));
    make_dir(parent)?;
    let disk = rustix::fs::statvfs(parent)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whether there was room.
fn try_copy(of: &Path, copy: &Path, free: u64) -> io::Result<bool> {
    let parent = copy.parent().unwrap_or(Path::new("."));
    if disk_bytes(of)? > free / COPY_OF_FREE {
        return Ok(false);
    }
    let part = copy.with_extension("part");
    if part.is_dir() {
        fs::remove_dir_all(&part)?;
    }
    if of.is_dir() {
        copy_dir(of, &part)?;
    } else {
        fs::copy(of, &part)?;
        File::open(&part)?.sync_all()?;
    }
    fs::rename(&part, copy)?;
    sync_dir(parent)?;
    Ok(true)
}

/// Bytes that a file, or all files in a directory, take on disk.
fn disk_bytes(path: &Path) -> io::Result<u64> {
    let facts = fs::metadata(path)?;
    if !facts.is_dir() {
        return Ok(facts.len());
    }
    fs::read_dir(path)?
        .map(|entry| disk_bytes(&entry?.path()))
        .sum()
}

/// Holds a file's lock; given back when dropped, and by the kernel when the process ends.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Takes the lock at once or says who cannot have it.
    pub(super) fn take(dir: &Path) -> Result<Self, EngineError> {
        let path = dir.join("lock");
        let file = private()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(unusable(&path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(EngineError::Locked(dir.display().to_string()))
            }
            Err(e) => Err(unusable(&path)(e.into())),
        }
    }
}

/// Appends a number.
pub(super) fn put_u32(to: &mut Vec<u8>, value: u32) {
    to.extend_from_slice(&value.to_le_bytes());
}

/// Appends a number.
pub(super) fn put_u64(to: &mut Vec<u8>, value: u64) {
    to.extend_from_slice(&value.to_le_bytes());
}

/// Reads numbers and slices off a byte string; `None` when it is too short.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        Some(self.bytes(1)?[0])
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_kept_unless_it_would_take_more_than_half_of_the_free_space() {
        let dir = tempfile::tempdir().unwrap();
        let (of, copy) = (dir.path().join("of"), dir.path().join("copy"));
        make_dir(&of.join("inner")).unwrap();
        fs::write(of.join("inner/file"), [7; 1000]).unwrap();
        assert!(!try_copy(&of, &copy, 1999).unwrap());
        assert!(!copy.exists());
        assert!(try_copy(&of, &copy, 2000).unwrap());
        assert_eq!(fs::read(copy.join("inner/file")).unwrap(), [7; 1000]);
        // the first one stays: what was found later may have been mended
        fs::write(of.join("inner/file"), [8; 10]).unwrap();
        keep_copy(&of, &copy);
        assert_eq!(fs::read(copy.join("inner/file")).unwrap(), [7; 1000]);
    }
}
