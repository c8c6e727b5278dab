//! Idempotency keys: how many, and for how long repeats are recognised.

use std::time::Duration;

use creel_common::log::keys::Dedupe;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Seconds, signed};

/// For how long repeats are recognised; set when somebody looks.
#[derive(Debug, Default)]
pub(super) struct DedupeGauges {
    keys: Gauge,
    keys_max: Gauge,
    held: Seconds,
    window: Seconds,
    short: Gauge,
}

impl DedupeGauges {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("dedupe_keys", "Idempotency keys on disk", self.keys.clone());
        r.register(
            "dedupe_keys_max",
            "Most idempotency keys that are kept",
            self.keys_max.clone(),
        );
        r.register(
            "dedupe_hours_held",
            "Hours that a key is kept at the current rate of new ones",
            self.held.clone(),
        );
        r.register(
            "dedupe_window_hours",
            "Longest dedupe window of any source",
            self.window.clone(),
        );
        r.register(
            "dedupe_window_short",
            "1 while keys go before their window is over",
            self.short.clone(),
        );
    }

    pub(super) fn set(&self, dedupe: &Dedupe) {
        let hours = |time: Duration| time.as_secs_f64() / 3600.0;
        self.keys.set(signed(dedupe.keys));
        self.keys_max.set(signed(dedupe.keys_max));
        self.held.set(hours(dedupe.held));
        self.window.set(hours(dedupe.window));
        self.short.set(i64::from(dedupe.is_short()));
    }
}
