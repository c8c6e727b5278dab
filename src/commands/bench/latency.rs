//! A histogram of latencies: constant memory, about 1 % precise.

use std::time::Duration;

/// Buckets per power of two.
const STEPS_BITS: u32 = 6;
const STEPS: usize = 1 << STEPS_BITS;
/// Powers of two of nanoseconds above the exact ones: up to 2^40 ns, 18 minutes.
const POWERS: usize = 34;

/// Latencies by size.
#[derive(Clone)]
pub struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            counts: vec![0; (POWERS + 1) * STEPS],
            total: 0,
        }
    }
}

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let last = self.counts.len() - 1;
        self.counts[bucket(nanos).min(last)] += 1;
        self.total += 1;
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The latency that `share` (0.0 to 1.0) of all do not exceed; zero when there are none.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(upper(index));
            }
        }
        Duration::ZERO
    }
}

fn bucket(nanos: u64) -> usize {
    let power = (64 - nanos.leading_zeros()).saturating_sub(STEPS_BITS + 1);
    let step = (nanos >> power) as usize;
    // above the exact ones, `step` has its highest bit set: it runs from STEPS to 2 × STEPS
    power as usize * STEPS + step
}

fn upper(bucket: usize) -> u64 {
    if bucket < 2 * STEPS {
        return bucket as u64;
    }
    let power = bucket / STEPS - 1;
    let step = bucket - power * STEPS;
    ((step as u64 + 1) << power) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_lies_at_or_below_its_bucket_by_no_more_than_two_percent() {
        for exponent in 0..39 {
            for offset in [0, 1, 7, 1000] {
                let nanos = (1u64 << exponent) + offset;
                let shown = upper(bucket(nanos));
                assert!(shown >= nanos, "{nanos} {shown}");
                assert!(shown - nanos <= nanos / 50 + 1, "{nanos} {shown}");
            }
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_added() {
        let mut latencies = Latencies::default();
        for micros in 1..=1000 {
            latencies.add(Duration::from_micros(micros));
        }
        let near = |share: f64, micros: u64| {
            let got = latencies.quantile(share).as_micros();
            assert!(
                got.abs_diff(u128::from(micros)) <= u128::from(micros / 40),
                "{got}"
            );
        };
        near(0.5, 500);
        near(0.99, 990);
        assert_eq!(Latencies::default().quantile(0.5), Duration::ZERO);
    }
}
