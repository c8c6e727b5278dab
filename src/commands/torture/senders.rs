//! Senders that lose nothing: each sends a delivery again until it is answered with 2xx, and writes
//! down what it was told. Some repeat what was acknowledged, some forge.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use creel_receiver::verify::{Registry, SourceKey, SourceKeys, Unsigned, Verifier};
use http::{HeaderMap, Method};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::stand::SOURCE;
use crate::commands::demo::ledger::{Forged, Sent, digest};

/// At work at once.
const SENDERS: u32 = 16;
/// Between two deliveries of one of them.
const PACE: Duration = Duration::from_millis(30);
/// Before a delivery that was not answered is sent again.
const PAUSE: Duration = Duration::from_millis(50);
/// An answer that takes longer counts as none.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for senders to get what they have to get.
const WITHIN: Duration = Duration::from_secs(60);
/// One in so many is sent once more after it was acknowledged.
const REPEATED_ONE_IN: u64 = 20;
/// One in so many comes with a forgery of it.
const FORGED_ONE_IN: u64 = 25;
const BODY_BYTES_MAX: usize = 8 * 1024;

/// All senders of one round.
pub struct Senders {
    shared: Arc<Shared>,
    go: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

struct Shared {
    client: reqwest::Client,
    url: String,
    genuine: Verifier,
    forger: Verifier,
    seed: u64,
    next: AtomicU64,
    acked: AtomicU64,
    /// Answers of 503.
    refused: AtomicU64,
    /// A sender holds a permit while a delivery of its is not acknowledged.
    busy: Semaphore,
    books: Mutex<Books>,
}

/// What senders know.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// Genuine deliveries, by number.
    pub sent: BTreeMap<u64, Sent>,
    /// Forgeries.
    pub forged: Forged,
    /// Answers that no sender can make sense of.
    pub senseless: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    duplicate: bool,
}

/// What became of one request.
enum Told {
    Answered(u16, bytes::Bytes),
    Nothing,
}

impl Senders {
    /// Starts them, paused. `seed` decides what they send.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn start(public: SocketAddr, secret: &str, seed: u64) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(ANSWER_WITHIN)
            .build()
            .context("cannot make an HTTP client")?;
        let shared = Arc::new(Shared {
            client,
            url: format!("http://{public}/in/{SOURCE}"),
            genuine: verifier(secret)?,
            forger: verifier(&hex::encode(rand::random::<[u8; 32]>()))?,
            seed,
            next: AtomicU64::new(1),
            acked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            busy: Semaphore::new(SENDERS as usize),
            books: Mutex::default(),
        });
        let (go, going) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for _ in 0..SENDERS {
            tasks.spawn(shared.clone().run(going.clone()));
        }
        Ok(Self { shared, go, tasks })
    }

    /// Lets them send.
    pub fn go(&self) {
        self.go.send_replace(true);
    }

    /// Pauses them, and waits until all they have begun is acknowledged.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.go.send_replace(false);
        let all = self.shared.busy.acquire_many(SENDERS);
        let held = tokio::time::timeout(WITHIN, all).await;
        drop(held.context("deliveries were not acknowledged in time")??);
        Ok(())
    }

    /// How many were acknowledged.
    pub fn acked(&self) -> u64 {
        self.shared.acked.load(Ordering::Relaxed)
    }

    /// How often one was refused with 503.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// What they know now.
    pub fn books(&self) -> Books {
        self.shared.books().clone()
    }

    /// Waits until more than `acked` are acknowledged.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn until_one_more_than(&self, acked: u64) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.acked() <= acked {
            ensure!(began.elapsed() < WITHIN, "nothing is acknowledged any more");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Waits until one is refused with 503.
    ///
    /// # Errors
    /// When none is in time.
    pub async fn until_one_more_refused(&self, within: Duration) -> anyhow::Result<()> {
        let (began, before) = (Instant::now(), self.refused());
        while self.refused() == before {
            ensure!(
                began.elapsed() < within,
                "a receiver without room does not refuse with 503"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Ends them, whatever they do.
    pub fn end(&mut self) {
        self.tasks.abort_all();
    }
}

fn verifier(secret: &str) -> anyhow::Result<Verifier> {
    let registry = Registry::built_in();
    let pack = registry.get("github").context("the pack is built in")?;
    Ok(pack.prepare(&SourceKeys {
        secrets: vec![SourceKey::new(SOURCE, secret)],
        ..SourceKeys::default()
    })?)
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, mut going: watch::Receiver<bool>) {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            if going.wait_for(|&go| go).await.is_err() {
                return;
            }
            let Ok(_busy) = self.busy.acquire().await else {
                return;
            };
            // told to pause while it waited for the permit
            if !*going.borrow() {
                continue;
            }
            if let Err(error) = self.one().await {
                self.books().senseless.push(format!("{error:#}"));
            }
        }
    }

    /// One delivery until it is acknowledged, and what comes with it.
    async fn one(&self) -> anyhow::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let body = body(self.seed, number);
        if number.is_multiple_of(FORGED_ONE_IN) {
            self.forge(number, &body).await?;
        }
        self.deliver(number, &body).await?;
        if number.is_multiple_of(REPEATED_ONE_IN) {
            self.deliver(number, &body).await?;
        }
        Ok(())
    }

    async fn deliver(&self, number: u64, body: &[u8]) -> anyhow::Result<()> {
        let headers = headers(&self.genuine, number, body)?;
        loop {
            match self.ask(&headers, body).await {
                Told::Answered(503, _) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                Told::Answered(status, answer) => return self.note(number, body, status, &answer),
                Told::Nothing => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn forge(&self, number: u64, body: &[u8]) -> anyhow::Result<()> {
        let headers = headers(&self.forger, u64::MAX - number, body)?;
        if let Told::Answered(status, _) = self.ask(&headers, body).await {
            let mut books = self.books();
            match status {
                200..=299 => books.forged.accepted += 1,
                503 => {}
                _ => books.forged.refused += 1,
            }
        }
        Ok(())
    }

    async fn ask(&self, headers: &HeaderMap, body: &[u8]) -> Told {
        let request = self.client.post(&self.url).headers(headers.clone());
        let Ok(response) = request.body(body.to_vec()).send().await else {
            return Told::Nothing;
        };
        let status = response.status().as_u16();
        match response.bytes().await {
            Ok(answer) => Told::Answered(status, answer),
            Err(_) => Told::Nothing,
        }
    }

    fn note(&self, number: u64, body: &[u8], status: u16, answer: &[u8]) -> anyhow::Result<()> {
        if !(200..=299).contains(&status) {
            bail!("genuine delivery {number} was answered with {status}");
        }
        let answer: Answer = serde_json::from_slice(answer)
            .with_context(|| format!("delivery {number} was answered with {status} and no id"))?;
        let mut books = self.books();
        let sent = books.sent.entry(number).or_insert_with(|| Sent {
            source: SOURCE.to_owned(),
            event: name(number),
            digest: digest(body),
            acks: 0,
            duplicates: 0,
            id: None,
            two_ids: false,
        });
        sent.acks += 1;
        sent.duplicates += u32::from(answer.duplicate);
        sent.two_ids |= sent.id.as_ref().is_some_and(|id| *id != answer.id);
        sent.id = Some(answer.id);
        drop(books);
        self.acked.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// GitHub's name for an event.
fn name(number: u64) -> String {
    format!(
        "{:08x}-{:04x}-4000-8000-{:012x}",
        number >> 40,
        number >> 24 & 0xffff,
        number & 0xff_ffff
    )
}

/// Bytes of every value, at times none at all.
fn body(seed: u64, number: u64) -> Vec<u8> {
    let mut dice = StdRng::seed_from_u64(seed ^ number);
    let bytes = dice.random_range(0..BODY_BYTES_MAX);
    (0..bytes).map(|_| dice.random()).collect()
}

fn headers(by: &Verifier, number: u64, body: &[u8]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse()?);
    let signed = by.sign(
        &Unsigned {
            method: &Method::POST,
            url: "http://torture/in/torture",
            headers: &headers,
            body,
            id: &name(number),
            event_type: Some("push"),
        },
        0,
    )?;
    Ok(signed.headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_and_names_differ_and_can_be_made_again() {
        assert_eq!(body(1, 2), body(1, 2));
        assert_ne!(body(1, 2), body(1, 3));
        assert_ne!(name(1), name(u64::MAX - 1));
        assert_eq!(name(0x12_3456_789a).len(), 36);
    }
}
