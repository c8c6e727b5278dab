//! How far split deliveries have come that are to be tried again, as far as this worker knows.
//!
//! Only memory: another worker, or this one after a restart, begins with the first item again.

use std::collections::{HashMap, VecDeque};

use creel_common::ids::DeliveryId;

use crate::destinations::{Attempted, Item};

/// Most deliveries that are remembered; above it the oldest begin with their first item again.
const KNOWN_MAX: usize = 1024;

/// One round of one delivery: reprocessed or rewound it begins anew.
pub(super) type Key = (DeliveryId, u32);

/// What is known of a delivery's items.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// So many, from the first on, need nothing more.
    pub settled: u32,
    /// Those of them that the destination will never take.
    pub refused: Option<Refused>,
}

/// Items that the destination will never take.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    /// How many.
    pub count: u32,
    /// The first one's number.
    pub number: u32,
    /// What came of it.
    pub first: Attempted,
}

#[derive(Debug, Default)]
pub(super) struct Progress {
    known: HashMap<Key, Known>,
    /// In the order in which they came.
    order: VecDeque<Key>,
}

/// The round that an item is of.
pub(super) fn key(item: &Item) -> Key {
    (item.id.delivery, item.generation)
}

impl Progress {
    /// Hands out what is known of a delivery, and forgets it.
    pub fn take(&mut self, key: &Key) -> Known {
        match self.known.remove(key) {
            Some(known) => {
                self.order.retain(|other| other != key);
                known
            }
            None => Known::default(),
        }
    }

    pub fn note(&mut self, key: Key, known: Known) {
        if self.known.insert(key, known).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > KNOWN_MAX {
            let oldest = self.order.pop_front();
            oldest.and_then(|oldest| self.known.remove(&oldest));
        }
    }
}

#[cfg(test)]
mod tests {
    use creel_common::ids::LogId;

    use super::*;

    fn key(offset: u64) -> Key {
        let log = LogId::from_bits(1);
        (DeliveryId { log, offset }, 0)
    }

    fn known(settled: u32) -> Known {
        Known {
            settled,
            refused: None,
        }
    }

    #[test]
    fn what_is_taken_is_forgotten() {
        let mut progress = Progress::default();
        progress.note(key(1), known(3));
        assert_eq!(progress.take(&key(1)).settled, 3);
        assert_eq!(progress.take(&key(1)).settled, 0);
        assert!(progress.order.is_empty());
    }

    #[test]
    fn above_the_bound_the_oldest_is_forgotten() {
        let mut progress = Progress::default();
        let last = KNOWN_MAX as u64;
        for offset in 0..=last {
            progress.note(key(offset), known(1));
            progress.note(key(offset), known(2));
        }
        assert_eq!(progress.known.len(), KNOWN_MAX);
        assert_eq!(progress.take(&key(0)).settled, 0);
        assert_eq!(progress.take(&key(1)).settled, 2);
        assert_eq!(progress.take(&key(last)).settled, 2);
    }
}
