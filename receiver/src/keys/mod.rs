//! What comes to a receiver while it runs: keys by URL, secrets that senders name, calls that they want.
//!
//! ```text
//!  request ─► verifier ─► keyring ── key there ──► verified, or not
//!                            │ wanted: 503, the sender comes again
//!                            ▼
//!              this task ─► web (pinned hosts) ─► keyring, and a file
//! ```
//!
//! None of it is in the way of an answer: a key that is missing is fetched here, and whoever needed it
//! is told to come back. Everything is kept in files, so that a restart does not need the network.

mod calls;
mod learned;
mod shelf;
mod web;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creel_common::config;
use creel_common::time::{Clock, Timestamp};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use self::calls::Calls;
pub use self::learned::{LearnError, Learned, SecretOf};
use self::shelf::Shelf;
pub use self::web::{Web, WebError};
use crate::current::Current;
use crate::metrics::Metrics;
use crate::sources::Sources;
use crate::uses::Tallies;
use crate::verify::{Fetched, KeyKind, Keyring, Wanted};

/// At most so many at once.
const PARALLEL: usize = 4;
/// Between two rounds: a stranger who names many URLs makes us no tool against their host.
const PAUSE: Duration = Duration::from_millis(100);
/// What was fetched longer ago than this is not taken up after a restart.
const RECALL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A document as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    url: String,
    kind: KeyKind,
    fetched_at: Timestamp,
    /// In base64.
    document: String,
}

/// What a receiver fetches, learns and calls.
#[derive(Debug)]
pub struct Keys {
    /// Keys by URL.
    pub ring: Arc<Keyring>,
    /// Secrets that senders named.
    pub learned: Learned,
    /// Calls to be made.
    pub calls: Calls,
    /// How often secrets have verified.
    pub tallies: Arc<Tallies>,
    web: Web,
    shelf: Shelf,
    metrics: Arc<Metrics>,
}

impl Keys {
    /// Those of this configuration. Reads and opens nothing.
    pub fn new(config: &config::Receiver, metrics: Arc<Metrics>, tallies: Arc<Tallies>) -> Self {
        let root: &Path = &config.keys;
        Self {
            ring: Arc::default(),
            learned: Learned::new(root),
            calls: Calls::new(root),
            tallies,
            web: Web::new(config.keys_allow.clone()),
            shelf: Shelf::new(root, "fetched"),
            metrics,
        }
    }

    /// Trusts these certificates instead of the machine's.
    pub fn trusting(self, roots: Vec<reqwest::Certificate>) -> Self {
        Self {
            web: self.web.trusting(roots),
            ..self
        }
    }

    /// Takes up what an earlier run has left. Blocks.
    pub fn recall(&self, now: Timestamp) {
        for kept in self.shelf.all::<Kept>() {
            if now.since(kept.fetched_at) > RECALL_MAX {
                // one that stays is looked at again at the next start
                let _ = self.shelf.remove(&kept.url);
                continue;
            }
            let bytes = STANDARD.decode(&kept.document).unwrap_or_default();
            let fetched_unix_ms = unix_ms(kept.fetched_at);
            if let Err(what) = self
                .ring
                .recall(&kept.url, kept.kind, &bytes, fetched_unix_ms)
            {
                tracing::warn!(url = kept.url, what, "a key that was kept is of no use");
            }
        }
        self.calls.recall();
    }

    /// Keeps a secret that a sender has named, and has its source take it from now on. Goes on to its end
    /// whoever stops waiting for it: what is on disk is what the source has.
    ///
    /// # Errors
    /// [`LearnError::Known`] and [`LearnError::Unfit`] are the sender's, [`LearnError::Disk`] is ours.
    pub async fn learn(
        self: &Arc<Self>,
        sources: &Current<Sources>,
        named: SecretOf,
    ) -> Result<(), LearnError> {
        let (own, sources) = (self.clone(), sources.clone());
        let learning =
            tokio::spawn(async move { own.learned.learn(&sources, &own.tallies, named).await });
        let ended = learning.await;
        ended.unwrap_or_else(|error| Err(LearnError::Disk(std::io::Error::other(error))))
    }

    /// Fetches and calls until told to stop.
    pub async fn run(self: Arc<Self>, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let work = async {
            tokio::join!(self.fetch(&*clock), self.calls.run(&self.web, &*clock));
        };
        stop.run_until_cancelled(work).await;
    }

    async fn fetch(&self, clock: &dyn Clock) {
        loop {
            self.ring.wait(clock.mono()).await;
            let due = self.ring.due(clock.mono(), PARALLEL);
            let nothing = due.is_empty();
            join_all(due.iter().map(|wanted| self.fetch_one(wanted, clock))).await;
            if !nothing {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn fetch_one(&self, wanted: &Wanted, clock: &dyn Clock) {
        let url = &wanted.url;
        let fetched = match self.web.get(url).await {
            Ok(document) => Fetched::Document {
                bytes: document.bytes,
                good_for: document.good_for,
            },
            Err(error @ WebError::Absent(_)) => {
                tracing::warn!(url, %error, "no key there");
                Fetched::Absent
            }
            Err(error) => {
                tracing::warn!(url, %error, "a key cannot be fetched; it is tried again");
                Fetched::Failed
            }
        };
        let now = clock.wall();
        let settled = self
            .ring
            .settle(wanted, &fetched, clock.mono(), unix_ms(now));
        let outcome = match (&settled, &fetched) {
            (Err(what), _) => {
                tracing::warn!(url, what, "what came is of no use; it is tried again");
                "unfit"
            }
            (_, Fetched::Document { bytes, .. }) => {
                self.keep(wanted, bytes, now).await;
                tracing::info!(url, "key fetched");
                "fetched"
            }
            (_, Fetched::Absent) => "absent",
            (_, Fetched::Failed) => "failed",
        };
        self.metrics.keys.fetched(outcome);
    }

    /// A key that could not be kept is fetched again after a restart.
    async fn keep(&self, wanted: &Wanted, bytes: &[u8], now: Timestamp) {
        let kept = Kept {
            url: wanted.url.clone(),
            kind: wanted.kind,
            fetched_at: now,
            document: STANDARD.encode(bytes),
        };
        let shelf = self.shelf.clone();
        let put = tokio::task::spawn_blocking(move || shelf.put(&kept.url, &kept)).await;
        if let Ok(Err(error)) = put {
            tracing::warn!(%error, "a key cannot be kept on disk");
        }
    }
}

fn unix_ms(time: Timestamp) -> i64 {
    i64::try_from(time.millis()).unwrap_or(i64::MAX)
}
