//! Keys of senders that are fetched.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What came of a fetch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FetchLabel {
    outcome: &'static str,
}

/// Fetches, by what came of them.
#[derive(Debug, Default)]
pub struct KeyCounters {
    fetches: Family<FetchLabel, Counter>,
}

impl KeyCounters {
    /// Has them shown.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "key_fetches",
            "Keys of senders that were fetched by URL, by what came of it",
            self.fetches.clone(),
        );
    }

    /// A key was fetched, or not. `outcome` is of a closed list.
    pub fn fetched(&self, outcome: &'static str) {
        self.fetches.get_or_create(&FetchLabel { outcome }).inc();
    }
}
