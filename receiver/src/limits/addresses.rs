//! A bucket for each address, for so many addresses and no more.
//!
//! A table of fixed size: sets of a few entries, each with a lock of its own that is held for a few
//! instructions. Where a set is full, the entry goes whose bucket is nearest to full: one that is full
//! says nothing, and to forget another only lets its sender begin anew. So a stranger with more
//! addresses than there are entries gains what it has anyway, a burst for each of them, and nobody is
//! ever refused because of a stranger. The hash is keyed, so that nobody can aim at a set.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;

use super::pace::Pace;

/// With [`WAYS`] this makes 65,536 addresses, in 1.2 MB.
const SETS: usize = 16_384;
/// Entries of a set.
const WAYS: usize = 4;

type Set = Mutex<[Entry; WAYS]>;

/// The buckets of all addresses. Takes no memory before it is first asked.
#[derive(Debug, Default)]
pub struct Addresses {
    sets: OnceLock<Box<[Set]>>,
    dice: RandomState,
}

#[derive(Debug, Default, Clone, Copy)]
struct Entry {
    /// Stands for the address, and for what it is limited in and how.
    tag: u64,
    full_at: u64,
}

impl Addresses {
    /// Takes one from the bucket that this address has for `scope`.
    ///
    /// # Errors
    /// It is empty for so long.
    pub fn take(
        &self,
        scope: &str,
        pace: Pace,
        address: IpAddr,
        now: Duration,
    ) -> Result<(), Duration> {
        let sets = self
            .sets
            .get_or_init(|| (0..SETS).map(|_| Set::default()).collect());
        let tag = self.dice.hash_one((scope, pace, sender(address)));
        let mut set = sets[tag as usize % SETS].lock();
        let known = set.iter().position(|entry| entry.tag == tag);
        let entry = match known {
            Some(place) => &mut set[place],
            None => {
                let fullest = set.iter_mut().min_by_key(|entry| entry.full_at);
                let entry = fullest.expect("a set has entries");
                *entry = Entry { tag, full_at: 0 };
                entry
            }
        };
        entry.full_at = pace.take(entry.full_at, now)?;
        Ok(())
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
    use std::net::{Ipv4Addr, Ipv6Addr};

    use creel_common::config::Rate;

    use super::*;

    fn taken(addresses: &Addresses, address: &str, asked: u32, now: Duration) -> u32 {
        let pace = Pace::new(Rate {
            per_second: 10.0,
            burst: 20,
        });
        let address = address.parse().unwrap();
        let take = |_| u32::from(addresses.take("", pace, address, now).is_ok());
        (0..asked).map(take).sum()
    }

    #[test]
    fn one_address_has_its_rate_and_takes_nothing_from_another() {
        let all = Addresses::default();
        assert_eq!(taken(&all, "192.0.2.1", 100, Duration::ZERO), 20);
        assert_eq!(taken(&all, "::ffff:192.0.2.1", 1, Duration::ZERO), 0);
        assert_eq!(taken(&all, "192.0.2.2", 100, Duration::ZERO), 20);
        assert_eq!(taken(&all, "192.0.2.1", 100, Duration::from_secs(1)), 10);
        assert_eq!(taken(&all, "192.0.2.1", 100, Duration::from_secs(60)), 20);
    }

    #[test]
    fn a_network_of_64_bits_is_one_sender() {
        let all = Addresses::default();
        assert_eq!(taken(&all, "2001:db8::1", 100, Duration::ZERO), 20);
        assert_eq!(taken(&all, "2001:db8::2", 100, Duration::ZERO), 0);
        assert_eq!(taken(&all, "2001:db8:0:1::2", 100, Duration::ZERO), 20);
    }

    #[test]
    fn what_is_counted_for_one_scope_is_not_for_another() {
        let all = Addresses::default();
        let pace = Pace::new(Rate {
            per_second: 1.0,
            burst: 1,
        });
        let take = |scope| all.take(scope, pace, Ipv4Addr::LOCALHOST.into(), Duration::ZERO);
        assert!(take("a").is_ok() && take("b").is_ok());
        assert!(take("a").is_err() && take("b").is_err());
    }

    #[test]
    fn however_many_addresses_there_are_memory_is_bounded_and_nobody_new_is_refused() {
        let all = Addresses::default();
        let pace = Pace::new(Rate {
            per_second: 1.0,
            burst: 1,
        });
        for network in 0..300_000_u128 {
            let address = Ipv6Addr::from_bits(network << 64 | 1);
            assert_eq!(all.take("", pace, address.into(), Duration::ZERO), Ok(()));
        }
        let sets = all.sets.get().unwrap();
        assert_eq!(sets.len(), SETS);
        assert!(size_of::<Set>() * SETS < 1_300_000);
    }

    #[test]
    fn a_sender_over_its_rate_is_still_known_after_thousands_of_others() {
        let all = Addresses::default();
        assert_eq!(taken(&all, "192.0.2.1", 100, Duration::ZERO), 20);
        for number in 0..20_000 {
            let address = Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
            taken(&all, &address, 1, Duration::ZERO);
        }
        assert_eq!(taken(&all, "192.0.2.1", 1, Duration::ZERO), 0);
    }
}
