//! sled's pool of threads, made smaller.
//!
//! sled 0.34 hands every write of its log to a pool that keeps at least seven threads, and wakes all
//! seven for each of them (threadpool.rs:83): measured, 14 futex calls and seven changes of thread
//! for each commit, an eighth of what a receiver on two cores can do. There is no setting. So five
//! threads are given something to do that never ends: to sync a scratch file, whose sync
//! `durable.rs` holds. A held thread is inside one system call of sled's and has no lock of it.
//!
//! Two threads are left, which is what is written at once: the log and the state store. sled starts
//! more by itself when more than seven writes wait.

use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Once;

use super::durable;

/// Threads that sled starts and never ends (threadpool.rs:26).
const STARTED: usize = 7;
/// Threads that go on working.
const KEPT: usize = 2;
/// A segment of the scratch database: as small as it can be, so that a few inserts end one, and
/// each that ends is written by a thread of the pool.
const SEGMENT_BYTES: usize = 4096;
/// Size of a value: several fit into a segment, so that none becomes a file of its own.
const VALUE_BYTES: usize = 600;
/// Far more inserts than it takes.
const INSERTS_MAX: usize = 10_000;

/// Holds threads with a scratch database in `scratch`, made and removed. Done once per process; that
/// it fails is no error, only slower.
pub(super) fn make_small(scratch: &Path) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let held = hold(scratch);
        let removed = std::fs::remove_dir_all(scratch).map_err(sled::Error::from);
        if let Err(error) = held.and(removed) {
            tracing::debug!(%error, "sled's pool stays as it is");
        }
    });
}

fn hold(scratch: &Path) -> sled::Result<()> {
    let db = sled::Config::new()
        .path(scratch)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(None)
        .open()?;
    // dropping it would wait for what is held
    let db = std::mem::ManuallyDrop::new(db);
    let Some(fd) = open_as(&scratch.join("db"))? else {
        return Ok(());
    };
    durable::hold_syncs(fd, STARTED - KEPT);
    for turn in 0..INSERTS_MAX {
        if durable::syncs_to_hold() == 0 {
            break;
        }
        // sled writes nothing for a value that is there already
        let value = turn.to_le_bytes().repeat(VALUE_BYTES / size_of::<usize>());
        db.insert(b"held", value)?;
        std::thread::yield_now();
    }
    Ok(())
}

/// The number under which this process has a file open.
fn open_as(path: &Path) -> std::io::Result<Option<RawFd>> {
    let path = path.canonicalize()?;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        if std::fs::read_link(entry.path()).is_ok_and(|target| target == path) {
            return Ok(entry.file_name().to_str().and_then(|n| n.parse().ok()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_held_and_the_others_still_write() {
        let dir = tempfile::tempdir().unwrap();
        durable::arm(dir.path()).unwrap();
        let scratch = dir.path().join("scratch");
        make_small(&scratch);
        assert!(!scratch.exists());
        assert_eq!(durable::syncs_to_hold(), 0);
        let dbs: Vec<sled::Db> = (0..20)
            .map(|i| sled::open(dir.path().join(i.to_string())).unwrap())
            .collect();
        // more at once than threads are left, and more than one segment
        std::thread::scope(|s| {
            for db in &dbs {
                s.spawn(move || {
                    for i in 0..40u64 {
                        db.insert(i.to_be_bytes(), &[7; 5000][..]).unwrap();
                        db.flush().unwrap();
                    }
                });
            }
        });
    }
}
