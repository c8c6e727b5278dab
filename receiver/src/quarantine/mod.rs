//! Quarantine: a capped, expiring place for requests that failed verification, so that a wrong secret
//! loses nothing.
//!
//! ```text
//!  ingest ── refused ──► rate ──► inbox ──► writer ──► store (lanes of files)
//!                        per address, bounded  a thread      │
//!                                                            ▼
//!                people ──► calls ──► review ── genuine ──► log
//! ```
//!
//! It is no part of the log: other files, caps of its own, and nothing that happens to it changes what
//! a sender is answered or ends the process. A refusal waits for nothing here: it is copied into a
//! bounded inbox, or counted. The answer was 401 and promised nothing, so what the last second
//! brought may go with a crash.

pub(crate) mod calls;
mod dirs;
mod intent;
mod item;
mod pending;
mod review;
mod segment;
mod shown;
mod store;
mod walk;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use creel_common::config::{Config, Rate};
use creel_common::ids::QuarantineId;
use creel_common::log::wire::Chosen;
use creel_common::time::Clock;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

pub use self::item::{Item, ItemHead};
pub use self::store::SourceFacts;

use self::store::{Caps, Place, Store};
use self::walk::{Walk, Wanted};
use self::writer::{Inbox, Writer};
use crate::limits::{Addresses, Pace};
use crate::metrics::Metrics;
use crate::verify::Reason;

/// Most bytes that wait for the thread.
const INBOX_BYTES: usize = 32 << 20;
/// How long a call waits for what an earlier run left to be read.
const SCAN_WAIT: Duration = Duration::from_secs(20);
/// Nothing is written while less than so many reserves of the log are free: history gives way at one
/// and a half, and this before it.
const RESERVES: u64 = 2;

/// As many of one address are kept at once as come in this long.
const BURST: Duration = Duration::from_secs(2);

/// Dropped because its address sent too many.
const DROPPED_RATE: &str = "rate";
/// Dropped because too much waited for the disk.
const DROPPED_QUEUE: &str = "queue";
/// Dropped because it alone would take too much of the room.
const DROPPED_TOO_LARGE: &str = "too_large";
/// Dropped because the disk is short or failed.
const DROPPED_DISK: &str = "disk";

/// What is shared between those who refuse, the thread, and those who look.
pub struct Shared {
    store: Mutex<Store>,
    inbox: Mutex<Inbox>,
    bell: Condvar,
    scanned: watch::Sender<bool>,
    /// How many turns the thread has written.
    turns: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

impl Shared {
    fn dropped(&self, source: &str, why: &'static str, count: u64) {
        self.metrics.quarantine_dropped(source, why, count);
    }
}

/// The quarantine of a receiver.
pub struct Quarantine {
    shared: Arc<Shared>,
    /// Of each address; asked before anything is copied, so that a flood costs next to nothing.
    pace: Pace,
    addresses: Addresses,
    caps: Caps,
    dir: PathBuf,
    /// One change at a time: what is under way is noted in one place.
    changes: tokio::sync::Mutex<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Quarantine {
    /// The quarantine of this configuration, and its thread. `None` where it is switched off, or (told
    /// in the log) where there can be no thread.
    pub fn open(
        config: &Config,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Option<Arc<Self>> {
        let own = &config.quarantine;
        if own.max_bytes == 0 {
            return None;
        }
        let caps = Caps::from(own);
        let shared = Arc::new(Shared {
            store: Mutex::new(Store::new(&own.path, caps)),
            inbox: Mutex::default(),
            bell: Condvar::new(),
            scanned: watch::Sender::new(false),
            turns: watch::Sender::new(0),
            metrics,
        });
        let writer = Writer {
            shared: shared.clone(),
            dir: own.path.clone(),
            keep_free_bytes: config.log.reserve_bytes.saturating_mul(RESERVES),
            clock,
            lock: None,
        };
        let thread = std::thread::Builder::new().name("quarantine".into());
        let thread = thread
            .spawn(move || writer.run())
            .inspect_err(
                |error| tracing::error!(%error, "there is no quarantine: no thread for it"),
            )
            .ok()?;
        Some(Arc::new(Self {
            shared,
            pace: pace(own.per_address),
            addresses: Addresses::default(),
            caps,
            dir: own.path.clone(),
            changes: tokio::sync::Mutex::default(),
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Offers a request that was refused; `now` is monotonic. Waits for nothing. It is made with `make`
    /// only if it is to be kept.
    pub fn offer(
        &self,
        source: &str,
        reason: Reason,
        remote: IpAddr,
        now: Duration,
        make: impl FnOnce() -> Item,
    ) {
        if !is_kept(reason) {
            return;
        }
        if self.addresses.take("", self.pace, remote, now).is_err() {
            return self.shared.dropped(source, DROPPED_RATE, 1);
        }
        let item = make();
        let weight = item.weight();
        if weight as u64 > self.caps.item_bytes() {
            return self.shared.dropped(source, DROPPED_TOO_LARGE, 1);
        }
        let mut inbox = self.shared.inbox.lock();
        if inbox.closed || inbox.bytes + weight > INBOX_BYTES.max(weight) {
            drop(inbox);
            return self.shared.dropped(source, DROPPED_QUEUE, 1);
        }
        inbox.bytes += weight;
        inbox.items.push(item);
        if inbox.bytes > INBOX_BYTES / 4 {
            self.shared.bell.notify_one();
        }
    }

    /// What is kept of each source. Blocks for a moment.
    pub fn facts(&self) -> BTreeMap<String, SourceFacts> {
        self.shared.store.lock().facts()
    }

    /// Waits until what an earlier run left has been read; whether it has.
    async fn is_read(&self) -> bool {
        let mut scanned = self.shared.scanned.subscribe();
        let waited = tokio::time::timeout(SCAN_WAIT, scanned.wait_for(|done| *done));
        waited.await.is_ok_and(|done| done.is_ok())
    }

    /// Begins a walk over what is there now. Blocks.
    fn walk(&self, which: &Chosen, from: Option<QuarantineId>) -> io::Result<Walk> {
        let files = self.shared.store.lock().reading(which.source.as_deref());
        Walk::new(files, Wanted::new(which, from))
    }

    /// Takes these out for good. Blocks.
    fn remove(&self, places: &[Place]) -> io::Result<u64> {
        self.shared.store.lock().remove_items(places)
    }

    /// Writes what waits, syncs, and ends the thread. Blocks.
    pub fn close(&self) {
        self.shared.inbox.lock().closed = true;
        self.shared.bell.notify_all();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the quarantine has panicked");
        }
    }
}

fn pace(per_second: f64) -> Pace {
    Pace::new(Rate {
        per_second,
        burst: (per_second * BURST.as_secs_f64()).max(1.0) as u32,
    })
}

/// Whether a request with this reason could ever be a delivery, or says something to people.
fn is_kept(reason: Reason) -> bool {
    // a method that no sender uses, a source that takes nothing but handshakes, a handshake
    !matches!(
        reason,
        Reason::Method | Reason::NoScheme | Reason::HandshakeToken
    )
}

#[cfg(test)]
mod tests;
