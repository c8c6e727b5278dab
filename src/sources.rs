//! From configured sources to verifiers: the pack, the secrets, the overrides.

use creel_common::config::{Config, Known, OptionFacts, ProviderFacts, Source};
use creel_common::secret::Secret;
use creel_receiver::verify::{Pack, PrepareError, Registry, SourceKey, SourceKeys};

/// What the check of a configuration needs to know of every pack.
pub fn facts(registry: &Registry) -> Vec<ProviderFacts> {
    registry.packs().map(of_pack).collect()
}

fn of_pack(pack: &std::sync::Arc<Pack>) -> ProviderFacts {
    let facts = pack.facts();
    // a pack knows best itself: what would a source without a secret say?
    let bare = pack.prepare(&SourceKeys::default());
    ProviderFacts {
        name: facts.name.clone(),
        needs_secret: matches!(bare, Err(PrepareError::NoSecret { .. })),
        verifies: facts.name != "none",
        options: facts
            .options
            .iter()
            .map(|option| OptionFacts {
                name: option.name.clone(),
                required: option.required,
            })
            .collect(),
    }
}

/// What a source brings to its pack.
pub fn keys(config: &Config, source: &Source, secrets: &[Secret]) -> SourceKeys {
    let named = source.secrets.iter().zip(secrets);
    SourceKeys {
        secrets: named
            .map(|(reference, secret)| SourceKey::new(reference.to_string(), secret.expose()))
            .collect(),
        public_url: source
            .public_url
            .clone()
            .or_else(|| config.receiver.public_url.clone()),
        options: source.options.clone(),
        tolerance: source.tolerance,
        idempotency_key: source.idempotency_key.clone(),
    }
}

/// The packs that a configuration may name.
pub fn known(known: &mut Known) {
    known.providers = facts(&Registry::built_in());
}
