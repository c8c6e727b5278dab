//! URLs that a sender wants called back, to confirm that this endpoint is ours.
//!
//! The handshake is answered once the call is kept; it is made afterwards, again and again until the host
//! has answered, also after a restart.

use std::path::Path;
use std::time::Duration;

use creel_common::time::{Clock, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::shelf::Shelf;
use super::web::{Web, WebError};

/// More than these at once are not kept: the sender comes again.
const CALLS_MAX: usize = 256;
/// A confirmation of SNS is good for three days.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3 * 24 * 3600);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Call {
    source: String,
    url: String,
    since: Timestamp,
    #[serde(skip)]
    tries: u32,
    #[serde(skip)]
    due: Duration,
}

/// Calls that are to be made.
#[derive(Debug)]
pub struct Calls {
    shelf: Shelf,
    open: Mutex<Vec<Call>>,
    bell: Notify,
}

impl Calls {
    pub fn new(root: &Path) -> Self {
        Self {
            shelf: Shelf::new(root, "calls"),
            open: Mutex::default(),
            bell: Notify::new(),
        }
    }

    /// Takes up what an earlier run has left. Blocks.
    pub fn recall(&self) {
        let mut left = self.shelf.all::<Call>();
        left.truncate(CALLS_MAX);
        *self.open.lock() = left;
        self.bell.notify_one();
    }

    /// Keeps a call; it is made soon.
    ///
    /// # Errors
    /// The disk's, or that there are too many.
    pub async fn keep(&self, source: &str, url: String, now: Timestamp) -> std::io::Result<()> {
        if self.open.lock().len() >= CALLS_MAX {
            return Err(std::io::Error::other("too many calls are to be made"));
        }
        let call = Call {
            source: source.to_owned(),
            url,
            since: now,
            tries: 0,
            due: Duration::ZERO,
        };
        let (shelf, kept) = (self.shelf.clone(), call.clone());
        tokio::task::spawn_blocking(move || shelf.put(&kept.url, &kept))
            .await
            .map_err(std::io::Error::other)??;
        let mut open = self.open.lock();
        if !open.iter().any(|other| other.url == call.url) {
            open.push(call);
        }
        drop(open);
        self.bell.notify_one();
        Ok(())
    }

    /// Makes calls for as long as it is polled.
    pub async fn run(&self, web: &Web, clock: &dyn Clock) {
        loop {
            let next = self.open.lock().iter().map(|call| call.due).min();
            let rung = self.bell.notified();
            match next.map(|due| due.saturating_sub(clock.mono())) {
                None => rung.await,
                Some(Duration::ZERO) => {}
                Some(wait) => {
                    let _ = tokio::time::timeout(wait, rung).await;
                }
            }
            let now = clock.mono();
            let due = self
                .open
                .lock()
                .iter()
                .find(|call| call.due <= now)
                .cloned();
            if let Some(call) = due {
                let settled = make(web, &call, clock.wall()).await;
                self.settle(&call, settled, clock.mono()).await;
            }
        }
    }

    async fn settle(&self, call: &Call, settled: bool, now: Duration) {
        if !settled {
            let mut open = self.open.lock();
            if let Some(call) = open.iter_mut().find(|other| other.url == call.url) {
                let pause = RETRY_FIRST * 2u32.pow(call.tries.min(10));
                call.tries = call.tries.saturating_add(1);
                call.due = now + pause.min(RETRY_LAST);
            }
            return;
        }
        self.open.lock().retain(|other| other.url != call.url);
        let (shelf, url) = (self.shelf.clone(), call.url.clone());
        let removed = tokio::task::spawn_blocking(move || shelf.remove(&url)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(%error, "a call that was made stays on disk, and is made again at the next start");
        }
    }
}

/// Whether there is nothing more to do. The URL holds a token: it is not told.
async fn make(web: &Web, call: &Call, now: Timestamp) -> bool {
    let source = &call.source;
    match web.get(&call.url).await {
        Ok(_) => {
            tracing::info!(
                source,
                "the sender's URL was called: it knows now that this endpoint is ours"
            );
            true
        }
        Err(WebError::Absent(status)) => {
            tracing::error!(source, %status, "the sender's URL does not confirm this endpoint; have the sender ask again");
            true
        }
        Err(error) if now.since(call.since) > GIVE_UP_AFTER => {
            tracing::error!(source, %error, "the sender's URL could not be called for too long; have the sender ask again");
            true
        }
        Err(error) => {
            tracing::warn!(source, %error, "the sender's URL cannot be called yet; it is tried again");
            false
        }
    }
}
