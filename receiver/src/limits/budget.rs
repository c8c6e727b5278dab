//! Room that all requests share, and how sources share it.
//!
//! A source may take a part of what the *others* leave (a half, if nothing else is said). So one that
//! floods alone comes to a half, two that flood to a third each, and `n` to `1/(n+1)`: there is always
//! as much left for one that is quiet, whoever floods, and nobody has to know who is waiting.
//! (Dynamic thresholds, as in the shared memory of switches: Choudhury and Hahne, 1998.)

use std::sync::atomic::{AtomicU64, Ordering};

/// Room for all: bytes of bodies in memory, or places for deliveries that wait for the disk.
///
/// Bytes are counted as they come in, not as they are announced: a sender that announces 25 MiB and
/// sends nothing takes nothing away from others.
#[derive(Debug)]
pub struct Budget {
    used: AtomicU64,
    max: u64,
    /// How much of what others leave one source may take.
    part: f64,
}

/// What one source has of a budget.
#[derive(Debug, Default)]
pub struct Lot(AtomicU64);

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// All of it is taken.
    All,
    /// The source has its part.
    Part,
}

impl Budget {
    /// Room of `max`, of which a source may take `part` of what the others leave.
    pub fn new(max: u64, part: f64) -> Self {
        Self {
            used: AtomicU64::new(0),
            max,
            part,
        }
    }

    /// How much is taken now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, more: u64, lot: &Lot, own: u64) -> Result<(), Over> {
        let all = self.used.fetch_add(more, Ordering::Relaxed) + more;
        let of_source = lot.0.fetch_add(more, Ordering::Relaxed) + more;
        let over = if all > self.max {
            Some(Over::All)
        } else if of_source > own + more && of_source > self.part_beside(all - of_source.min(all)) {
            Some(Over::Part)
        } else {
            None
        };
        over.map_or(Ok(()), |over| {
            self.give_back(more, lot);
            Err(over)
        })
    }

    fn part_beside(&self, others: u64) -> u64 {
        (self.max.saturating_sub(others) as f64 * self.part) as u64
    }

    fn give_back(&self, amount: u64, lot: &Lot) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
        lot.0.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// What one request has of a budget; given back when dropped.
#[derive(Debug)]
pub struct Share<'b> {
    budget: &'b Budget,
    lot: &'b Lot,
    amount: u64,
}

impl<'b> Share<'b> {
    /// Nothing yet, of the budget and of its source's lot.
    pub fn of(budget: &'b Budget, lot: &'b Lot) -> Self {
        Self {
            budget,
            lot,
            amount: 0,
        }
    }

    /// How much it has.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Takes more. The only request of a source may take all that is left, so that what is larger than
    /// a source's part is not refused for ever.
    ///
    /// # Errors
    /// [`Over`]; nothing was taken.
    pub fn grow(&mut self, more: u64) -> Result<(), Over> {
        self.budget.take(more, self.lot, self.amount)?;
        self.amount += more;
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.amount, self.lot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many shares of one as there is room for.
    fn flood<'b>(budget: &'b Budget, lot: &'b Lot) -> Vec<Share<'b>> {
        let mut shares = Vec::new();
        loop {
            let mut share = Share::of(budget, lot);
            if share.grow(1).is_err() {
                return shares;
            }
            shares.push(share);
        }
    }

    #[test]
    fn whoever_floods_there_is_room_for_one_that_is_quiet() {
        let budget = Budget::new(1200, 0.5);
        let lots: Vec<Lot> = (0..4).map(|_| Lot::default()).collect();
        let alone = flood(&budget, &lots[0]);
        assert_eq!(alone.len(), 600);
        // the next ones flood as well: each leaves as much as it takes
        let second = flood(&budget, &lots[1]);
        let third = flood(&budget, &lots[2]);
        assert_eq!((second.len(), third.len()), (300, 150));
        let mut quiet = Share::of(&budget, &lots[3]);
        assert_eq!(quiet.grow(75), Ok(()));
        drop((alone, second, third, quiet));
        assert_eq!(budget.used(), 0);
        assert!(lots.iter().all(|lot| lot.0.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn two_that_flood_for_long_come_to_a_third_each() {
        let budget = Budget::new(900, 0.5);
        let (one, other) = (Lot::default(), Lot::default());
        let mut ours = flood(&budget, &one);
        let mut theirs = flood(&budget, &other);
        // requests end and others come, by turns
        for _ in 0..2000 {
            ours.pop();
            theirs.extend(flood(&budget, &other));
            theirs.pop();
            ours.extend(flood(&budget, &one));
        }
        assert!((299..=301).contains(&ours.len()), "{}", ours.len());
        assert!((299..=301).contains(&theirs.len()), "{}", theirs.len());
    }

    #[test]
    fn one_request_alone_may_have_all_that_is_left_and_the_second_is_told_so() {
        let budget = Budget::new(100, 0.5);
        let lot = Lot::default();
        let mut large = Share::of(&budget, &lot);
        assert_eq!(large.grow(60), Ok(()));
        assert_eq!(large.grow(30), Ok(()));
        assert_eq!(Share::of(&budget, &lot).grow(1), Err(Over::Part));
        assert_eq!(large.grow(20), Err(Over::All));
        assert_eq!((large.amount(), budget.used()), (90, 90));
    }

    #[test]
    fn a_part_of_one_shares_as_it_comes() {
        let budget = Budget::new(10, 1.0);
        let lot = Lot::default();
        assert_eq!(flood(&budget, &lot).len(), 10);
    }
}
