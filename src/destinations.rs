//! The worker's kinds of destination, as the check of a configuration asks for them.

use creel_common::config::DestinationKinds;
use creel_worker::destinations;

/// The kinds that are built in.
pub struct Kinds;

impl DestinationKinds for Kinds {
    fn names(&self) -> Vec<&'static str> {
        destinations::names()
    }

    fn check(&self, kind: &str, settings: &toml::Table) -> Vec<(String, String)> {
        destinations::check(kind, settings)
    }
}
