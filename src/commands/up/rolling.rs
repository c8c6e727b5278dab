//! All workers started again, one after the other: the next when the one before leases again.

use std::collections::VecDeque;

/// How far a rolling restart is.
#[derive(Debug, Default)]
pub struct Rolling {
    left: VecDeque<usize>,
    turn: Option<Turn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    worker: usize,
    /// The process of before has ended, so that what is heard is the new one's.
    ended: bool,
}

impl Rolling {
    /// All of them are to be restarted, also those that have been since the last time.
    pub fn begin(&mut self, workers: usize) {
        self.left = (1..=workers).collect();
    }

    /// The worker to restart now, if it is time for another.
    pub fn next(&mut self) -> Option<usize> {
        if self.turn.is_some() {
            return None;
        }
        let worker = self.left.pop_front()?;
        self.turn = Some(Turn {
            worker,
            ended: false,
        });
        Some(worker)
    }

    /// A worker has ended because it was told to be restarted.
    pub fn ended(&mut self, worker: usize) {
        if let Some(turn) = self.turn.as_mut().filter(|turn| turn.worker == worker) {
            turn.ended = true;
        }
    }

    /// A worker leases.
    pub fn leases(&mut self, worker: usize) {
        self.turn = self
            .turn
            .filter(|turn| !(turn.worker == worker && turn.ended));
    }

    /// Workers that are still to be restarted, the one whose turn it is included.
    pub fn left(&self) -> usize {
        self.left.len() + usize::from(self.turn.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_has_to_wait_until_the_new_one_leases() {
        let mut rolling = Rolling::default();
        assert_eq!(rolling.next(), None);
        rolling.begin(2);
        assert_eq!((rolling.next(), rolling.next()), (Some(1), None));
        // what the process of before says does not count, nor what the other says
        rolling.leases(1);
        rolling.leases(2);
        assert_eq!(rolling.next(), None);
        rolling.ended(2);
        rolling.leases(2);
        assert_eq!(rolling.next(), None);
        rolling.ended(1);
        assert_eq!(rolling.next(), None);
        rolling.leases(1);
        assert_eq!((rolling.next(), rolling.left()), (Some(2), 1));
        rolling.ended(2);
        rolling.leases(2);
        assert_eq!((rolling.next(), rolling.left()), (None, 0));
    }

    #[test]
    fn asked_for_again_it_begins_anew_after_the_turn_that_is_under_way() {
        let mut rolling = Rolling::default();
        rolling.begin(3);
        assert_eq!(rolling.next(), Some(1));
        rolling.begin(3);
        assert_eq!((rolling.next(), rolling.left()), (None, 4));
        rolling.ended(1);
        rolling.leases(1);
        assert_eq!(rolling.next(), Some(1));
    }
}
