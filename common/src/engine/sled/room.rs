//! Room on the disk: what an opening needs, and the ballast, a file that is there to be given away.
//!
//! sled opens nothing on a disk that is full, and what would make room again (settling, so that
//! volumes may go) needs an open log. So some room is taken while there is plenty. An opening that
//! finds too little gives it away; an operator may delete it at any time. It comes back when there is
//! plenty of room again. Nothing is ever read from it, so it is not synced: what a power cut makes of
//! it is made again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::FallocateFlags;

use super::files::{self, failed};
use crate::engine::EngineError;

/// The ballast's file.
const FILE: &str = "ballast";
/// While it is being made.
const NEW: &str = "ballast.new";
/// Room that an opening has to find. Measured: a new log takes 4 MiB, one that was killed under load
/// 0.2 to 2 MiB. The rest is for what follows: a commit of deliveries may take 8 MiB.
pub(super) const OPENING_BYTES: u64 = 16 << 20;
/// Written at once where a file system cannot allocate.
const CHUNK_BYTES: usize = 1 << 20;

/// The file system that something is on.
#[derive(Debug, Clone, Copy)]
pub struct Disk {
    /// Bytes free for this user.
    pub free: u64,
    /// Bytes that it has.
    pub all: u64,
}

impl Disk {
    /// The one that `path`, or what there is above it, is on; `None` if it does not say.
    pub fn of(path: &Path) -> Option<Self> {
        let there = path.ancestors().find(|path| path.exists())?;
        let disk = rustix::fs::statvfs(there).ok()?;
        Some(Self {
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
            all: disk.f_blocks.saturating_mul(disk.f_frsize),
        })
    }
}

fn free_bytes(dir: &Path) -> Option<u64> {
    Disk::of(dir).map(|disk| disk.free)
}

/// Makes sure that the log in `dir` can be opened, at the price of its ballast if it takes that.
///
/// # Errors
/// [`EngineError::NoRoom`] says how many bytes are missing and what may be deleted. The ballast is
/// kept when it would not have been enough.
pub(super) fn require(dir: &Path) -> Result<(), EngineError> {
    let Some(free) = free_bytes(dir).filter(|free| *free < OPENING_BYTES) else {
        return Ok(());
    };
    let path = dir.join(FILE);
    let ballast = fs::metadata(&path).map_or(0, |found| found.len());
    if free.saturating_add(ballast) < OPENING_BYTES {
        return Err(EngineError::NoRoom(no_room(dir, free, ballast)));
    }
    tracing::warn!(
        free,
        needed = OPENING_BYTES,
        ballast,
        "the disk is full: the ballast is given away, so that the log can be opened"
    );
    fs::remove_file(&path).map_err(failed(&path))
}

fn no_room(dir: &Path, free: u64, ballast: u64) -> String {
    let losses = [
        ("damaged", "copies of what was damaged, for people"),
        ("attempts", "what destinations answered"),
    ];
    let mut text = format!(
        "the disk is full: {free} bytes are free and opening needs {OPENING_BYTES}; free {} bytes on it",
        OPENING_BYTES - free - ballast
    );
    for (name, holds) in losses {
        let path = dir.join(name);
        let bytes = files::dir_bytes(&path);
        if bytes > 0 {
            text.push_str(&format!(
                ", or delete {} ({bytes} bytes: {holds})",
                path.display()
            ));
        }
    }
    text
}

/// A file that takes room.
#[derive(Debug)]
pub(super) struct Ballast {
    dir: PathBuf,
    bytes: u64,
    above_bytes: u64,
    /// Bytes it takes just now.
    held: AtomicU64,
    /// It could not be made: that is said once.
    given_up: AtomicBool,
}

impl Ballast {
    /// A ballast of `bytes` in `dir`, made while at least `above_bytes` are free besides it. 0: none.
    pub(super) fn open(dir: &Path, bytes: u64, above_bytes: u64) -> Self {
        let ballast = Self {
            dir: dir.to_owned(),
            bytes,
            above_bytes,
            held: AtomicU64::new(0),
            given_up: AtomicBool::new(false),
        };
        ballast.keep();
        ballast
    }

    /// Bytes it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Makes it if it is not there and there is plenty of room; removes one that is not wanted.
    pub(super) fn keep(&self) {
        let path = self.dir.join(FILE);
        let found = fs::metadata(&path).map_or(0, |m| m.len());
        self.held.store(found, Ordering::Relaxed);
        if found == self.bytes || self.given_up.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.replace(&path, found) {
            self.given_up.store(true, Ordering::Relaxed);
            let _ = fs::remove_file(self.dir.join(NEW));
            tracing::warn!(file = %path.display(), %error, "the ballast cannot be made; going on without");
        }
    }

    /// Gives it away when the disk has hardly any room left; whether there was any to give.
    pub(super) fn give_away(&self) -> bool {
        let path = self.dir.join(FILE);
        let is_full = free_bytes(&self.dir).is_some_and(|free| free < OPENING_BYTES);
        if !is_full || fs::remove_file(&path).is_err() {
            return false;
        }
        let ballast = self.held.swap(0, Ordering::Relaxed);
        // some file systems give room back only then; what cannot be synced is no worse than before
        let _ = files::sync_dir(&self.dir);
        tracing::warn!(
            ballast,
            "the disk is full: the ballast is given away, so that volumes can go"
        );
        true
    }

    fn replace(&self, path: &Path, found: u64) -> io::Result<()> {
        if found > 0 {
            fs::remove_file(path)?;
            self.held.store(0, Ordering::Relaxed);
        }
        let plenty = self.above_bytes.saturating_add(self.bytes);
        if self.bytes == 0 || free_bytes(&self.dir).is_none_or(|free| free < plenty) {
            return Ok(());
        }
        let new = self.dir.join(NEW);
        let mut file = files::private()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&new)?;
        fill(&mut file, self.bytes)?;
        fs::rename(&new, path)?;
        self.held.store(self.bytes, Ordering::Relaxed);
        tracing::debug!(bytes = self.bytes, "ballast made");
        Ok(())
    }
}

/// Has the file system give `bytes` to an empty file.
fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::fallocate(&*file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => write_noise(file, bytes),
        allocated => Ok(allocated?),
    }
}

/// Writes what no file system makes smaller.
fn write_noise(file: &mut File, bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut noise: u64 = 0x9e37_79b9_7f4a_7c15;
    while left > 0 {
        for word in chunk.chunks_exact_mut(8) {
            // xorshift64
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            word.copy_from_slice(&noise.to_le_bytes());
        }
        let part = left.min(CHUNK_BYTES as u64);
        file.write_all(&chunk[..part as usize])?;
        left -= part;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_ballast_is_really_allocated_and_of_the_size_that_is_set() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for bytes in [3 << 20, 1 << 20] {
            let ballast = Ballast::open(dir.path(), bytes, 0);
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.len(), ballast.bytes()), (bytes, bytes));
            assert!(found.blocks() * 512 >= bytes, "{} blocks", found.blocks());
        }
        assert_eq!(Ballast::open(dir.path(), 0, 0).bytes(), 0);
        assert!(!path.exists(), "0 switches it off");
    }

    #[test]
    fn a_ballast_that_is_gone_comes_back_only_when_there_is_plenty_of_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let ballast = Ballast::open(dir.path(), 1 << 20, 0);
        fs::remove_file(&path).unwrap();
        ballast.keep();
        assert!(path.exists());
        let never = Ballast::open(dir.path(), 1 << 20, u64::MAX);
        assert_eq!(never.bytes(), 1 << 20, "what is there is kept");
        fs::remove_file(&path).unwrap();
        never.keep();
        assert_eq!((path.exists(), never.bytes()), (false, 0));
    }

    #[test]
    fn it_is_given_away_only_on_a_full_disk() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::open(dir.path(), 1 << 20, 0);
        assert!(!ballast.give_away());
        assert_eq!(ballast.bytes(), 1 << 20);
    }

    #[test]
    fn where_nothing_can_be_allocated_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let bytes = CHUNK_BYTES as u64 + 12_345;
        write_noise(&mut File::create(&path).unwrap(), bytes).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!(found.len(), bytes);
        assert!(found.blocks() * 512 >= bytes);
    }

    #[test]
    fn what_is_missing_and_what_may_go_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("damaged")).unwrap();
        fs::write(dir.path().join("damaged").join("db"), vec![0; 123]).unwrap();
        let text = no_room(dir.path(), OPENING_BYTES - 5096, 1000);
        assert!(text.contains("free 4096 bytes on it"), "{text}");
        assert!(text.contains("damaged (123 bytes"), "{text}");
        assert!(
            !text.contains("attempts"),
            "what is not there is not named: {text}"
        );
    }
}
