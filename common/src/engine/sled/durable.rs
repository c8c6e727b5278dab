//! Makes sled's syncs real: the process's own `sync_file_range`, `fsync` and `fdatasync`.
//!
//! sled 0.34 ends `flush()` with `sync_file_range`, which flushes neither the drive's cache nor the
//! file's size, and its background thread only logs a failed sync. The linker binds sled's and the
//! standard library's calls to the symbols defined here. They pass everything through to the
//! kernel until a log directory is [armed](arm). From then on `sync_file_range` is an `fdatasync`,
//! and a failed sync of a file below an armed directory ends the process with [`DISK_FAILED`]: the
//! kernel reports a write-back error once, so the next sync would wrongly succeed. A failed sync
//! of any other file is the caller's to handle, as always.
//!
//! The only file of the project with `unsafe` in it.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;

use crate::engine::EngineError;

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "the sled engine needs 64-bit Linux: sled's syncs are only made real there, by this file"
);

/// Exit code of a process whose disk failed (EX_IOERR).
pub const DISK_FAILED: i32 = 74;

static ARMED: AtomicBool = AtomicBool::new(false);
static DIRECTORIES: RwLock<Vec<PathBuf>> = RwLock::new(Vec::new());
static RANGE_SYNCS: AtomicU64 = AtomicU64::new(0);
static FULL_SYNCS: AtomicU64 = AtomicU64::new(0);
static DATA_SYNCS: AtomicU64 = AtomicU64::new(0);

/// sled's sync of its log. Once armed, a real `fdatasync` of the whole file.
///
/// # Safety
/// As for the C library's function of this name: `fd` is any number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sync_file_range(
    fd: c_int,
    offset: i64,
    nbytes: i64,
    flags: c_uint,
) -> c_int {
    if !ARMED.load(Ordering::Acquire) {
        // SAFETY: the arguments are the caller's, unchanged; the kernel checks them.
        return unsafe {
            libc::syscall(libc::SYS_sync_file_range, fd, offset, nbytes, flags) as c_int
        };
    }
    hold_if_asked(fd);
    // an interrupted sync has not failed; sled would take EINTR for a failure
    loop {
        // SAFETY: fdatasync takes a number and touches no memory of ours.
        let answer = unsafe { libc::syscall(libc::SYS_fdatasync, fd) as c_int };
        if answer == 0 || errno() != libc::EINTR {
            return judged(fd, answer, &RANGE_SYNCS);
        }
    }
}

/// A full sync, whose failure is final for files of an armed directory.
///
/// # Safety
/// As for the C library's function of this name: `fd` is any number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: fsync takes a number and touches no memory of ours.
    let answer = unsafe { libc::syscall(libc::SYS_fsync, fd) as c_int };
    judged(fd, answer, &FULL_SYNCS)
}

/// A data sync, whose failure is final for files of an armed directory.
///
/// # Safety
/// As for the C library's function of this name: `fd` is any number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: fdatasync takes a number and touches no memory of ours.
    let answer = unsafe { libc::syscall(libc::SYS_fdatasync, fd) as c_int };
    judged(fd, answer, &DATA_SYNCS)
}

/// The file whose next syncs never return, and how many of them; for `pool.rs`.
static HELD_FILE: AtomicI32 = AtomicI32::new(-1);
static HELD_LEFT: AtomicUsize = AtomicUsize::new(0);

/// Lets the next `count` calls of sled's to sync `fd` never return. The file stays open for ever.
pub(super) fn hold_syncs(fd: c_int, count: usize) {
    HELD_LEFT.store(count, Ordering::Release);
    HELD_FILE.store(fd, Ordering::Release);
}

/// How many of the calls that are to be held have not come yet.
pub(super) fn syncs_to_hold() -> usize {
    HELD_LEFT.load(Ordering::Acquire)
}

fn hold_if_asked(fd: c_int) {
    if HELD_FILE.load(Ordering::Acquire) != fd {
        return;
    }
    let one_less = |left: usize| left.checked_sub(1);
    let held = HELD_LEFT.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
    while held.is_ok() {
        std::thread::park();
    }
}

/// Counts a sync that worked; ends the process for one that failed on a file of the log.
fn judged(fd: c_int, answer: c_int, counter: &AtomicU64) -> c_int {
    if answer == 0 {
        counter.fetch_add(1, Ordering::Relaxed);
        return 0;
    }
    let error = errno();
    // EBADF: no file was synced, so none failed; EINTR: the caller asks again
    if ARMED.load(Ordering::Acquire) && error != libc::EINTR && error != libc::EBADF {
        if let Some(path) = file_of_the_log(fd) {
            let error = std::io::Error::from_raw_os_error(error);
            end(&format!(
                "cannot sync {}: {error}; nothing more is acknowledged",
                path.display()
            ));
        }
        set_errno(error);
    }
    answer
}

/// The file behind `fd`, if it is below an armed directory, or if nobody can tell.
fn file_of_the_log(fd: c_int) -> Option<PathBuf> {
    let Ok(path) = std::fs::read_link(format!("/proc/self/fd/{fd}")) else {
        return Some(PathBuf::from(format!("file descriptor {fd}")));
    };
    let ours = DIRECTORIES.read().iter().any(|d| path.starts_with(d));
    ours.then_some(path)
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn set_errno(error: c_int) {
    // SAFETY: the C library's errno of this thread is always writable.
    unsafe { *libc::__errno_location() = error }
}

/// Prints `line` to stderr and ends the process at once with [`DISK_FAILED`], without running any
/// destructor: sled's would write, sync, and possibly hang.
pub fn end(line: &str) -> ! {
    let text = format!("creel: {line}\n");
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        // SAFETY: `rest` is alive, and its length is given.
        let written = unsafe { libc::write(2, rest.as_ptr().cast(), rest.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => rest = &rest[written..],
            _ => break,
        }
    }
    // SAFETY: ends the process; nothing follows.
    unsafe { libc::_exit(DISK_FAILED) }
}

/// Takes `dir` under guard: from now on a failed sync of a file below it ends the process.
///
/// # Errors
/// When the directory cannot be resolved.
pub fn arm(dir: &Path) -> std::io::Result<()> {
    let dir = dir.canonicalize()?;
    debug_assert!(dir.as_os_str().as_bytes().starts_with(b"/"));
    let mut directories = DIRECTORIES.write();
    if !directories.contains(&dir) {
        directories.push(dir);
    }
    ARMED.store(true, Ordering::Release);
    Ok(())
}

/// How many syncs have really happened in this process: those that sled asked for by
/// `sync_file_range`, and all together.
pub fn syncs() -> (u64, u64) {
    let range = RANGE_SYNCS.load(Ordering::Relaxed);
    let full = FULL_SYNCS.load(Ordering::Relaxed);
    (range, range + full + DATA_SYNCS.load(Ordering::Relaxed))
}

/// Proves, with a scratch database in `scratch` (made and removed), that sled's syncs and the
/// standard library's arrive here. Call it after [`arm`]. Done once per process.
///
/// # Errors
/// [`EngineError::NotDurable`] when they do not: this build cannot keep what it acknowledges.
/// [`EngineError::Failed`] when the disk failed meanwhile.
pub fn prove_linked(scratch: &Path) -> Result<(), EngineError> {
    static PROVEN: OnceLock<Result<(), Unproven>> = OnceLock::new();
    let prove = || observe_syncs(scratch).map_err(Unproven::from)?.verdict();
    match PROVEN.get_or_init(prove) {
        Ok(()) => Ok(()),
        Err(Unproven::NotLinked(why)) => Err(EngineError::NotDurable(why.clone())),
        Err(Unproven::DiskFailed(why)) => Err(EngineError::Failed(why.clone())),
    }
}

/// Why syncs could not be seen to be real.
#[derive(Debug)]
enum Unproven {
    NotLinked(String),
    DiskFailed(String),
}

impl From<Box<dyn std::error::Error>> for Unproven {
    fn from(error: Box<dyn std::error::Error>) -> Self {
        let why = format!("cannot prove real syncs: {error}");
        let of_sled = matches!(error.downcast_ref(), Some(sled::Error::Io(_)));
        match of_sled || error.is::<std::io::Error>() {
            true => Self::DiskFailed(why),
            false => Self::NotLinked(why),
        }
    }
}

/// By how much each counter moved.
struct Observed {
    range: u64,
    full: u64,
    data: u64,
}

impl Observed {
    fn verdict(&self) -> Result<(), Unproven> {
        for (name, moved) in [
            ("sync_file_range", self.range),
            ("fsync", self.full),
            ("fdatasync", self.data),
        ] {
            if moved == 0 {
                return Err(Unproven::NotLinked(format!(
                    "this build is not durable: {name} is not the one that creel defines \
                     (was sled built with io_uring, or creel linked in an unusual way?)"
                )));
            }
        }
        Ok(())
    }
}

fn observe_syncs(scratch: &Path) -> Result<Observed, Box<dyn std::error::Error>> {
    let counters = [&RANGE_SYNCS, &FULL_SYNCS, &DATA_SYNCS];
    let before = counters.map(|c| c.load(Ordering::Relaxed));
    if scratch.exists() {
        std::fs::remove_dir_all(scratch)?;
    }
    let db = sled::Config::new()
        .path(scratch)
        .cache_capacity(1 << 20)
        .flush_every_ms(None)
        .open()?;
    db.insert(b"proof", b"proof")?;
    db.flush()?;
    let range = RANGE_SYNCS.load(Ordering::Relaxed) - before[0];
    let file = File::open(scratch.join("db"))?;
    file.sync_all()?;
    file.sync_data()?;
    drop(db);
    std::fs::remove_dir_all(scratch)?;
    let moved = |i: usize| counters[i].load(Ordering::Relaxed) - before[i];
    Ok(Observed {
        range,
        full: moved(1),
        data: moved(2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::process::Command;

    /// Runs one ignored test of this binary in a process of its own.
    fn alone(test: &str, dir: &Path) -> std::process::Output {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", test])
            .env("CREEL_TEST_DIR", dir)
            .output()
            .unwrap()
    }

    fn given_dir() -> PathBuf {
        PathBuf::from(std::env::var_os("CREEL_TEST_DIR").unwrap())
    }

    #[test]
    fn sled_and_std_are_linked_to_our_syncs() {
        let dir = tempfile::tempdir().unwrap();
        arm(dir.path()).unwrap();
        let seen = observe_syncs(&dir.path().join("scratch")).unwrap();
        seen.verdict().unwrap();
        assert!(!dir.path().join("scratch").exists());
    }

    #[test]
    fn a_symbol_that_never_counts_is_refused() {
        for (range, full, data) in [(0, 1, 1), (1, 0, 1), (1, 1, 0)] {
            let refused = Observed { range, full, data }.verdict();
            let Err(Unproven::NotLinked(why)) = refused else {
                panic!("{refused:?}")
            };
            assert!(why.contains("not durable"));
        }
    }

    #[test]
    fn errors_elsewhere_are_the_callers_and_keep_their_errno() {
        let dir = tempfile::tempdir().unwrap();
        arm(dir.path()).unwrap();
        // a pipe cannot be synced: EINVAL
        let (reader, _writer) = std::io::pipe().unwrap();
        // SAFETY: plain calls with a number.
        let answer = unsafe { fsync(reader.as_raw_fd()) };
        assert_eq!((answer, errno()), (-1, libc::EINVAL));
        let answer = unsafe { sync_file_range(reader.as_raw_fd(), 0, 0, 0) };
        assert_eq!((answer, errno()), (-1, libc::EINVAL));
        let answer = unsafe { fdatasync(-1) };
        assert_eq!((answer, errno()), (-1, libc::EBADF));
    }

    #[test]
    fn a_failed_sync_of_a_file_of_the_log_ends_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let child = "engine::sled::durable::tests::child_syncs_what_cannot_be_synced";
        let output = alone(child, dir.path());
        assert_eq!(output.status.code(), Some(DISK_FAILED), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("creel: cannot sync /"), "{said}");
        assert!(
            !String::from_utf8(output.stdout)
                .unwrap()
                .contains("survived")
        );
    }

    #[test]
    #[ignore = "run by a_failed_sync_of_a_file_of_the_log_ends_the_process"]
    fn child_syncs_what_cannot_be_synced() {
        let dir = given_dir();
        let pipe = dir.join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        // a named pipe below the directory: a file of the log whose sync fails
        let file = File::options().read(true).write(true).open(&pipe).unwrap();
        let refused = file.sync_all().unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL), "not armed yet");
        arm(&dir).unwrap();
        let _ = file.sync_all();
        println!("survived");
    }
}
