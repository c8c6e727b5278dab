//! Volumes that a backup still needs: their removal waits until it has copied them.

use std::collections::BTreeSet;

use parking_lot::{Mutex, MutexGuard};

/// Which volumes are held, and which are to be removed once they are not.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<Pinned>);

/// The pins, looked at and changed in one go.
pub(super) type Pinning<'a> = MutexGuard<'a, Pinned>;

/// Behind the lock.
#[derive(Debug, Default)]
pub(super) struct Pinned {
    held: Held,
    waiting: BTreeSet<u64>,
}

#[derive(Debug, Default)]
enum Held {
    #[default]
    None,
    /// All, also those that come.
    All,
    These(BTreeSet<u64>),
}

impl Pins {
    /// To be held while a volume is removed or a backup changes what it holds.
    pub(super) fn lock(&self) -> Pinning<'_> {
        self.0.lock()
    }
}

impl Pinned {
    /// Whether a volume has to stay for now; if so, it is remembered that it is to go.
    pub(super) fn defer(&mut self, number: u64) -> bool {
        let held = self.holds(number);
        if held {
            self.waiting.insert(number);
        }
        held
    }

    /// Whether a volume may not be changed or removed for now.
    pub(super) fn holds(&self, number: u64) -> bool {
        match &self.held {
            Held::None => false,
            Held::All => true,
            Held::These(these) => these.contains(&number),
        }
    }

    /// Holds every volume there is or will be.
    pub(super) fn hold_all(&mut self) {
        self.held = Held::All;
    }

    /// Holds these only; answers which of the others may go now.
    pub(super) fn hold_only(&mut self, these: impl IntoIterator<Item = u64>) -> Vec<u64> {
        self.held = Held::These(these.into_iter().collect());
        self.released()
    }

    /// Lets one go; answers it if it is to be removed.
    pub(super) fn release(&mut self, number: u64) -> Vec<u64> {
        if let Held::These(these) = &mut self.held {
            these.remove(&number);
        }
        self.released()
    }

    /// Lets all go; answers which are to be removed.
    pub(super) fn release_all(&mut self) -> Vec<u64> {
        self.held = Held::None;
        self.released()
    }

    fn released(&mut self) -> Vec<u64> {
        let waiting = std::mem::take(&mut self.waiting);
        let (stay, go) = waiting.into_iter().partition(|number| self.holds(*number));
        self.waiting = stay;
        go.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_volume_is_removed_once_it_is_released() {
        let pins = Pins::default();
        let mut pins = pins.lock();
        assert!(!pins.defer(1));
        pins.hold_all();
        assert!(pins.defer(1) && pins.defer(2) && pins.defer(9));
        assert_eq!(pins.hold_only([1, 2, 3]), [9]);
        assert!(!pins.defer(4));
        assert!(pins.release(3).is_empty());
        assert_eq!(pins.release(2), [2]);
        assert_eq!(pins.release_all(), [1]);
        assert!(!pins.holds(1) && pins.release_all().is_empty());
    }
}
