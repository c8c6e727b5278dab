//! How the log stands: read off the async threads, because it asks the disk.

use std::sync::Arc;

use creel_common::log::AppendError;
use creel_common::log::account::BySource;
use creel_common::log::local::LogFacts;
use creel_common::log::wire::{KeptView, LogView, ReachedView, VolumeView};

/// Reads how the log stands. May block: called on a thread for that.
pub type ReadFacts = Arc<dyn Fn() -> LogFacts + Send + Sync>;

/// Asks how the log stands.
pub async fn read(facts: &ReadFacts) -> LogFacts {
    let facts = facts.clone();
    tokio::task::spawn_blocking(move || facts())
        .await
        .expect("reading facts neither panics nor is cancelled")
}

/// Why nothing is taken just now, bound by bound, in words with what would help.
pub fn reasons(facts: &LogFacts) -> Vec<String> {
    let bounds = facts.reached.iter();
    let bounds = bounds.filter(|reached| reached.bound.stops_intake());
    match &facts.refusing {
        Some(AppendError::Full(_)) => bounds.map(ToString::to_string).collect(),
        other => other.iter().map(ToString::to_string).collect(),
    }
}

/// The facts as they are shown.
pub fn view(facts: LogFacts) -> LogView {
    let account = &facts.account;
    let kept = |sources: BySource| sources.into_iter().map(KeptView::from).collect();
    let volume = |volume| {
        let mut view = VolumeView::from(volume);
        view.kept = kept(account.volume(view.number));
        view.going = facts.going.contains(&view.number);
        view
    };
    LogView {
        kept: kept(account.sources()),
        bounds_reached: facts.reached.iter().map(ReachedView::from).collect(),
        log: facts.log,
        first: facts.first,
        next: facts.next,
        deliveries: facts.deliveries,
        keys: facts.dedupe.map_or(0, |dedupe| dedupe.keys),
        dedupe: facts.dedupe.map(Into::into),
        refuses: facts.refusing.map(|error| error.to_string()),
        used_bytes: facts.space.map(|space| space.used),
        parts: facts.parts.into_iter().map(Into::into).collect(),
        free_bytes: facts.space.map(|space| space.free),
        sources: facts.sources.iter().map(ToString::to_string).collect(),
        volumes: facts.volumes.into_iter().map(volume).collect(),
        gaps: facts.lost,
    }
}
