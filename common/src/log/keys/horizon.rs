//! For how long the keys that may be kept last, at the rate at which new ones come.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::log::keys::Stock;
use crate::time::Timestamp;

const HOUR: Duration = Duration::from_secs(3600);
/// How often the count of new keys is written down.
const SAMPLE_EVERY: Duration = Duration::from_secs(60);
/// Longer than this is said to be this long.
const HELD_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How repeats are recognised just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dedupe {
    /// Keys on disk.
    pub keys: u64,
    /// Most that are kept.
    pub keys_max: u64,
    /// The longest window of any source.
    pub window: Duration,
    /// How long a key is kept at the current rate of new ones; at most ten years.
    pub held: Duration,
}

impl Dedupe {
    /// Some keys go before their window is over.
    pub fn is_short(&self) -> bool {
        self.held < self.window
    }

    /// Says at the start how it stands.
    pub fn tell(&self) {
        tracing::info!(
            keys = self.keys,
            keys_max = self.keys_max,
            held_hours = hours(self.held),
            window_hours = hours(self.window),
            "idempotency keys, and how long they are kept at the current rate"
        );
    }
}

/// Counts new keys.
#[derive(Debug)]
pub struct Horizon {
    keys_max: u64,
    /// In milliseconds.
    window: AtomicU64,
    noted: AtomicU64,
    /// When (monotonic), and how many until then; of the last hour, one a minute.
    samples: Mutex<VecDeque<(Duration, u64)>>,
    was_short: Mutex<bool>,
}

impl Horizon {
    /// For `keys_max` keys that should last for `window`.
    pub fn new(keys_max: u64, window: Duration) -> Self {
        Self {
            keys_max,
            window: AtomicU64::new(millis(window)),
            noted: AtomicU64::new(0),
            samples: Mutex::default(),
            was_short: Mutex::new(false),
        }
    }

    /// For how long keys should last.
    pub fn window(&self) -> Duration {
        Duration::from_millis(self.window.load(Ordering::Relaxed))
    }

    /// Keys should last for `window` from now on.
    pub fn set_window(&self, window: Duration) {
        self.window.store(millis(window), Ordering::Relaxed);
    }

    /// A new key came.
    pub fn note(&self) {
        self.noted.fetch_add(1, Ordering::Relaxed);
    }

    /// How it stands. The rate is that of the last hour, or the mean over all keys that are kept,
    /// whichever is larger; both are taken over an hour at least, so that a burst is none.
    pub fn look(&self, stock: Stock, wall: Timestamp, mono: Duration) -> Dedupe {
        let noted = self.noted.load(Ordering::Relaxed);
        let lately = noted - self.noted_before(mono, noted);
        let kept_for = stock
            .oldest
            .map_or(Duration::ZERO, |oldest| wall.since(oldest));
        let rate = per_second(lately, HOUR).max(per_second(stock.keys, kept_for.max(HOUR)));
        #[allow(clippy::cast_precision_loss)]
        let held = self.keys_max as f64 / rate;
        Dedupe {
            keys: stock.keys,
            keys_max: self.keys_max,
            window: self.window(),
            held: Duration::try_from_secs_f64(held).map_or(HELD_MAX, |held| held.min(HELD_MAX)),
        }
    }

    /// How many had come an hour ago.
    fn noted_before(&self, mono: Duration, noted: u64) -> u64 {
        let mut samples = self.samples.lock();
        let newest = samples.back().map(|(at, _)| *at);
        if newest.is_none_or(|at| mono >= at + SAMPLE_EVERY) {
            samples.push_back((mono, noted));
        }
        while samples.len() > 1 && samples[0].0 + HOUR < mono {
            samples.pop_front();
        }
        samples[0].1
    }

    /// Whether falling short, or not any more, is news.
    pub fn turned(&self, dedupe: Dedupe) -> bool {
        let mut was_short = self.was_short.lock();
        std::mem::replace(&mut *was_short, dedupe.is_short()) != dedupe.is_short()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whole hours.
pub fn hours(time: Duration) -> u64 {
    time.as_secs() / 3600
}

#[allow(clippy::cast_precision_loss)]
fn per_second(keys: u64, over: Duration) -> f64 {
    keys as f64 / over.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn stock(keys: u64, hours: u64) -> (Stock, Timestamp) {
        let oldest = Some(Timestamp(HOUR_MS));
        (Stock { keys, oldest }, Timestamp(HOUR_MS * (hours + 1)))
    }

    #[test]
    fn what_is_kept_tells_how_long_all_that_may_be_kept_will_last() {
        let horizon = Horizon::new(1000, 72 * HOUR);
        let (keys, now) = stock(100, 10);
        let dedupe = horizon.look(keys, now, HOUR);
        assert_eq!((dedupe.held, dedupe.is_short()), (100 * HOUR, false));
        let (keys, now) = stock(200, 10);
        let dedupe = horizon.look(keys, now, HOUR);
        assert_eq!((dedupe.held, dedupe.is_short()), (50 * HOUR, true));
        assert!(horizon.turned(dedupe) && !horizon.turned(dedupe));
    }

    #[test]
    fn keys_that_come_faster_than_before_shorten_it_and_a_burst_does_not() {
        let horizon = Horizon::new(1000, 72 * HOUR);
        let (keys, now) = stock(100, 100);
        let at = |minutes: u64| Duration::from_secs(60 * minutes);
        let held = |minutes| horizon.look(keys, now, at(minutes)).held;
        assert_eq!(held(0), 1000 * HOUR);
        (0..20).for_each(|_| horizon.note());
        assert_eq!(held(1), 50 * HOUR);
        for minutes in 2..60 {
            assert_eq!(held(minutes), 50 * HOUR);
        }
        // after an hour without any it is forgotten
        assert_eq!(held(70), 1000 * HOUR);
    }

    #[test]
    fn without_keys_they_last_for_ever() {
        let dedupe = Horizon::new(1, HOUR).look(Stock::default(), Timestamp(0), HOUR);
        assert_eq!(dedupe.held, HELD_MAX);
    }
}
