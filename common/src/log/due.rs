//! The next few waiting entries of a route, in memory; all of them are in the state store.

use std::collections::BTreeMap;

use crate::ids::Offset;
use crate::log::state::WaitingRecord;
use crate::time::Timestamp;

/// How many entries a window holds: a few hundred kilobytes a route at most.
pub const WINDOW: usize = 2048;

/// The entries of one route that are due first.
#[derive(Debug)]
pub struct DueWindow {
    entries: BTreeMap<(Timestamp, Offset), WaitingRecord>,
    /// Nothing waits that is neither here nor leased.
    complete: bool,
}

impl DueWindow {
    /// A window that holds all there is (nothing), or that has to be filled first.
    pub fn new(complete: bool) -> Self {
        Self {
            entries: BTreeMap::new(),
            complete,
        }
    }

    /// Adds an entry that is in the store, or about to be.
    pub fn add(&mut self, due: Timestamp, offset: Offset, record: WaitingRecord) {
        let within = self
            .entries
            .last_key_value()
            .is_some_and(|(last, _)| (due, offset) < *last);
        if self.complete || within {
            self.entries.insert((due, offset), record);
        }
        if self.entries.len() > WINDOW {
            self.entries.pop_last();
            self.complete = false;
        }
    }

    /// Has to be filled from the store before it can say what is due next.
    pub fn wants_filling(&self) -> bool {
        self.entries.is_empty() && !self.complete
    }

    /// Fills it with the entries due first; `all` says that there are no others.
    pub fn fill(
        &mut self,
        entries: impl Iterator<Item = (Timestamp, Offset, WaitingRecord)>,
        all: bool,
    ) {
        self.complete = all;
        self.entries = entries
            .map(|(due, offset, record)| ((due, offset), record))
            .collect();
    }

    /// The entry due first, if its time has come.
    pub fn first_due(&self, now: Timestamp) -> Option<(Timestamp, Offset, WaitingRecord)> {
        let ((due, offset), record) = self.entries.first_key_value()?;
        (*due <= now).then_some((*due, *offset, *record))
    }

    /// When the first entry is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.entries.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes an entry out, if it is here.
    pub fn take(&mut self, due: Timestamp, offset: Offset) {
        self.entries.remove(&(due, offset));
    }

    /// Takes out everything from an offset on.
    pub fn rewind(&mut self, to: Offset) {
        self.entries.retain(|(_, offset), _| *offset < to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> WaitingRecord {
        WaitingRecord {
            attempts: 1,
            lost: 0,
            generation: 0,
            received_at: Timestamp(0),
        }
    }

    proptest! {
        /// Against a store that holds everything: the window always names the one that is due first.
        #[test]
        fn a_window_never_hides_what_is_due_first(steps in proptest::collection::vec((0u64..5000, any::<bool>()), 1..6000)) {
            let mut window = DueWindow::new(true);
            let mut store = BTreeMap::new();
            for (offset, (due, take)) in (0u64..).zip(steps) {
                if take {
                    if window.wants_filling() {
                        let first: Vec<_> = store.keys().take(WINDOW).copied().collect();
                        let all = first.len() == store.len();
                        window.fill(first.into_iter().map(|(d, o)| (d, o, record())), all);
                    }
                    let first = window.first_due(Timestamp(u64::MAX)).map(|(d, o, _)| (d, o));
                    prop_assert_eq!(first, store.first_key_value().map(|(k, ())| *k));
                    if let Some((due, offset)) = first {
                        window.take(due, offset);
                        store.remove(&(due, offset));
                    }
                } else {
                    window.add(Timestamp(due), offset, record());
                    store.insert((Timestamp(due), offset), ());
                }
            }
        }
    }
}
