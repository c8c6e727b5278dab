//! A clock that stands still until a test moves it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::{Clock, Timestamp};

/// Both clocks, moved by hand.
#[derive(Debug)]
pub struct ManualClock {
    wall_ms: AtomicU64,
    mono_ms: AtomicU64,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self {
            wall_ms: AtomicU64::new(1_700_000_000_000),
            mono_ms: AtomicU64::new(1_000_000),
        }
    }
}

impl ManualClock {
    /// Time passes, on both clocks.
    pub fn advance(&self, by: Duration) {
        self.jump(by);
        self.mono_ms.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Somebody sets the wall clock.
    pub fn set_wall(&self, to: Timestamp) {
        self.wall_ms.store(to.millis(), Ordering::SeqCst);
    }

    /// Somebody sets the wall clock forward.
    pub fn jump(&self, by: Duration) {
        self.wall_ms.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Somebody sets the wall clock back.
    pub fn jump_back(&self, by: Duration) {
        self.wall_ms.fetch_sub(millis(by), Ordering::SeqCst);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        Timestamp(self.wall_ms.load(Ordering::SeqCst))
    }

    fn mono(&self) -> Duration {
        Duration::from_millis(self.mono_ms.load(Ordering::SeqCst))
    }
}
