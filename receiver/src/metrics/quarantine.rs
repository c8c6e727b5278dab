//! What is in quarantine.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::label::{RefusedLabel, SourceLabel, label};
use super::{Now, Seconds, signed};

/// What is in quarantine; set when somebody looks.
#[derive(Debug, Default)]
pub(super) struct QuarantineGauges {
    items: Family<RefusedLabel, Gauge>,
    bytes: Family<SourceLabel, Gauge>,
    oldest: Family<SourceLabel, Seconds>,
}

impl QuarantineGauges {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register(
            "quarantine_items",
            "Requests in quarantine, by the reason of their refusal",
            self.items.clone(),
        );
        r.register_with_unit(
            "quarantine",
            "What the quarantine takes",
            Unit::Bytes,
            self.bytes.clone(),
        );
        r.register_with_unit(
            "quarantine_oldest_age",
            "Age of the oldest request in quarantine",
            Unit::Seconds,
            self.oldest.clone(),
        );
    }

    pub(super) fn set(&self, now: Now<'_>) {
        self.items.clear();
        self.bytes.clear();
        self.oldest.clear();
        for (source, facts) in now.quarantine {
            for (reason, count) in &facts.items {
                let label = RefusedLabel {
                    source: source.clone(),
                    reason: reason.name(),
                };
                self.items.get_or_create(&label).set(signed(*count));
            }
            let source = label(source);
            self.bytes.get_or_create(&source).set(signed(facts.bytes));
            let age = facts.oldest.map(|oldest| now.wall.since(oldest));
            let seconds = age.unwrap_or_default().as_secs_f64();
            self.oldest.get_or_create(&source).set(seconds);
        }
    }
}
