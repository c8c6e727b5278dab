//! A sender that loses nothing: it sends again until it is answered with 2xx.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use tokio::sync::Notify;

use super::event::{Event, Kind};
use super::ledger::{Forged, Sent};

/// Connections in use at once.
const AT_ONCE: usize = 16;
/// Between two deliveries on one connection: a pace that lets people watch.
const PACE: Duration = Duration::from_millis(12);
/// Before a delivery that was not answered is sent again.
const PAUSE: Duration = Duration::from_millis(100);
/// A delivery that is not answered in this many tries fails the demo.
const TRIES_MAX: u32 = 150;
/// An answer that takes longer counts as none.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What all senders share.
pub struct Senders {
    client: reqwest::Client,
    base: String,
    events: Vec<Event>,
    next: AtomicUsize,
    /// Answers so far, of any kind.
    answered: AtomicU64,
    /// Tries that were not answered with 2xx for no fault of the sender.
    resent: AtomicU64,
    changed: Notify,
    hurry: AtomicBool,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    sent: BTreeMap<usize, Sent>,
    forged: BTreeMap<String, Forged>,
}

/// The JSON answer to a delivery.
#[derive(Deserialize)]
struct Answer {
    id: String,
    duplicate: bool,
}

impl Senders {
    /// Senders of these events to a receiver's public address.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(public: SocketAddr, events: Vec<Event>) -> anyhow::Result<Arc<Self>> {
        creel_common::tls::install_provider();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(ANSWER_WITHIN)
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Arc::new(Self {
            client,
            base: format!("http://{public}"),
            events,
            next: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            resent: AtomicU64::new(0),
            changed: Notify::new(),
            hurry: AtomicBool::new(false),
            books: Mutex::default(),
        }))
    }

    /// From now on as fast as possible, or at the usual pace again.
    pub fn hurry(&self, hurry: bool) {
        self.hurry.store(hurry, Ordering::Relaxed);
    }

    /// How many were answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// How often something was sent again because no answer, or a 503, came.
    pub fn resent(&self) -> u64 {
        self.resent.load(Ordering::Relaxed)
    }

    /// Waits until this many were answered.
    pub async fn until_answered(&self, number: u64) {
        loop {
            let changed = self.changed.notified();
            if self.answered() >= number {
                return;
            }
            changed.await;
        }
    }

    /// Sends everything; returns when all is answered.
    ///
    /// # Errors
    /// When a delivery gets no answer at all, or one that no sender could make sense of.
    pub async fn run(self: Arc<Self>) -> anyhow::Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE {
            tasks.spawn(self.clone().one());
        }
        while let Some(task) = tasks.join_next().await {
            task.context("a sender panicked")??;
        }
        Ok(())
    }

    /// What senders know now.
    pub fn books(&self) -> (Vec<Sent>, BTreeMap<String, Forged>) {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        (books.sent.values().cloned().collect(), books.forged.clone())
    }

    async fn one(self: Arc<Self>) -> anyhow::Result<()> {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if !self.hurry.load(Ordering::Relaxed) {
                pace.tick().await;
            }
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(event) = self.events.get(index) else {
                return Ok(());
            };
            self.send(event).await?;
            self.answered.fetch_add(1, Ordering::Relaxed);
            self.changed.notify_waiters();
        }
    }

    async fn send(&self, event: &Event) -> anyhow::Result<()> {
        for _ in 0..TRIES_MAX {
            match self.try_once(event).await {
                Some((status, body)) if status != 503 => return self.note(event, status, &body),
                _ => {
                    self.resent.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        bail!("{} was not answered in {TRIES_MAX} tries", event.name)
    }

    async fn try_once(&self, event: &Event) -> Option<(u16, bytes::Bytes)> {
        let request = self
            .client
            .post(format!("{}{}", self.base, event.target))
            .headers(event.headers.clone())
            .body(event.body.clone());
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.bytes().await.ok()?))
    }

    fn note(&self, event: &Event, status: u16, body: &[u8]) -> anyhow::Result<()> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        if event.kind == Kind::Forged {
            let forged = books.forged.entry(event.source.to_owned()).or_default();
            match status {
                200..=299 => forged.accepted += 1,
                _ => forged.refused += 1,
            }
            return Ok(());
        }
        let sent = books.sent.entry(event.number).or_insert_with(|| Sent {
            source: event.source.to_owned(),
            event: event.name.clone(),
            digest: event.digest,
            acks: 0,
            duplicates: 0,
            id: None,
            two_ids: false,
        });
        if !(200..=299).contains(&status) {
            bail!(
                "{}: genuine {} was answered with {status}",
                event.source,
                event.name
            );
        }
        sent.acks += 1;
        // Twilio's answer is TwiML and has no id
        if let Ok(answer) = serde_json::from_slice::<Answer>(body) {
            sent.duplicates += u32::from(answer.duplicate);
            sent.two_ids |= sent.id.as_ref().is_some_and(|id| *id != answer.id);
            sent.id = Some(answer.id);
        }
        Ok(())
    }
}
