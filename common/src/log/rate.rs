//! A token bucket: how many deliveries a route may start now.

use std::time::Duration;

/// Share of a second's tokens that may be saved up, so that no second sees much more than its rate.
const BURST_SECS: f64 = 0.1;

/// A token bucket on monotonic time.
#[derive(Debug, Clone)]
pub struct Rate {
    per_sec: f64,
    tokens: f64,
    filled_at: Duration,
}

impl Rate {
    /// A full bucket of `per_sec` tokens a second.
    pub fn new(per_sec: f64, now: Duration) -> Self {
        Self {
            per_sec,
            tokens: (per_sec * BURST_SECS).max(1.0),
            filled_at: now,
        }
    }

    /// How many may start now.
    pub fn available(&mut self, now: Duration) -> usize {
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.filled_at = self.filled_at.max(now);
        self.tokens =
            (self.tokens + passed * self.per_sec).min((self.per_sec * BURST_SECS).max(1.0));
        self.tokens as usize
    }

    /// Takes tokens that were available.
    pub fn take(&mut self, count: usize) {
        self.tokens -= count as f64;
    }

    /// When the next one may start; `None` when one may start now.
    pub fn held_until(&self) -> Option<Duration> {
        let missing = 1.0 - self.tokens;
        let wait = Duration::from_secs_f64((missing / self.per_sec).clamp(0.0, 3600.0));
        (missing > 0.0).then(|| self.filled_at + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_sees_more_than_a_tenth_above_its_rate() {
        let mut rate = Rate::new(50.0, Duration::ZERO);
        let mut started = vec![0usize; 10];
        for ms in 0..10_000u64 {
            let available = rate.available(Duration::from_millis(ms));
            rate.take(available);
            started[(ms / 1000) as usize] += available;
        }
        assert!(started.iter().all(|&n| n <= 55), "{started:?}");
        assert!(started.iter().sum::<usize>() >= 490, "{started:?}");
    }

    #[test]
    fn a_slow_rate_still_starts_one() {
        let mut rate = Rate::new(0.5, Duration::ZERO);
        assert_eq!(rate.available(Duration::ZERO), 1);
        rate.take(1);
        assert_eq!(rate.available(Duration::from_secs(1)), 0);
        assert_eq!(rate.held_until(), Some(Duration::from_secs(2)));
        assert_eq!(rate.available(Duration::from_secs(2)), 1);
    }
}
