//! The time that due times, ages and windows go by: the wall clock as it would be had nobody set it.
//!
//! A wall clock may be set, by a day and by mistake. Nothing that waits may come due at once for
//! that, or be put off by it; nothing may be removed or forgotten. So this clock starts with the wall
//! clock, goes on with the monotonic one, and comes round to the wall clock slowly: a pause is never
//! more than a tenth shorter or longer than it was meant to be. Only a start knows nothing better
//! than the wall clock.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::log::lane::Now;
use crate::time::{Clock, Timestamp};

/// Of so much time passed, this clock may go so much faster or slower: one part in ten.
const SLEW: u32 = 10;
/// 2020: a clock that says less has not been set since the machine was started. Once it is, it is
/// believed at once.
const EVER_SET: Duration = Duration::from_secs(1_577_836_800);
/// From this much on it is worth a line in the log that the wall clock was set.
const TOLD_FROM: Duration = Duration::from_secs(60);

/// The log's clock, for all of its threads.
pub struct Steady {
    clock: Arc<dyn Clock>,
    last: Mutex<Last>,
}

/// How the clocks stood when last looked at.
#[derive(Debug, Clone, Copy)]
struct Last {
    mono: Duration,
    wall: Duration,
    steady: Duration,
}

impl Steady {
    /// Starts with the wall clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let wall = since_1970(clock.wall());
        let last = Mutex::new(Last {
            mono: clock.mono(),
            wall,
            steady: wall,
        });
        Self { clock, last }
    }

    /// All clocks, read together.
    pub fn now(&self) -> Now {
        let mut last = self.last.lock();
        let (wall, mono) = (self.clock.wall(), self.clock.mono());
        *last = last.after(since_1970(wall), mono);
        Now {
            wall,
            steady: stamp(last.steady),
            mono,
        }
    }
}

impl Last {
    fn after(self, wall: Duration, mono: Duration) -> Self {
        let passed = mono.saturating_sub(self.mono);
        let undisturbed = self.steady + passed;
        let set_by = wall.abs_diff(self.wall + passed);
        if set_by >= TOLD_FROM {
            let direction = if wall > self.wall + passed {
                "forward"
            } else {
                "back"
            };
            tracing::warn!(
                by = ?set_by, direction,
                "the wall clock was set: what waits and what is kept goes by the time that passes"
            );
        }
        let set_at_last = undisturbed < EVER_SET && wall >= EVER_SET;
        let most = if set_at_last {
            Duration::MAX
        } else {
            passed / SLEW
        };
        let slew = wall.abs_diff(undisturbed).min(most);
        let steady = if wall > undisturbed {
            undisturbed + slew
        } else {
            undisturbed - slew
        };
        Self {
            mono: mono.max(self.mono),
            wall,
            steady,
        }
    }
}

fn since_1970(stamp: Timestamp) -> Duration {
    Duration::from_millis(stamp.millis())
}

fn stamp(since_1970: Duration) -> Timestamp {
    Timestamp(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(wall: Duration) -> Last {
        Last {
            mono: Duration::ZERO,
            wall,
            steady: wall,
        }
    }

    #[test]
    fn it_comes_round_to_a_clock_that_was_set_a_tenth_at_a_time() {
        let start = 20_000 * DAY;
        let hour = Duration::from_secs(3600);
        let forward = at(start).after(start + DAY + hour, hour);
        assert_eq!(forward.steady, start + hour + hour / 10);
        let back = at(start).after(start - DAY + hour, hour);
        assert_eq!(back.steady, start + hour - hour / 10);
        let long = 20 * DAY;
        for set in [start + DAY, start - DAY] {
            assert_eq!(at(start).after(set + long, long).steady, set + long);
        }
    }

    #[test]
    fn a_clock_that_had_never_been_set_is_believed_when_it_is() {
        let now = 20_000 * DAY;
        let set = at(DAY).after(now, Duration::ZERO);
        assert_eq!(set.steady, now);
        // but not the other way round
        assert_eq!(set.after(DAY, Duration::ZERO).steady, now);
    }

    proptest! {
        /// Whatever is done to the wall clock, and however often it is looked at.
        #[test]
        fn it_goes_neither_a_tenth_too_fast_nor_too_slow(
            steps in proptest::collection::vec((0u64..100_000, 0u64..1 << 42), 1..50),
        ) {
            let mut last = at(20_000 * DAY);
            for (passed, wall) in steps {
                let passed = Duration::from_micros(passed);
                let next = last.after(Duration::from_millis(wall), last.mono + passed);
                let gone = next.steady - last.steady;
                prop_assert!(gone <= passed + passed / SLEW && gone >= passed - passed / SLEW);
                last = next;
            }
        }

        /// A clock that nobody sets is followed to the millisecond.
        #[test]
        fn undisturbed_it_is_the_wall_clock(steps in proptest::collection::vec(0u64..100_000, 1..50)) {
            let mut last = at(20_000 * DAY);
            for passed in steps {
                let passed = Duration::from_micros(passed);
                last = last.after(last.wall + passed, last.mono + passed);
                prop_assert_eq!(last.steady, last.wall);
            }
        }
    }
}
