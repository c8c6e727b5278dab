//! How much a lane may hold: leased, and not yet settled.
//!
//! Room is taken when a lease arrives and comes back portion by portion as its
//! deliveries are settled. It bounds memory, and it keeps a worker from hoarding
//! what another could deliver.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Room of one lane.
#[derive(Debug)]
pub(crate) struct Room {
    items_max: usize,
    bytes_max: usize,
    items: AtomicUsize,
    bytes: AtomicUsize,
    freed: Arc<Notify>,
}

/// What may be asked for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Free {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

impl Room {
    /// Room for so many deliveries and bytes; `freed` is told whenever some comes back.
    pub(crate) fn new(items_max: usize, bytes_max: usize, freed: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            items_max: items_max.max(1),
            bytes_max: bytes_max.max(1),
            items: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            freed,
        })
    }

    /// Most deliveries that fit.
    pub(crate) fn items_max(&self) -> usize {
        self.items_max
    }

    /// What to ask for now: at most half of the room, so that two leases are in flight and the
    /// next is here before the last is done; nothing while less than a quarter is free, so that a
    /// busy lane asks seldom.
    pub(crate) fn wanted(&self) -> Option<Free> {
        let items = free(self.items_max, &self.items);
        let bytes = free(self.bytes_max, &self.bytes);
        let enough = |free: usize, max: usize| free >= max.div_ceil(4);
        (enough(items, self.items_max) && enough(bytes, self.bytes_max)).then_some(Free {
            items: items.min(self.items_max.div_ceil(2)),
            bytes: bytes.min(self.bytes_max.div_ceil(2)),
        })
    }

    /// Takes room for a lease. More than was free is fine: one large delivery always comes.
    pub(crate) fn take(self: &Arc<Self>, items: usize, bytes: usize) -> Portion {
        self.items.fetch_add(items, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        Portion {
            room: Arc::clone(self),
            items,
            bytes,
        }
    }
}

fn free(max: usize, taken: &AtomicUsize) -> usize {
    max.saturating_sub(taken.load(Ordering::Acquire))
}

/// Room that was taken; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Portion {
    room: Arc<Room>,
    items: usize,
    bytes: usize,
}

impl Portion {
    /// Cuts off a part of it.
    pub(crate) fn split(&mut self, items: usize, bytes: usize) -> Self {
        let (items, bytes) = (items.min(self.items), bytes.min(self.bytes));
        self.items -= items;
        self.bytes -= bytes;
        Self {
            room: Arc::clone(&self.room),
            items,
            bytes,
        }
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        if self.items == 0 && self.bytes == 0 {
            return;
        }
        self.room.items.fetch_sub(self.items, Ordering::AcqRel);
        self.room.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.room.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(items: usize, bytes: usize) -> Arc<Room> {
        Room::new(items, bytes, Arc::new(Notify::new()))
    }

    #[test]
    fn half_of_the_room_is_asked_for_until_three_quarters_are_taken() {
        let room = room(100, 1000);
        assert_eq!(
            room.wanted(),
            Some(Free {
                items: 50,
                bytes: 500
            })
        );
        let first = room.take(50, 100);
        assert_eq!(
            room.wanted(),
            Some(Free {
                items: 50,
                bytes: 500
            })
        );
        let _second = room.take(26, 100);
        assert_eq!(room.wanted(), None);
        drop(first);
        assert_eq!(
            room.wanted(),
            Some(Free {
                items: 50,
                bytes: 500
            })
        );
    }

    #[test]
    fn one_delivery_larger_than_the_room_closes_it_until_it_is_gone() {
        let room = room(100, 1000);
        let large = room.take(1, 25 << 20);
        assert_eq!(room.wanted(), None);
        drop(large);
        assert!(room.wanted().is_some());
    }

    #[test]
    fn portions_add_up() {
        let room = room(10, 100);
        let mut all = room.take(10, 100);
        let part = all.split(4, 40);
        drop(all);
        assert_eq!(room.items.load(Ordering::Acquire), 4);
        drop(part);
        assert_eq!(room.bytes.load(Ordering::Acquire), 0);
    }
}
