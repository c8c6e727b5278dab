//! How the log stands: read off the async threads, because it asks the disk.

use std::sync::Arc;

use creel_common::log::local::LogFacts;
use creel_common::log::wire::LogView;

/// Reads how the log stands. May block: called on a thread for that.
pub type ReadFacts = Arc<dyn Fn() -> LogFacts + Send + Sync>;

/// Asks how the log stands.
pub async fn read(facts: &ReadFacts) -> LogFacts {
    let facts = facts.clone();
    tokio::task::spawn_blocking(move || facts())
        .await
        .expect("reading facts neither panics nor is cancelled")
}

/// The facts as they are shown.
pub fn view(facts: LogFacts) -> LogView {
    LogView {
        log: facts.log,
        first: facts.first,
        next: facts.next,
        deliveries: facts.deliveries,
        keys: facts.dedupe.map_or(0, |dedupe| dedupe.keys),
        dedupe: facts.dedupe.map(Into::into),
        refuses: facts.refusing.map(|error| error.to_string()),
        used_bytes: facts.space.map(|space| space.used),
        free_bytes: facts.space.map(|space| space.free),
        sources: facts.sources.iter().map(ToString::to_string).collect(),
        volumes: facts.volumes.into_iter().map(Into::into).collect(),
        gaps: facts.lost,
    }
}
