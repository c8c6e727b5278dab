//! When a failed try is made again: exponential backoff with full jitter.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

/// How a route retries.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Tries in all before a delivery is dead, the first one included; at least 1.
    pub max_attempts: u32,
    /// The longest pause after the first failure.
    pub initial: Duration,
    /// The longest pause ever.
    pub max: Duration,
    /// How much longer the pause may be each time; at least 1.
    pub multiplier: f64,
    /// Dead when a try fails this long after the delivery was received, whatever the attempts left.
    pub give_up_after: Option<Duration>,
    /// The longest pause a destination may ask for with `Retry-After`.
    pub retry_after_max: Duration,
}

impl Default for RetryPolicy {
    /// 16 tries from 1 s up to 1 h: a little more than 5 h in the mean.
    fn default() -> Self {
        Self {
            max_attempts: 16,
            initial: Duration::from_secs(1),
            max: Duration::from_secs(3600),
            multiplier: 2.0,
            give_up_after: None,
            retry_after_max: Duration::from_secs(24 * 3600),
        }
    }
}

impl RetryPolicy {
    /// The longest pause after the `failed`-th failed try (from 1), before jitter.
    pub fn ceiling(&self, failed: u32) -> Duration {
        let mut arithmetic = ExponentialBackoff {
            current_interval: self.initial,
            initial_interval: self.initial,
            randomization_factor: 0.0,
            multiplier: self.multiplier,
            max_interval: self.max,
            // the crate's own default gives up after 15 minutes; the lender decides that here
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        let mut ceiling = self.initial;
        // once the longest pause is reached nothing changes any more
        for _ in 0..failed.max(1) {
            ceiling = arithmetic.next_backoff().unwrap_or(self.max).min(self.max);
            if ceiling >= self.max {
                break;
            }
        }
        ceiling
    }

    /// The pause after the `failed`-th failed try (from 1).
    ///
    /// Full jitter: uniform between nothing and the ceiling, by `dice` in `0.0..1.0`.
    /// What the destination asked for is a lower bound, up to `retry_after_max`.
    pub fn pause(&self, failed: u32, asked: Option<Duration>, dice: f64) -> Duration {
        let jittered = self.ceiling(failed).mul_f64(dice.clamp(0.0, 1.0));
        match asked {
            Some(asked) => asked
                .min(self.retry_after_max)
                .saturating_add(jittered.min(asked / 4)),
            None => jittered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(10),
            ..RetryPolicy::default()
        }
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_longest_pause() {
        let seconds: Vec<u64> = (1..=6).map(|n| policy().ceiling(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn the_ten_thousandth_failure_costs_no_more_than_the_first() {
        assert_eq!(policy().ceiling(u32::MAX), Duration::from_secs(10));
    }

    #[test]
    fn jitter_is_full() {
        assert_eq!(policy().pause(3, None, 0.0), Duration::ZERO);
        assert_eq!(policy().pause(3, None, 0.5), Duration::from_secs(2));
        assert_eq!(policy().pause(3, None, 1.0), Duration::from_secs(4));
    }

    #[test]
    fn a_destination_that_asks_for_a_pause_gets_at_least_that() {
        let asked = Duration::from_secs(60);
        assert_eq!(policy().pause(1, Some(asked), 0.0), asked);
        assert!(policy().pause(1, Some(asked), 1.0) >= asked);
    }

    #[test]
    fn a_destination_cannot_ask_for_more_than_the_bound() {
        let policy = RetryPolicy {
            retry_after_max: Duration::from_secs(5),
            ..policy()
        };
        assert!(policy.pause(1, Some(Duration::from_secs(999)), 0.0) <= Duration::from_secs(5));
    }
}
