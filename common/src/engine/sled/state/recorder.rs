//! What is committed while the state store is copied.

use parking_lot::{Condvar, Mutex};

use crate::engine::{Change, StateBatch};

/// Most bytes of batches kept while a copy is made; then commits wait for it.
const RECORDED_BYTES_MAX: usize = 64 << 20;

/// Keeps what is committed while the store is being copied.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    recorded: Mutex<Option<Recorded>>,
    stopped: Condvar,
}

#[derive(Debug, Default)]
struct Recorded {
    batches: Vec<StateBatch>,
    bytes: usize,
}

impl Recorder {
    pub(super) fn start(&self) {
        *self.recorded.lock() = Some(Recorded::default());
    }

    pub(super) fn stop(&self) -> Vec<StateBatch> {
        let recorded = self.recorded.lock().take();
        self.stopped.notify_all();
        recorded.map(|r| r.batches).unwrap_or_default()
    }

    pub(super) fn record(&self, batch: &StateBatch) {
        if let Some(recorded) = &mut *self.recorded.lock() {
            recorded.bytes += batch.0.iter().map(Change::bytes).sum::<usize>();
            recorded.batches.push(batch.clone());
        }
    }

    /// Waits while what is kept would take too much memory: until the copy is made.
    pub(super) fn wait_for_room(&self) {
        let mut recorded = self.recorded.lock();
        while recorded
            .as_ref()
            .is_some_and(|r| r.bytes > RECORDED_BYTES_MAX)
        {
            self.stopped.wait(&mut recorded);
        }
    }
}
