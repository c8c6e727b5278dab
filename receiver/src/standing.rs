//! How secrets and the configuration stand, for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};

use creel_common::time::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::sources::Sources;

type Seconds = Gauge<f64, AtomicU64>;

/// One secret of a source, by its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SecretLabel {
    source: String,
    key: String,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

/// The secrets; set when somebody looks.
#[derive(Debug, Default)]
pub struct SecretGauges {
    used: Family<SecretLabel, Counter>,
    last_used: Family<SecretLabel, Seconds>,
    valid: Family<SourceLabel, Gauge>,
}

impl SecretGauges {
    /// Has them shown.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "source_key_used",
            "Requests that a secret has verified, in earlier processes too",
            self.used.clone(),
        );
        registry.register_with_unit(
            "source_key_last_used",
            "When a secret last verified a request, since 1970",
            Unit::Seconds,
            self.last_used.clone(),
        );
        registry.register(
            "source_keys_valid",
            "Secrets of a source that are valid now",
            self.valid.clone(),
        );
    }

    /// As the sources of now have it; what has left is not shown for ever.
    pub fn set(&self, sources: &Sources, now: Timestamp) {
        self.used.clear();
        self.last_used.clear();
        self.valid.clear();
        for one in sources.uses(now) {
            let label = SecretLabel {
                source: one.source,
                key: one.secret,
            };
            let used = self.used.get_or_create(&label);
            used.inner().store(one.count, Ordering::Relaxed);
            if let Some(last) = one.last {
                self.last_used.get_or_create(&label).set(seconds(last));
            }
        }
        for source in sources.all().iter().filter(|s| !s.secrets.is_empty()) {
            let label = SourceLabel {
                source: source.name.clone(),
            };
            let valid = i64::try_from(source.valid_secrets(now)).unwrap_or(i64::MAX);
            self.valid.get_or_create(&label).set(valid);
        }
    }
}

/// The configuration.
#[derive(Debug, Default)]
pub struct ReloadGauges {
    success: Gauge,
    last: Seconds,
}

impl ReloadGauges {
    /// Has them shown.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "config_reload_success",
            "1 unless the last reload was refused and the configuration before it is still in use",
            self.success.clone(),
        );
        registry.register_with_unit(
            "config_reload_last",
            "When the configuration in use was read, since 1970",
            Unit::Seconds,
            self.last.clone(),
        );
    }

    /// A configuration was taken over at that time, or refused.
    pub fn note(&self, taken_over: bool, at: Timestamp) {
        self.success.set(i64::from(taken_over));
        if taken_over {
            self.last.set(seconds(at));
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn seconds(at: Timestamp) -> f64 {
    at.millis() as f64 / 1000.0
}
