//! What a worker did, counted for its last words and for tests. Metrics are the receiver's.

use std::sync::atomic::{AtomicU64, Ordering};

use creel_common::outcome::{Outcome, Verdict};
use tokio::sync::watch;

/// Counters of one worker.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    polls: AtomicU64,
    /// A receiver has answered a poll.
    leasing: watch::Sender<bool>,
    leases: AtomicU64,
    settles: AtomicU64,
    fenced: AtomicU64,
    verdicts: [AtomicU64; Verdict::ALL.len()],
}

/// A reading of the counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests for leases.
    pub polls: u64,
    /// Leases held.
    pub leases: u64,
    /// Requests that settled something.
    pub settles: u64,
    /// Leases that ended before all in them was settled; what came of the rest was dropped.
    pub fenced: u64,
    /// Deliveries that arrived.
    pub delivered: u64,
    /// Deliveries to be tried again.
    pub retried: u64,
    /// Deliveries that will never be taken.
    pub rejected: u64,
    /// Deliveries given back untried.
    pub released: u64,
}

impl Tally {
    pub(crate) fn polled(&self) {
        add(&self.polls);
    }

    pub(crate) fn answered(&self) {
        self.leasing
            .send_if_modified(|leasing| !std::mem::replace(leasing, true));
    }

    /// Returns when a receiver has answered a poll.
    pub(crate) async fn leasing(&self) {
        let mut leasing = self.leasing.subscribe();
        // the sender lives as long as we do
        let _ = leasing.wait_for(|leasing| *leasing).await;
    }

    pub(crate) fn leased(&self) {
        add(&self.leases);
    }

    pub(crate) fn settled(&self) {
        add(&self.settles);
    }

    pub(crate) fn fenced(&self) {
        add(&self.fenced);
    }

    pub(crate) fn attempted(&self, outcome: &Outcome) {
        add(self.of(outcome.into()));
    }

    pub(crate) fn read(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let verdict = |verdict| load(self.of(verdict));
        Counts {
            polls: load(&self.polls),
            leases: load(&self.leases),
            settles: load(&self.settles),
            fenced: load(&self.fenced),
            delivered: verdict(Verdict::Delivered),
            retried: verdict(Verdict::Retry),
            rejected: verdict(Verdict::Reject),
            released: verdict(Verdict::Released),
        }
    }

    fn of(&self, verdict: Verdict) -> &AtomicU64 {
        &self.verdicts[verdict as usize]
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
