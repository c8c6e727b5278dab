//! Whether the log takes deliveries: space and stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::engine::Engine;
use crate::log::AppendError;

/// Free space is looked at again after this many bytes at most, besides every second.
const LOOK_AGAIN_BYTES: u64 = 32 << 20;
/// And after this part of the reserve, so that a small one is not passed unseen.
const LOOK_AGAIN_OF_RESERVE: u64 = 32;

/// Settled history gives way before intake has to stop: below the reserve and this part of it again.
const EASE_OF_RESERVE: u64 = 2;

/// Closed while free space is below the reserve, and for good once the log has stopped.
pub struct Gate {
    engine: Arc<dyn Engine>,
    reserve_bytes: u64,
    full: RwLock<Option<String>>,
    stopped: AtomicBool,
    since_look: AtomicU64,
    /// How many bytes are missing until history need not give way.
    short: AtomicU64,
}

impl Gate {
    /// A gate that keeps `reserve_bytes` of the engine's disk free.
    pub fn new(engine: Arc<dyn Engine>, reserve_bytes: u64) -> Self {
        let gate = Self {
            engine,
            reserve_bytes,
            full: RwLock::new(None),
            stopped: AtomicBool::new(false),
            since_look: AtomicU64::new(0),
            short: AtomicU64::new(0),
        };
        gate.look();
        gate
    }

    /// Why nothing is taken, if so.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn pass(&self) -> Result<(), AppendError> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(AppendError::Stopped);
        }
        match &*self.full.read() {
            Some(why) => Err(AppendError::Full(why.clone())),
            None => Ok(()),
        }
    }

    /// How many bytes settled history has to give back, so that intake does not have to stop.
    pub fn short_bytes(&self) -> u64 {
        self.short.load(Ordering::Acquire)
    }

    /// Nothing is taken any more.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Bytes were written.
    pub fn wrote(&self, bytes: usize) {
        let since = self.since_look.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if since > LOOK_AGAIN_BYTES.min(self.reserve_bytes / LOOK_AGAIN_OF_RESERVE) {
            self.look();
        }
    }

    /// Looks at the free space. Back above the reserve the gate opens by itself.
    pub fn look(&self) {
        self.since_look.store(0, Ordering::Relaxed);
        let Some(space) = self.engine.space() else {
            return;
        };
        let wanted = self
            .reserve_bytes
            .saturating_add(self.reserve_bytes / EASE_OF_RESERVE);
        self.short
            .store(wanted.saturating_sub(space.free), Ordering::Release);
        let full = (space.free < self.reserve_bytes).then(|| {
            format!(
                "{} bytes are free, below the reserve of {} bytes",
                space.free, self.reserve_bytes
            )
        });
        let was_full = self.full.read().is_some();
        match &full {
            Some(why) if !was_full => tracing::error!(
                why,
                "the log is full: deliveries are refused until space is freed"
            ),
            None if was_full => tracing::info!(
                free = space.free,
                "there is space again: deliveries are taken"
            ),
            _ => {}
        }
        *self.full.write() = full;
    }
}
