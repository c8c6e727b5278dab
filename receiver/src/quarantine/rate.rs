//! How many requests of one sender are kept: a bucket for each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

/// Most addresses that are remembered.
const ADDRESSES_MAX: usize = 65_536;
/// A bucket holds what comes in this long.
const BURST: Duration = Duration::from_secs(2);

/// The buckets. Asked before anything is copied, so that a flood costs next to nothing.
#[derive(Debug)]
pub struct Rate {
    per_second: f64,
    buckets: Mutex<HashMap<u128, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

impl Rate {
    /// At most `per_second` of one address.
    pub fn new(per_second: f64) -> Self {
        Self {
            per_second,
            buckets: Mutex::default(),
        }
    }

    fn burst(&self) -> f64 {
        (self.per_second * BURST.as_secs_f64()).max(1.0)
    }

    /// Whether one more of this address is kept now (monotonic time).
    pub fn take(&self, address: IpAddr, now: Duration) -> bool {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= ADDRESSES_MAX {
            let filled = |bucket: &Bucket| bucket.filled(self.per_second, now) >= self.burst();
            buckets.retain(|_, bucket| !filled(bucket));
        }
        if buckets.len() >= ADDRESSES_MAX {
            // everybody starts anew; caps and lanes still hold
            buckets.clear();
        }
        let bucket = buckets.entry(sender(address)).or_insert(Bucket {
            tokens: self.burst(),
            at: now,
        });
        bucket.tokens = bucket.filled(self.per_second, now).min(self.burst());
        bucket.at = now;
        let enough = bucket.tokens >= 1.0;
        if enough {
            bucket.tokens -= 1.0;
        }
        enough
    }
}

impl Bucket {
    fn filled(&self, per_second: f64, now: Duration) -> f64 {
        self.tokens + now.saturating_sub(self.at).as_secs_f64() * per_second
    }
}

/// What counts as one sender: an IPv4 address, or an IPv6 network of 64 bits, all of which one
/// customer has.
pub fn sender(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 | 1 << 127,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: &Rate, address: &str, asked: u32, now: Duration) -> u32 {
        let address = address.parse().unwrap();
        (0..asked).map(|_| u32::from(rate.take(address, now))).sum()
    }

    #[test]
    fn one_address_has_its_rate_and_takes_nothing_from_another() {
        let rate = Rate::new(10.0);
        assert_eq!(taken(&rate, "192.0.2.1", 100, Duration::ZERO), 20);
        assert_eq!(taken(&rate, "::ffff:192.0.2.1", 1, Duration::ZERO), 0);
        assert_eq!(taken(&rate, "192.0.2.2", 100, Duration::ZERO), 20);
        assert_eq!(taken(&rate, "192.0.2.1", 100, Duration::from_secs(1)), 10);
        assert_eq!(taken(&rate, "192.0.2.1", 100, Duration::from_secs(60)), 20);
    }

    #[test]
    fn a_network_of_64_bits_is_one_sender() {
        let rate = Rate::new(10.0);
        assert_eq!(taken(&rate, "2001:db8::1", 100, Duration::ZERO), 20);
        assert_eq!(taken(&rate, "2001:db8::2", 100, Duration::ZERO), 0);
        assert_eq!(taken(&rate, "2001:db8:0:1::2", 100, Duration::ZERO), 20);
    }

    #[test]
    fn however_many_addresses_there_are_memory_is_bounded() {
        let rate = Rate::new(1.0);
        for number in 0..200_000_u32 {
            assert!(rate.take(std::net::Ipv4Addr::from_bits(number).into(), Duration::ZERO));
        }
        assert!(rate.buckets.lock().len() <= ADDRESSES_MAX);
    }
}
