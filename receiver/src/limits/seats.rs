//! How many connections one address has open: no more than its part, so that it leaves some to others.
//!
//! What is over is closed at once and without a word: nothing was read, and on TLS nothing that could
//! be written would be understood. To its sender that is an endpoint that cannot be reached.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use creel_common::time::Clock;
use ipnet::IpNet;
use parking_lot::Mutex;

use super::addresses::sender;
use crate::forwarded::is_trusted;
use crate::ingest::NO_SOURCE;
use crate::metrics::Metrics;
use crate::quiet::{Quiet, Tell};

/// The word in metrics and in the log.
const REASON: &str = "connections_per_address";

/// The connections of one listener by address: as many entries as connections are open at most.
pub struct Seats {
    max: usize,
    /// Networks that many senders come through.
    exempt: Vec<IpNet>,
    open: Mutex<HashMap<u128, usize>>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    quiet: Quiet,
}

/// The place of one connection; given back when dropped.
#[derive(Debug)]
pub struct Seat(Option<(Arc<Seats>, u128)>);

/// A place for one more connection of that address; none if it has its part. Without a seats there is
/// always one.
pub fn enter(seats: Option<&Arc<Seats>>, address: IpAddr) -> Option<Seat> {
    seats.map_or(Some(Seat(None)), |seats| seats.enter(address))
}

impl Seats {
    /// At most `max` for each address that is in none of the networks of `exempt`.
    pub fn new(
        max: usize,
        exempt: Vec<IpNet>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            max,
            exempt,
            open: Mutex::default(),
            metrics,
            clock,
            quiet: Quiet::default(),
        })
    }

    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let address = address.to_canonical();
        if is_trusted(address, &self.exempt) {
            return Some(Seat(None));
        }
        let sender = sender(address);
        if self.is_full(sender) {
            self.refused(address);
            return None;
        }
        Some(Seat(Some((self.clone(), sender))))
    }

    /// Counts one more unless there are enough.
    fn is_full(&self, sender: u128) -> bool {
        let mut open = self.open.lock();
        let count = open.entry(sender).or_default();
        let full = *count >= self.max;
        *count += usize::from(!full);
        full
    }

    fn leave(&self, sender: u128) {
        let mut open = self.open.lock();
        let Some(count) = open.get_mut(&sender) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            open.remove(&sender);
        }
    }

    fn refused(&self, remote: IpAddr) {
        self.metrics.refused(NO_SOURCE, REASON);
        if let Tell::Yes { left_out } = self.quiet.ask(usize::MAX, REASON, self.clock.mono()) {
            let max = self.max;
            tracing::info!(%remote, reason = REASON, max, left_out, "a connection was closed: its address has too many");
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((seats, sender)) = self.0.take() {
            seats.leave(sender);
        }
    }
}

impl fmt::Debug for Seats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Seats");
        shown.field("max", &self.max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use creel_common::testkit::clock::ManualClock;

    use super::*;

    #[test]
    fn an_address_has_its_part_and_a_proxy_as_many_as_there_are() {
        let seats = Seats::new(
            2,
            vec!["10.0.0.0/8".parse().unwrap()],
            Arc::new(Metrics::new("0")),
            Arc::new(ManualClock::default()),
        );
        let seat = |address: &str| enter(Some(&seats), address.parse().unwrap());
        let (first, second) = (seat("192.0.2.1"), seat("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(seat("192.0.2.1").is_none());
        let other = seat("192.0.2.2");
        assert!(other.is_some());
        drop(first);
        let again = seat("192.0.2.1");
        assert!(again.is_some() && seat("192.0.2.1").is_none());
        let proxied: Vec<Option<Seat>> = (0..50).map(|_| seat("10.1.2.3")).collect();
        assert!(proxied.iter().all(Option::is_some));
        drop((second, other, again, proxied));
        assert!(seats.open.lock().is_empty());
    }
}
