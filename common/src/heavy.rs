//! Work on a large body, done beside the other tasks of its thread.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Bodies from this size on count as large: hashing 256 KiB takes about as long as a sync.
const HEAVY_BYTES: usize = 256 << 10;

/// Whether a body of this size is a large one.
pub fn is_heavy(bytes: usize) -> bool {
    bytes >= HEAVY_BYTES
}

/// Does work that takes time by the size of a body; hashing 25 MiB takes tens of milliseconds, in which the
/// other tasks of an async thread move on elsewhere.
pub fn heavy<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let can_move =
        || Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread);
    if is_heavy(bytes) && can_move() {
        return tokio::task::block_in_place(work);
    }
    work()
}
