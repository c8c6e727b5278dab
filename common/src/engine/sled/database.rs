//! One sled database, made, opened and looked after so that a power cut cannot make it unopenable.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::files::{self, failed};
use crate::engine::EngineError;

/// Segment size of every database. A leaf of 20 of the largest values fits into a quarter of it;
/// larger leaves would become files that sled never syncs.
pub(super) const SEGMENT_BYTES: usize = 2 << 20;
/// Largest value put into a volume, with its header. Up to 17 of them are written together; 28 KiB
/// would be safe and a little faster, but a volume in use holds 256 leaves in memory.
pub(super) const VALUE_BYTES_MAX: usize = 20 * 1024;
/// sled writes and syncs in the background this often. Without it `flush()` can sleep for ever
/// after an error.
const FLUSH_EVERY_MS: u64 = 500;
/// How long to wait for the threads of a database just closed to let go of its file.
const LET_GO: Duration = Duration::from_secs(5);

/// Why a database did not open.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The disk, or something that may be different the next time.
    Failed(EngineError),
    /// The files are not what sled wrote.
    Damaged(String),
}

impl From<EngineError> for OpenError {
    fn from(error: EngineError) -> Self {
        Self::Failed(error)
    }
}

impl OpenError {
    /// As an engine's error; damage names the database.
    pub(super) fn into_engine(self, path: &Path) -> EngineError {
        match self {
            Self::Failed(e) => e,
            Self::Damaged(why) => EngineError::Damaged(format!("{}: {why}", path.display())),
        }
    }
}

/// Makes an empty, closed database at `path`, all of it synced. `trees` are made in it.
/// It is made under the name `making` and renamed, so that `path` is never half made.
pub(super) fn create(path: &Path, making: &Path, trees: &[&str]) -> Result<(), EngineError> {
    if making.exists() {
        fs::remove_dir_all(making).map_err(failed(making))?;
    }
    files::make_dir(making).map_err(failed(making))?;
    let db = open_untidied(making, 1 << 20).map_err(|e| e.into_engine(making))?;
    for tree in trees {
        db.open_tree(tree).map_err(|e| sled_failed(making, &e))?;
    }
    db.flush().map_err(|e| sled_failed(making, &e))?;
    drop(db);
    finish(making)?;
    fs::rename(making, path)
        .and_then(|()| files::sync_dir(path.parent().unwrap_or(Path::new("."))))
        .map_err(failed(path))
}

/// Syncs all of a database that was just closed, but for its own name.
pub(super) fn finish(path: &Path) -> Result<(), EngineError> {
    wait_until_free(&path.join("db"))
        .and_then(|()| File::open(path.join("db"))?.sync_all())
        .and_then(|()| tidy_after(path))
        .map_err(failed(path))
}

/// Opens the database at `path`, with what sled 0.34 needs done before and after.
pub(super) fn open(path: &Path, cache_bytes: u64) -> Result<sled::Db, OpenError> {
    let db = open_untidied(path, cache_bytes)?;
    tidy_after(path).map_err(failed(path))?;
    Ok(db)
}

fn open_untidied(path: &Path, cache_bytes: u64) -> Result<sled::Db, OpenError> {
    tidy_before(path)?;
    wait_until_free(&path.join("db")).map_err(failed(path))?;
    // sled panics where it cannot start a thread; that must not pass for damage
    let thread = std::thread::Builder::new()
        .spawn(|| ())
        .map_err(failed(path))?;
    let _ = thread.join();
    let config = sled::Config::new()
        .path(path)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(cache_bytes)
        .flush_every_ms(Some(FLUSH_EVERY_MS));
    let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
    match opened {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(sled::Error::Io(e))) if !is_damage(&e) => Err(failed(path)(e).into()),
        Ok(Err(e)) => Err(OpenError::Damaged(e.to_string())),
        Err(panic) => Err(OpenError::Damaged(panic_text(&*panic))),
    }
}

/// Opens a database that may be damaged: before a second attempt a copy is kept at `copy`.
pub(super) fn open_or_mend(
    path: &Path,
    copy: &Path,
    cache_bytes: u64,
) -> Result<sled::Db, OpenError> {
    match open(path, cache_bytes) {
        Err(OpenError::Damaged(why)) => {
            tracing::error!(database = %path.display(), why, "damaged; trying again");
            files::keep_copy(path, copy);
            // sled can rebuild what its snapshot says from its log
            remove_snapshots(path).map_err(failed(path))?;
            open(path, cache_bytes)
        }
        opened => opened,
    }
}

/// Files shorter or other than what sled wrote; anything else may be different the next time.
fn is_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
    )
}

/// An error of sled's in a database that was open: final.
pub(super) fn sled_failed(path: &Path, error: &sled::Error) -> EngineError {
    EngineError::Failed(format!("{}: {error}", path.display()))
}

/// What a caught panic said.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("sled panicked: {}", text.unwrap_or("without a word"))
}

/// A killed opening leaves `snap.*.generating`, which sled refuses for ever; a `conf` cut short by
/// a power cut makes it refuse as well. sled never syncs `conf`, so it is written here.
fn tidy_before(path: &Path) -> Result<(), EngineError> {
    let blobs = path.join("blobs");
    files::make_dir(&blobs).map_err(failed(&blobs))?;
    remove_files(path, |name| {
        name.starts_with("snap.") && name.ends_with(".generating")
    })
    .map_err(failed(path))?;
    mend_conf(path)
}

fn mend_conf(path: &Path) -> Result<(), EngineError> {
    let conf = path.join("conf");
    let wanted = conf_bytes(SEGMENT_BYTES);
    match fs::read(&conf) {
        Ok(found) if found == wanted => return Ok(()),
        Ok(found) if is_sound(&found) => {
            let (body, _) = found.split_at(found.len() - 4);
            return Err(EngineError::Format {
                path: conf.display().to_string(),
                found: String::from_utf8_lossy(body).replace('\n', ", "),
                expected: format!("segment_size: {SEGMENT_BYTES}, version: 0.34"),
            });
        }
        Ok(found) if found.is_empty() => {}
        Ok(_) => {
            let aside = path.join("conf.damaged");
            fs::rename(&conf, aside).map_err(failed(&conf))?;
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(&conf)(e)),
    }
    files::replace(&conf, &wanted).map_err(failed(&conf))
}

/// What sled 0.34 writes into `conf`.
fn conf_bytes(segment_bytes: usize) -> Vec<u8> {
    let text = format!("segment_size: {segment_bytes}\nuse_compression: false\nversion: 0.34\n");
    let mut bytes = text.into_bytes();
    let crc = crc32fast::hash(&bytes);
    files::put_u32(&mut bytes, crc);
    bytes
}

fn is_sound(conf: &[u8]) -> bool {
    let Some(at) = conf.len().checked_sub(4).filter(|at| *at > 0) else {
        return false;
    };
    let (body, crc) = conf.split_at(at);
    crc32fast::hash(body).to_le_bytes() == crc
}

/// Makes durable what sled leaves unsynced after an opening: `conf`, a new snapshot, `blobs`, names.
fn tidy_after(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type()?.is_file() {
            files::restrict(&entry.path())?;
        }
        if name == "conf" || name == "blobs" || name.starts_with("snap.") {
            File::open(entry.path())?.sync_all()?;
        }
    }
    files::sync_dir(path)?;
    files::sync_dir(path.parent().unwrap_or(Path::new(".")))
}

fn remove_snapshots(path: &Path) -> io::Result<()> {
    remove_files(path, |name| name.starts_with("snap."))
}

fn remove_files(dir: &Path, doomed: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if doomed(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// sled locks its file without waiting, and its threads may hold a closed database a moment longer.
fn wait_until_free(db: &Path) -> io::Result<()> {
    let file = match File::options().read(true).write(true).open(db) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let begun = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(flock(&file, FlockOperation::Unlock)?),
            Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < LET_GO => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_conf_is_what_sled_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let config = sled::Config::new().path(&path).segment_size(SEGMENT_BYTES);
        drop(config.open().unwrap());
        let written = fs::read(path.join("conf")).unwrap();
        assert_eq!(written, conf_bytes(SEGMENT_BYTES));
    }

    fn made(dir: &Path) -> std::path::PathBuf {
        let path = dir.join("db");
        create(&path, &dir.join("making"), &["t"]).unwrap();
        let db = open(&path, 1 << 20).unwrap();
        db.insert(b"k", b"v").unwrap();
        db.flush().unwrap();
        path
    }

    #[test]
    fn leftovers_that_sled_refuses_are_mended() {
        let dir = tempfile::tempdir().unwrap();
        let path = made(dir.path());
        for conf in [&b""[..], b"seg", &[0; 60]] {
            wait_until_free(&path.join("db")).unwrap();
            fs::write(path.join("conf"), conf).unwrap();
            fs::write(path.join("snap.0000000000000001.generating"), b"x").unwrap();
            let db = open(&path, 1 << 20).unwrap();
            assert_eq!(db.get(b"k").unwrap().unwrap(), b"v");
        }
        assert_eq!(fs::read(path.join("conf.damaged")).unwrap(), [0; 60]);
    }

    #[test]
    fn another_segment_size_is_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let path = made(dir.path());
        let other = conf_bytes(1 << 19);
        fs::write(path.join("conf"), &other).unwrap();
        let refused = open(&path, 1 << 20);
        let is_format = matches!(refused, Err(OpenError::Failed(EngineError::Format { .. })));
        assert!(is_format, "{refused:?}");
        assert_eq!(fs::read(path.join("conf")).unwrap(), other);
    }
}
