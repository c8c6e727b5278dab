//! The tender: one thread that merges runs, drops the oldest, and says when they fall short.
//!
//! Merges may take minutes, so they hold up neither the keeper, who writes new runs and removes
//! volumes, nor look-ups, which go on over the runs that are being merged.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::log::keys::horizon::{Dedupe, Horizon, hours};
use crate::log::keys::{RunError, Runs};
use crate::log::losses::Losses;
use crate::log::steady::Steady;
use crate::time::Timestamp;

/// How often it looks when no run was written.
const LOOK: Duration = Duration::from_secs(1);

/// What the thread works on.
pub struct Tender {
    /// The runs.
    pub runs: Arc<Runs>,
    /// What was lost: a key of that counts as not seen.
    pub losses: Arc<Losses>,
    /// Storage: it knows what is lost, and how much room there is.
    pub engine: Arc<dyn Engine>,
    /// Merges leave this much free.
    pub reserve_bytes: u64,
    /// For how long keys last. Older ones than the longest window of any source are left out.
    pub horizon: Arc<Horizon>,
    /// All clocks.
    pub clock: Arc<Steady>,
}

impl Tender {
    /// Tends until the runs are stopped.
    pub fn run(self) {
        while self.runs.wait(LOOK) {
            self.losses.look(&*self.engine, self.clock.now().wall);
            self.runs.set_lost(&self.engine.gaps());
            if let Err(error) = self.tend() {
                // nothing is lost: the runs stay as they were
                tracing::error!(%error, "idempotency keys could not be merged");
            }
            self.warn();
        }
    }

    fn tend(&self) -> Result<(), RunError> {
        let dropped = self.runs.drop_first(self.expired())?;
        if dropped > 0 {
            tracing::warn!(
                keys = dropped,
                keys_max = self.runs.keys_max(),
                "the oldest idempotency keys were dropped inside their window: there are too many"
            );
        }
        let fits = |bytes| {
            let free = self.engine.space().map(|space| space.free);
            free.is_none_or(|free| free >= self.reserve_bytes.saturating_add(bytes))
        };
        while self.runs.merge_next(self.expired(), fits)? {}
        Ok(())
    }

    fn expired(&self) -> Timestamp {
        self.clock.now().window(self.horizon.window())
    }

    fn warn(&self) {
        let now = self.clock.now();
        let dedupe = self.horizon.look(self.runs.stock(), now.wall, now.mono);
        if !self.horizon.turned(dedupe) {
            return;
        }
        let Dedupe { keys_max, .. } = dedupe;
        let (held_hours, window_hours) = (hours(dedupe.held), hours(dedupe.window));
        if dedupe.is_short() {
            tracing::warn!(
                keys_max,
                held_hours,
                window_hours,
                "at the current rate idempotency keys go before their window is over; raise dedupe.keys_max"
            );
        } else {
            tracing::info!(
                keys_max,
                held_hours,
                window_hours,
                "idempotency keys last for their window again"
            );
        }
    }
}
