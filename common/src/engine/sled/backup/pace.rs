//! How fast a backup goes: as fast as it can while nothing comes in, else so that it rests longer than
//! it works.
//!
//! What it does on the disk and the processor takes longer when these are busy, and then it rests
//! longer: so the share that it takes of them stays the same.

use std::time::{Duration, Instant};

use crate::ids::Offset;

/// It rests this many times as long as it worked.
const REST: u32 = 9;
/// No rest is longer, so that a slow target does not make it stand still.
const REST_MAX: Duration = Duration::from_secs(2);

/// The pace of one backup.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    next: Offset,
}

impl Pace {
    /// Begins to work; `next` is the log's next offset.
    pub(super) fn new(next: Offset) -> Self {
        Self {
            began: Instant::now(),
            next,
        }
    }

    /// Ends a piece of work and rests if deliveries came in since the one before.
    pub(super) fn rest(&mut self, next: Offset) {
        if next != self.next {
            std::thread::sleep((self.began.elapsed() * REST).min(REST_MAX));
        }
        *self = Self::new(next);
    }
}
