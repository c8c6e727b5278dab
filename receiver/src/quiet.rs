//! Keeps refusals from flooding the log: the first few of a kind, then a count.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// This many of a kind are told one by one in each [`WINDOW`].
const TOLD_MAX: u32 = 5;
/// After this long a kind is told again.
const WINDOW: Duration = Duration::from_secs(10);

/// What to do with one refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// Tell it, and that so many of its kind were left out before.
    Yes {
        /// How many.
        left_out: u64,
    },
    /// Leave it out; it is counted.
    No,
}

/// Remembers what was told. Bounded: kinds are sources × reasons, both closed lists.
#[derive(Debug, Default)]
pub struct Quiet(Mutex<HashMap<(usize, &'static str), Told>>);

#[derive(Debug)]
struct Told {
    since: Duration,
    told: u32,
    left_out: u64,
}

impl Quiet {
    /// Whether to tell a refusal of source number `source` now (monotonic time).
    pub fn ask(&self, source: usize, reason: &'static str, now: Duration) -> Tell {
        let mut kinds = self.0.lock();
        let kind = kinds.entry((source, reason)).or_insert(Told {
            since: now,
            told: 0,
            left_out: 0,
        });
        if now.saturating_sub(kind.since) >= WINDOW {
            kind.since = now;
            kind.told = 0;
        }
        if kind.told == TOLD_MAX {
            kind.left_out += 1;
            return Tell::No;
        }
        kind.told += 1;
        Tell::Yes {
            left_out: std::mem::take(&mut kind.left_out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_a_few_times_and_then_counted() {
        let quiet = Quiet::default();
        for _ in 0..TOLD_MAX {
            let tell = quiet.ask(0, "no_match", Duration::ZERO);
            assert_eq!(tell, Tell::Yes { left_out: 0 });
        }
        for _ in 0..100 {
            assert_eq!(quiet.ask(0, "no_match", Duration::ZERO), Tell::No);
        }
        // another kind is not kept quiet by it
        let other = quiet.ask(0, "stale", Duration::ZERO);
        assert_eq!(other, Tell::Yes { left_out: 0 });
        let later = quiet.ask(0, "no_match", WINDOW);
        assert_eq!(later, Tell::Yes { left_out: 100 });
    }
}
