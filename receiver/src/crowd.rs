//! All connections of a listener, and who makes room when there are too many.
//!
//! Up to the limit everybody stays. Beyond, the new one is let in, and those that have been slow or
//! idle longest give way: a limit that only stopped accepting would let whoever fills it with silence
//! shut everybody else out. Who has a request under way stays.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::pace::Pace;

/// When nobody could give way, it is asked again.
const AGAIN: Duration = Duration::from_millis(20);
/// Of so many connections one more is asked at once, so that looking for them costs little.
const SHARE: usize = 256;

/// The connections of one listener.
pub struct Crowd {
    places: Arc<Semaphore>,
    /// Asked at once.
    asked: usize,
    there: Mutex<There>,
}

#[derive(Default)]
struct There {
    paces: HashMap<u64, Arc<Pace>>,
    next: u64,
}

/// A connection's place; given back when dropped.
pub struct Member {
    crowd: Arc<Crowd>,
    number: u64,
    /// How it goes.
    pub pace: Arc<Pace>,
    _place: OwnedSemaphorePermit,
}

impl Crowd {
    /// Nobody there yet, and room for so many.
    pub fn new(connections_max: usize) -> Arc<Self> {
        let places = connections_max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            places: Arc::new(Semaphore::new(places)),
            asked: 1 + places / SHARE,
            there: Mutex::default(),
        })
    }

    /// Takes one more in, as soon as there is room for it.
    pub async fn enter(self: &Arc<Self>) -> Member {
        let place = self.place().await;
        let pace = Arc::new(Pace::new());
        let mut there = self.there.lock();
        let number = there.next;
        there.next += 1;
        there.paces.insert(number, pace.clone());
        Member {
            crowd: self.clone(),
            number,
            pace,
            _place: place,
        }
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = self.places.clone().try_acquire_owned() {
                return place;
            }
            self.make_room();
            let freed = self.places.clone().acquire_owned();
            if let Ok(Ok(place)) = tokio::time::timeout(AGAIN, freed).await {
                return place;
            }
        }
    }

    /// Asks those that have been slow or idle longest to go.
    pub fn make_room(&self) {
        let now = Instant::now();
        let there = self.there.lock();
        let paces = there.paces.values();
        let mut able: Vec<_> = paces
            .filter_map(|pace| Some((pace.patience(now)?, pace)))
            .collect();
        if able.len() > self.asked {
            able.select_nth_unstable_by_key(self.asked, |(patience, _)| *patience);
            able.truncate(self.asked);
        }
        for (_, pace) in able {
            pace.give_way();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.crowd.there.lock().paces.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Phase;

    #[tokio::test]
    async fn the_one_that_has_been_idle_longest_makes_room_and_who_works_or_just_came_stays() {
        let crowd = Crowd::new(4);
        let working = crowd.enter().await;
        let request = working.pace.begin();
        let new = crowd.enter().await;
        let (first, second) = (crowd.enter().await, crowd.enter().await);
        drop((first.pace.begin(), second.pace.begin()));
        let next = {
            let crowd = crowd.clone();
            tokio::spawn(async move { crowd.enter().await })
        };
        first.pace.must_give_way().await;
        drop(first);
        let next = next.await.unwrap();
        assert_eq!(next.pace.phase(), Phase::Silent);
        for stays in [&second, &working, &new, &next] {
            let asked = stays.pace.must_give_way();
            let asked = tokio::time::timeout(Duration::from_millis(1), asked).await;
            assert!(asked.is_err(), "one was enough");
        }
        drop(request);
    }

    #[tokio::test]
    async fn where_everybody_works_the_next_one_waits() {
        let crowd = Crowd::new(1);
        let only = crowd.enter().await;
        let request = only.pace.begin();
        let next = tokio::time::timeout(AGAIN * 3, crowd.enter()).await;
        assert!(next.is_err());
        drop((request, only));
        let _next = crowd.enter().await;
    }

    #[tokio::test]
    async fn no_place_is_lost() {
        let crowd = Crowd::new(2);
        for _ in 0..10 {
            let both = (crowd.enter().await, crowd.enter().await);
            assert_eq!(crowd.there.lock().paces.len(), 2);
            drop(both);
        }
        assert!(crowd.there.lock().paces.is_empty());
    }
}
