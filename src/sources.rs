//! From configured sources to verifiers: the pack, the secrets, the overrides.

use std::path::Path;

use creel_common::config::{Config, ItemFacts, Known, OptionFacts, ProviderFacts, Source};
use creel_common::secret::Secret;
use creel_receiver::verify::{OwnPacksError, Pack, PrepareError, Registry, SourceKey, SourceKeys};

use crate::failure::usage;

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
        items: facts.batches.as_ref().map(|batches| ItemFacts {
            path: batches.path.clone(),
            id: batches.id.clone(),
            event_type: batches.event_type.clone(),
        }),
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
            .map(|(key, secret)| SourceKey::new(&key.id, secret.expose()).within(key.window))
            .collect(),
        public_url: config.url_of(source),
        options: source.options.clone(),
        tolerance: source.tolerance,
        idempotency_key: source.idempotency_key.clone(),
        ..SourceKeys::default()
    }
}

/// The packs that a configuration may name: built-in ones, and those in the directory that the
/// file names.
pub fn known(known: &mut Known, config: &Path) {
    let (registry, problems) = packs(config);
    known.providers = facts(&registry);
    known.pack_problems = problems;
}

/// As far as they can be read, with what is wrong with the others.
pub fn packs(config: &Path) -> (Registry, Vec<String>) {
    let directory = creel_common::config::providers_directory(config);
    let mut registry = Registry::built_in();
    let read = directory.map(|directory| registry.add_directory(&directory));
    let problems = match read {
        Some(Err(OwnPacksError(problems))) => problems,
        _ => Vec::new(),
    };
    (registry, problems.iter().map(ToString::to_string).collect())
}

/// The packs of a configuration that was checked.
///
/// # Errors
/// Wrong usage, where they have changed since.
pub fn registry(config: &Config) -> anyhow::Result<Registry> {
    let mut registry = Registry::built_in();
    if let Some(directory) = &config.receiver.providers {
        registry
            .add_directory(directory)
            .map_err(|error| usage(error.to_string()))?;
    }
    Ok(registry)
}
