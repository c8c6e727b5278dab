//! Who may have how many calls under way: a fair share each, and a pool for all.
//!
//! Half of the slots are divided among the lanes and kept for them; the other
//! half is lent to whoever has something to do. So a lane whose destination
//! hangs can fill its own share and the pool, but never the shares of others,
//! and a lane that is alone gets more than half of everything. With more lanes
//! than slots each lane still has one.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// The slots of one worker.
#[derive(Debug)]
pub(crate) struct Slots {
    pool: Arc<Semaphore>,
    share: usize,
}

/// One lane's way to slots.
#[derive(Debug, Clone)]
pub(crate) struct LaneSlots {
    own: Arc<Semaphore>,
    pool: Arc<Semaphore>,
}

impl Slots {
    /// Divides `total` slots among `lanes`.
    pub(crate) fn new(total: usize, lanes: usize) -> Self {
        let share = (total / 2 / lanes.max(1)).max(1);
        let pool = total.saturating_sub(share * lanes);
        Self {
            pool: Arc::new(Semaphore::new(pool)),
            share,
        }
    }

    /// A lane's share, and its way to the pool.
    pub(crate) fn lane(&self) -> LaneSlots {
        LaneSlots {
            own: Arc::new(Semaphore::new(self.share)),
            pool: Arc::clone(&self.pool),
        }
    }

    /// The most that one lane can have when it is alone.
    pub(crate) fn lane_max(&self) -> usize {
        self.share + self.pool.available_permits()
    }
}

impl LaneSlots {
    /// Waits for a slot: the lane's own if one is free, else whichever is free first.
    pub(crate) async fn acquire(&self) -> OwnedSemaphorePermit {
        let permit: Result<_, AcquireError> = tokio::select! {
            biased;
            own = Arc::clone(&self.own).acquire_owned() => own,
            pooled = Arc::clone(&self.pool).acquire_owned() => pooled,
        };
        permit.expect("slots are never closed")
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn take_all(lane: &LaneSlots) -> Vec<OwnedSemaphorePermit> {
        std::iter::from_fn(|| lane.acquire().now_or_never()).collect()
    }

    #[test]
    fn a_lane_that_hangs_leaves_every_other_its_share() {
        let slots = Slots::new(16, 4);
        let lanes: Vec<LaneSlots> = (0..4).map(|_| slots.lane()).collect();
        let hung = take_all(&lanes[0]);
        assert_eq!(hung.len(), 2 + 8);
        for lane in &lanes[1..] {
            assert_eq!(take_all(lane).len(), 2);
        }
    }

    #[test]
    fn what_is_given_back_to_the_pool_goes_to_whoever_waits() {
        let slots = Slots::new(4, 2);
        let (a, b) = (slots.lane(), slots.lane());
        let mut held = take_all(&a);
        let own = take_all(&b);
        assert_eq!((held.len(), own.len()), (3, 1));
        assert!(b.acquire().now_or_never().is_none());
        held.pop();
        assert!(b.acquire().now_or_never().is_some());
    }

    #[test]
    fn more_lanes_than_slots_still_have_one_each() {
        let slots = Slots::new(2, 5);
        for _ in 0..5 {
            assert_eq!(take_all(&slots.lane()).len(), 1);
        }
    }
}
