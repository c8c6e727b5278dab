//! How often each secret of each source has verified a request, and when last: so that an old one can
//! be dropped when nobody uses it any more.
//!
//! Counted in memory, kept in the log's state store once a minute and at the end, so that no answer
//! waits for it. After a crash the last minute is missing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use creel_common::log::SecretUse;
use creel_common::log::local::LocalLog;
use creel_common::time::{Clock, Timestamp};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::current::Current;
use crate::sources::Sources;

/// How often the counts are kept.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// The count of one secret.
#[derive(Debug, Default)]
pub struct Tally {
    count: AtomicU64,
    /// Milliseconds since 1970; 0: never.
    last: AtomicU64,
    /// The same; 0: not known yet.
    since: AtomicU64,
}

impl Tally {
    /// It verified what arrived at that time.
    pub fn note(&self, at: Timestamp) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.last.fetch_max(at.millis(), Ordering::Relaxed);
    }

    /// What it comes to; counting begins now unless it has before.
    pub fn read(&self, source: &str, secret: &str, now: Timestamp) -> SecretUse {
        let begin = self.since.compare_exchange(
            0,
            now.millis().max(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        let last = self.last.load(Ordering::Relaxed);
        SecretUse {
            source: source.to_owned(),
            secret: secret.to_owned(),
            count: self.count.load(Ordering::Relaxed),
            last: (last > 0).then_some(Timestamp(last)),
            since: begin.map_or_else(Timestamp, |_| now),
        }
    }

    fn add(&self, kept: &SecretUse) {
        self.count.fetch_add(kept.count, Ordering::Relaxed);
        let last = kept.last.unwrap_or_default();
        self.last.fetch_max(last.millis(), Ordering::Relaxed);
        self.since.store(kept.since.millis(), Ordering::Relaxed);
    }
}

/// The counts of all secrets, also over reloads: as many as there ever were ids in this process.
#[derive(Debug, Default)]
pub struct Tallies(Mutex<HashMap<(String, String), Arc<Tally>>>);

impl Tallies {
    /// The count of a secret by its source and id.
    pub fn of(&self, source: &str, secret: &str) -> Arc<Tally> {
        let key = (source.to_owned(), secret.to_owned());
        self.0.lock().entry(key).or_default().clone()
    }

    /// Adds what earlier processes have counted.
    pub fn restore(&self, kept: &[SecretUse]) {
        for one in kept {
            self.of(&one.source, &one.secret).add(one);
        }
    }
}

/// Keeps the counts of the configured secrets in the log from time to time, until the stop.
pub async fn keep_until(
    stop: CancellationToken,
    sources: Current<Sources>,
    log: Arc<LocalLog>,
    clock: Arc<dyn Clock>,
) {
    let wait = || tokio::time::sleep(KEEP_EVERY);
    while stop.run_until_cancelled(wait()).await.is_some() {
        keep(&sources, &log, &*clock).await;
    }
}

/// Keeps them now, unless the log is full or has stopped.
pub async fn keep(sources: &Current<Sources>, log: &LocalLog, clock: &dyn Clock) {
    if log.ready().is_err() {
        // on a disk that is nearly full the room is for settling
        return;
    }
    let uses = sources.now().uses(clock.wall());
    if let Err(error) = log.keep_secret_uses(uses).await {
        tracing::warn!(%error, "how often secrets were used could not be kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_from_what_was_kept() {
        let tallies = Tallies::default();
        let tally = tallies.of("gh", "old");
        assert_eq!(tally.read("gh", "old", Timestamp(5)).last, None);
        tally.note(Timestamp(70));
        let kept = SecretUse {
            source: "gh".into(),
            secret: "old".into(),
            count: 3,
            last: Some(Timestamp(60)),
            since: Timestamp(2),
        };
        tallies.restore(std::slice::from_ref(&kept));
        let now = tallies.of("gh", "old").read("gh", "old", Timestamp(80));
        let expected = SecretUse {
            count: 4,
            last: Some(Timestamp(70)),
            ..kept
        };
        assert_eq!(now, expected);
    }
}
