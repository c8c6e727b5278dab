//! Keys that come by URL: what is known of them, and what is wanted.
//!
//! Whoever judges a request only looks here and never waits: a key that is not there is noted as wanted,
//! and the request is put off. Whoever fetches takes what is wanted from here and puts back what came.
//! Bounded: a stranger can want at most [`WANTED_MAX`] URLs of a pinned host at a time, and one that
//! turned out not to exist makes room for the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::certificate::Certificate;
use super::key::Key;
use super::reason::Reason;

/// Most URLs without a key that are remembered.
const WANTED_MAX: usize = 64;
/// Most keys that are kept.
const KEPT_MAX: usize = 256;
/// A set of keys is fetched again for a name that is not in it, but not more often than this.
const AGAIN_AFTER_MS: i64 = 60_000;
/// A URL that its host does not know is not asked for again within.
const ABSENT_MS: i64 = 60_000;
/// A key that could not be refreshed for so long counts as missing.
const STALE_AFTER_MS: i64 = 7 * 24 * 3_600_000;
/// The first pause after a try that failed; it doubles with each.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(60);

/// What is at a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// An X.509 certificate, in PEM or DER.
    Certificate,
    /// A JSON Web Key Set.
    KeySet,
}

/// A key that is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub url: String,
    pub kind: KeyKind,
}

#[derive(Clone)]
enum Document {
    Certificate(Arc<Certificate>),
    KeySet(Arc<Key>),
}

struct Slot {
    kind: KeyKind,
    document: Option<Document>,
    fetched_unix_ms: i64,
    /// Its host does not know it, as of then.
    absent_unix_ms: Option<i64>,
    /// It is to be fetched at this monotonic time; `None`: not unless somebody wants it.
    due: Option<Duration>,
    under_way: bool,
    failures: u32,
    /// Judged with since it was fetched.
    used: bool,
    /// Named by the configuration, not by a request.
    pinned: bool,
}

/// All keys by URL of a receiver.
#[derive(Default)]
pub struct Keyring {
    slots: Mutex<BTreeMap<String, Slot>>,
    bell: Notify,
    /// How many keys have come.
    arrivals: AtomicU64,
    /// Rung when one has.
    arrived: Notify,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls: Vec<String> = self.slots.lock().keys().cloned().collect();
        f.debug_struct("Keyring").field("urls", &urls).finish()
    }
}

impl Slot {
    fn new(kind: KeyKind, pinned: bool) -> Self {
        Self {
            kind,
            document: None,
            fetched_unix_ms: 0,
            absent_unix_ms: None,
            due: Some(Duration::ZERO),
            under_way: false,
            failures: 0,
            used: false,
            pinned,
        }
    }

    /// Fetch it as soon as its last failure allows.
    fn want(&mut self) {
        if !self.under_way && self.failures == 0 {
            self.due = Some(Duration::ZERO);
        }
    }
}

/// What came of a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The document, and for how long it is good.
    Document { bytes: Vec<u8>, good_for: Duration },
    /// The host says that there is no such thing.
    Absent,
    /// Something is in the way; it is tried again.
    Failed,
}

impl Keyring {
    /// Sees to it that this key is there before it is needed.
    pub fn expect(&self, url: &str, kind: KeyKind) {
        let mut slots = self.slots.lock();
        let slot = slots
            .entry(url.to_owned())
            .or_insert_with(|| Slot::new(kind, true));
        slot.pinned = true;
        drop(slots);
        self.bell.notify_one();
    }

    /// The certificate at a URL that is pinned.
    ///
    /// # Errors
    /// [`Reason::KeyPending`] while it is fetched, [`Reason::UnknownKey`] if it does not exist.
    pub(crate) fn certificate(
        &self,
        url: &str,
        now_unix_ms: i64,
    ) -> Result<Arc<Certificate>, Reason> {
        match self.document(url, KeyKind::Certificate, now_unix_ms)? {
            Document::Certificate(certificate) => Ok(certificate),
            Document::KeySet(_) => Err(Reason::UnknownKey),
        }
    }

    /// The set of keys at a URL of the configuration.
    ///
    /// # Errors
    /// As for [`Self::certificate`].
    pub(crate) fn key_set(&self, url: &str, now_unix_ms: i64) -> Result<Arc<Key>, Reason> {
        match self.document(url, KeyKind::KeySet, now_unix_ms)? {
            Document::KeySet(key) => Ok(key),
            Document::Certificate(_) => Err(Reason::UnknownKey),
        }
    }

    /// What it means that a set has no key of a name: it may have got one since it was fetched.
    pub(crate) fn lacks(&self, url: &str, now_unix_ms: i64) -> Reason {
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get_mut(url) else {
            return Reason::KeyPending;
        };
        if now_unix_ms.saturating_sub(slot.fetched_unix_ms) < AGAIN_AFTER_MS {
            return Reason::UnknownKey;
        }
        slot.want();
        drop(slots);
        self.bell.notify_one();
        Reason::KeyPending
    }

    fn document(&self, url: &str, kind: KeyKind, now_unix_ms: i64) -> Result<Document, Reason> {
        let mut slots = self.slots.lock();
        if !slots.contains_key(url) && !make_room(&mut slots) {
            return Err(Reason::KeyPending);
        }
        let slot = slots
            .entry(url.to_owned())
            .or_insert_with(|| Slot::new(kind, false));
        let age_ms = now_unix_ms.saturating_sub(slot.fetched_unix_ms);
        if let Some(document) = slot.document.as_ref().filter(|_| age_ms < STALE_AFTER_MS) {
            slot.used = true;
            return Ok(document.clone());
        }
        if slot
            .absent_unix_ms
            .is_some_and(|at| now_unix_ms.abs_diff(at) < ABSENT_MS.unsigned_abs())
        {
            return Err(Reason::UnknownKey);
        }
        slot.absent_unix_ms = None;
        slot.want();
        drop(slots);
        self.bell.notify_one();
        Err(Reason::KeyPending)
    }

    /// What is due now (monotonic), at most `max`; it counts as under way until it is settled.
    pub fn due(&self, now: Duration, max: usize) -> Vec<Wanted> {
        let mut slots = self.slots.lock();
        let due = slots
            .iter_mut()
            .filter(|(_, slot)| !slot.under_way && slot.due.is_some_and(|due| due <= now));
        due.take(max)
            .map(|(url, slot)| {
                slot.under_way = true;
                Wanted {
                    url: url.clone(),
                    kind: slot.kind,
                }
            })
            .collect()
    }

    /// Waits until somebody wants something, or until something is due by itself. `now` is monotonic.
    pub async fn wait(&self, now: Duration) {
        let rung = self.bell.notified();
        match self.next_due() {
            Some(due) => {
                let _ = tokio::time::timeout(due.saturating_sub(now), rung).await;
            }
            None => rung.await,
        }
    }

    fn next_due(&self) -> Option<Duration> {
        let slots = self.slots.lock();
        let waiting = slots.values().filter(|slot| !slot.under_way);
        waiting.filter_map(|slot| slot.due).min()
    }

    /// Notes what came of a fetch; `now` is monotonic.
    ///
    /// # Errors
    /// What came is no such document; it counts as failed.
    pub fn settle(
        &self,
        wanted: &Wanted,
        fetched: &Fetched,
        now: Duration,
        now_unix_ms: i64,
    ) -> Result<(), String> {
        let read = match fetched {
            Fetched::Document { bytes, good_for } => {
                read(wanted.kind, bytes).map(|document| Some((document, *good_for)))
            }
            _ => Ok(None),
        };
        let came = matches!(read, Ok(Some(_)));
        self.note(wanted, fetched, &read, now, now_unix_ms);
        if came {
            self.arrivals.fetch_add(1, Ordering::AcqRel);
            self.arrived.notify_one();
        }
        read.map(|_| ())
    }

    fn note(
        &self,
        wanted: &Wanted,
        fetched: &Fetched,
        read: &Result<Option<(Document, Duration)>, String>,
        now: Duration,
        now_unix_ms: i64,
    ) {
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get_mut(&wanted.url) else {
            return;
        };
        slot.under_way = false;
        match (read, fetched) {
            (Ok(Some((document, good_for))), _) => {
                // what nobody needs is not kept fresh
                let keep = slot.pinned || slot.used || slot.document.is_none();
                slot.due = keep.then_some(now + *good_for);
                slot.document = Some(document.clone());
                slot.fetched_unix_ms = now_unix_ms;
                (slot.failures, slot.used, slot.absent_unix_ms) = (0, false, None);
            }
            (_, Fetched::Absent) if !slot.pinned => {
                slot.due = None;
                slot.absent_unix_ms = Some(now_unix_ms);
                slot.failures = 0;
            }
            _ => {
                let pause = RETRY_FIRST * 2u32.pow(slot.failures.min(6));
                slot.failures = slot.failures.saturating_add(1);
                slot.due = Some(now + pause.min(RETRY_LAST));
            }
        }
    }

    /// How many keys have come so far.
    pub fn arrivals(&self) -> u64 {
        self.arrivals.load(Ordering::Acquire)
    }

    /// Wakes whoever waits for keys, if one has come since there were so many.
    pub fn announce_after(&self, arrivals: u64) {
        if self.arrivals() != arrivals {
            self.arrived.notify_one();
        }
    }

    /// Waits until a key has come since the last call.
    pub async fn arrival(&self) {
        self.arrived.notified().await;
    }

    /// Takes in what an earlier run has fetched, if it is not too old; it is fetched again soon.
    ///
    /// # Errors
    /// It is no such document.
    pub fn recall(
        &self,
        url: &str,
        kind: KeyKind,
        bytes: &[u8],
        fetched_unix_ms: i64,
    ) -> Result<(), String> {
        let document = read(kind, bytes)?;
        let mut slots = self.slots.lock();
        if slots.len() >= KEPT_MAX && !slots.contains_key(url) {
            return Ok(());
        }
        let slot = slots
            .entry(url.to_owned())
            .or_insert_with(|| Slot::new(kind, false));
        slot.document = Some(document);
        slot.fetched_unix_ms = fetched_unix_ms;
        Ok(())
    }
}

/// Whether one more URL can be remembered. Those that turned out not to exist go first, then keys that
/// nobody uses.
fn make_room(slots: &mut BTreeMap<String, Slot>) -> bool {
    let without = slots
        .values()
        .filter(|slot| slot.document.is_none())
        .count();
    if without < WANTED_MAX && slots.len() < KEPT_MAX {
        return true;
    }
    let gone = slots
        .iter()
        .filter(|(_, slot)| !slot.pinned && !slot.under_way && !slot.used)
        .filter(|(_, slot)| {
            slot.absent_unix_ms.is_some() || slot.document.is_some() && slots.len() >= KEPT_MAX
        })
        .min_by_key(|(_, slot)| slot.absent_unix_ms.unwrap_or(slot.fetched_unix_ms))
        .map(|(url, _)| url.clone());
    gone.is_some_and(|url| slots.remove(&url).is_some())
}

fn read(kind: KeyKind, bytes: &[u8]) -> Result<Document, String> {
    match kind {
        KeyKind::Certificate => Certificate::parse(bytes)
            .map(|certificate| Document::Certificate(Arc::new(certificate)))
            .ok_or_else(|| "it is no certificate".into()),
        KeyKind::KeySet => Key::of_set(bytes)
            .map(|key| Document::KeySet(Arc::new(key)))
            .ok_or_else(|| "it is no set of keys that can be used".into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
