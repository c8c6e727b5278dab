//! How many may come, and how fast: a token bucket that is one number.
//!
//! The number is the time at which the bucket will be full again. One more moves it on by a period,
//! and is over the rate if that is further ahead of now than the bucket is deep. (The generic cell
//! rate algorithm of ITU-T I.371, as virtual scheduling.) Times are nanoseconds of the monotonic clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use creel_common::config::Rate;

/// A rate, as the bucket counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pace {
    /// Until one more may come.
    period_ns: u64,
    /// As many periods as may come at once.
    depth_ns: u64,
}

impl Pace {
    /// At most `rate.burst` at once and `rate.per_second` in the long run.
    pub fn new(rate: Rate) -> Self {
        // rounded up: never more than was said
        let period_ns = ((1e9 / rate.per_second).ceil() as u64).max(1);
        Self {
            period_ns,
            depth_ns: period_ns.saturating_mul(u64::from(rate.burst.max(1))),
        }
    }

    /// When a bucket is full again that one more is taken from at `now`.
    ///
    /// # Errors
    /// It is empty for so long.
    pub fn take(self, full_at: u64, now: Duration) -> Result<u64, Duration> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let next = full_at.max(now).saturating_add(self.period_ns);
        match (next - now).checked_sub(self.depth_ns) {
            None | Some(0) => Ok(next),
            Some(missing) => Err(Duration::from_nanos(missing)),
        }
    }
}

/// A bucket that many take from at once. It is full at first.
#[derive(Debug)]
pub struct Bucket {
    pace: Pace,
    full_at: AtomicU64,
}

impl Bucket {
    /// A full one.
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            full_at: AtomicU64::new(0),
        }
    }

    /// Its rate.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Whether one more could be taken now; takes nothing.
    ///
    /// # Errors
    /// It is empty for so long.
    pub fn look(&self, now: Duration) -> Result<(), Duration> {
        let full_at = self.full_at.load(Ordering::Relaxed);
        self.pace.take(full_at, now).map(drop)
    }

    /// Takes one.
    ///
    /// # Errors
    /// It is empty for so long.
    pub fn take(&self, now: Duration) -> Result<(), Duration> {
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let next = self.pace.take(full_at, now)?;
            let order = Ordering::Relaxed;
            match (self.full_at).compare_exchange_weak(full_at, next, order, order) {
                Ok(_) => return Ok(()),
                Err(by_another) => full_at = by_another,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(per_second: f64, burst: u32) -> Bucket {
        Bucket::new(Pace::new(Rate { per_second, burst }))
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_its_rate() {
        let bucket = bucket(10.0, 3);
        let taken = |at_ms: u64| {
            let now = Duration::from_millis(at_ms);
            (0..100).filter(|_| bucket.take(now).is_ok()).count()
        };
        assert_eq!(taken(5000), 3);
        assert_eq!(taken(5099), 0);
        assert_eq!(taken(5100), 1);
        assert_eq!(taken(5350), 2);
        assert_eq!(taken(60_000), 3);
    }

    #[test]
    fn looking_takes_nothing_and_the_wait_that_is_told_is_enough() {
        let bucket = bucket(3.0, 1);
        let now = Duration::from_secs(1);
        for _ in 0..10 {
            assert_eq!(bucket.look(now), Ok(()));
        }
        assert_eq!(bucket.take(now), Ok(()));
        let wait = bucket.look(now).unwrap_err();
        assert!(bucket.look(now + wait - Duration::from_nanos(1)).is_err());
        assert_eq!(bucket.take(now + wait), Ok(()));
    }

    #[test]
    fn many_at_once_get_no_more_than_one_would() {
        let bucket = bucket(1.0, 1000);
        let taken: usize = std::thread::scope(|scope| {
            let take = || {
                (0..1000)
                    .filter(|_| bucket.take(Duration::ZERO).is_ok())
                    .count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(taken, 1000);
    }

    proptest! {
        /// In whatever span of time one looks: never more than burst + rate * t.
        #[test]
        fn no_span_of_time_sees_more_than_the_burst_and_the_rate(
            per_second in 0.01f64..5000.0,
            burst in 1u32..50,
            steps in prop::collection::vec((0u64..2_000_000_000, 1usize..80), 1..40),
        ) {
            let bucket = bucket(per_second, burst);
            let mut now = Duration::from_secs(1);
            let mut taken: Vec<Duration> = Vec::new();
            for (pause, asked) in steps {
                now += Duration::from_nanos(pause);
                let got = (0..asked).filter(|_| bucket.take(now).is_ok()).count();
                taken.extend(std::iter::repeat_n(now, got));
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let most = f64::from(burst) + per_second * (*to - *from).as_secs_f64();
                    let seen = (last - first + 1) as f64;
                    prop_assert!(seen <= most + 1e-6, "{seen} in {:?}, not {most}", *to - *from);
                }
            }
        }

        /// Who keeps to the rate is never refused.
        #[test]
        fn a_sender_that_keeps_to_its_rate_is_never_over_it(
            per_second in 0.01f64..5000.0,
            burst in 1u32..50,
            late in prop::collection::vec(0u64..1_000_000_000, 1..100),
        ) {
            let bucket = bucket(per_second, burst);
            let mut now = Duration::ZERO;
            for nanos in late {
                now += Duration::from_secs_f64(1.0 / per_second) + Duration::from_nanos(1 + nanos);
                prop_assert_eq!(bucket.take(now), Ok(()));
            }
        }
    }
}
