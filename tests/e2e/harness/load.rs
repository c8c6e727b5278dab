//! Senders: many keep-alive connections that count what they are told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{Marker, Sizes, github};
use crate::trace::Acked;

/// How long a sender that was refused waits before it connects again.
const RECONNECT: Duration = Duration::from_millis(5);

/// Senders of the source `github`, each delivery with a marker of its own.
///
/// One `Load` outlives the receivers it talks to: its markers never repeat.
#[derive(Clone)]
pub struct Load {
    connections: usize,
    sizes: Sizes,
    /// Between two deliveries of one connection.
    every: Duration,
    /// Of so many deliveries one is forged; 0 for none.
    forged_every: u64,
    next: Arc<AtomicU64>,
}

/// What the senders saw.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answered with 2xx and an id.
    pub acked: Vec<Acked>,
    /// Answers that were something else, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Sent, and never answered: stored or not, nobody knows.
    pub unanswered: u64,
    /// Connections that could not be made.
    pub unconnected: u64,
    /// Answers of 2xx that carry no id: never right.
    pub senseless: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.acked.extend(other.acked);
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
        self.unanswered += other.unanswered;
        self.unconnected += other.unconnected;
        self.senseless.extend(other.senseless);
    }
}

impl Load {
    pub fn new(connections: usize, sizes: Sizes) -> Self {
        Self {
            connections,
            sizes,
            every: Duration::ZERO,
            forged_every: 0,
            next: Arc::default(),
        }
    }

    /// The same senders, which push no more than `per_sec` deliveries a second in all.
    pub fn at_rate(self, per_sec: u32) -> Self {
        let connections = u32::try_from(self.connections).expect("not that many");
        Self {
            every: Duration::from_secs(1) * connections / per_sec,
            ..self
        }
    }

    /// The same senders, of whose deliveries one of so many is signed with a made-up secret.
    pub fn forging(self, every: u64) -> Self {
        Self {
            forged_every: every,
            ..self
        }
    }

    /// Whether the delivery with this marker is one of them.
    pub fn is_forged(&self, marker: Marker) -> bool {
        self.forged_every > 0 && marker.number().is_multiple_of(self.forged_every)
    }

    /// The same senders over another number of connections.
    pub fn over(&self, connections: usize) -> Self {
        Self {
            connections,
            ..self.clone()
        }
    }

    /// How many deliveries have been begun.
    pub fn begun(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// Pushes over all connections until `stop`, or until `count` deliveries were begun.
    ///
    /// When `stop` comes, requests in flight still get `grace` for their answer:
    /// an answer that was sent is always counted.
    pub async fn run(&self, to: SocketAddr, count: Option<u64>, stop: &CancellationToken) -> Tally {
        let last = count.map_or(u64::MAX, |count| self.next.load(Ordering::SeqCst) + count);
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..self.connections {
            let sender = Sender {
                load: self.clone(),
                to,
                last,
                tally: Tally::default(),
            };
            senders.spawn(sender.run(stop.clone()));
        }
        let mut tally = Tally::default();
        while let Some(sender) = senders.join_next().await {
            tally.add(sender.expect("a sender does not panic"));
        }
        assert!(
            tally.senseless.is_empty(),
            "2xx without an id: {:?}",
            tally.senseless.first()
        );
        tally
    }

    /// Sends exactly `count` deliveries and expects each to be acknowledged.
    pub async fn push(&self, to: SocketAddr, count: u64) -> Vec<Acked> {
        let tally = self.run(to, Some(count), &CancellationToken::new()).await;
        let clean = tally.refused.is_empty() && tally.unanswered == 0 && tally.unconnected == 0;
        assert!(
            clean && tally.acked.len() as u64 == count,
            "not all were acknowledged: {tally:?}"
        );
        tally.acked
    }

    /// The body that was sent under `marker`.
    pub fn body(&self, marker: Marker) -> Vec<u8> {
        self.sizes.body(marker)
    }

    fn next(&self, last: u64) -> Option<Marker> {
        let more = |next: u64| (next < last).then_some(next + 1);
        let taken = self
            .next
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        taken.ok().map(Marker::new)
    }
}

/// One connection's worth of load.
struct Sender {
    load: Load,
    to: SocketAddr,
    last: u64,
    tally: Tally,
}

type Connection = SendRequest<Full<bytes::Bytes>>;

impl Sender {
    async fn run(mut self, stop: CancellationToken) -> Tally {
        while !stop.is_cancelled() {
            let Ok(mut connection) = connect(self.to).await else {
                self.tally.unconnected += 1;
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(RECONNECT) => continue,
                }
            };
            while !stop.is_cancelled() && connection.ready().await.is_ok() {
                let Some(marker) = self.load.next(self.last) else {
                    return self.tally;
                };
                let next = tokio::time::Instant::now() + self.load.every;
                if !self.one(&mut connection, marker).await {
                    break;
                }
                if !self.load.every.is_zero() {
                    let pause = tokio::time::sleep_until(next);
                    stop.run_until_cancelled(pause).await;
                }
            }
        }
        self.tally
    }

    /// Sends one delivery; whether the connection is still good.
    async fn one(&mut self, connection: &mut Connection, marker: Marker) -> bool {
        let (host, body) = (self.to.to_string(), self.load.body(marker));
        let request = match self.load.is_forged(marker) {
            true => github::forged(&host, marker, body),
            false => github::request(&host, marker, body),
        };
        let Ok(response) = connection.send_request(request).await else {
            self.tally.unanswered += 1;
            return false;
        };
        let status = response.status();
        let Ok(body) = response.into_body().collect().await else {
            self.tally.unanswered += 1;
            return false;
        };
        let body = body.to_bytes();
        if !status.is_success() {
            *self.tally.refused.entry(status.as_u16()).or_default() += 1;
            return true;
        }
        match id_of(&body) {
            Some(id) => self.tally.acked.push(Acked { marker, id }),
            None => self
                .tally
                .senseless
                .push(String::from_utf8_lossy(&body).into_owned()),
        }
        true
    }
}

async fn connect(to: SocketAddr) -> anyhow::Result<Connection> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn id_of(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(value.get("id")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Answer, Sink};

    #[tokio::test]
    async fn every_delivery_has_a_marker_of_its_own_and_its_answer_is_kept() {
        let sink = Sink::start(|arrival| {
            let marker = Marker::first_in(&arrival.body).unwrap();
            Answer::Body(
                200,
                format!("{{\"id\":\"log-{}\",\"duplicate\":false}}", marker.number()),
            )
        })
        .await;
        let load = Load::new(8, Sizes::Fixed(200));
        let mut acked = load.push(sink.address(), 100).await;
        acked.sort_by_key(|one| one.marker);
        let expected = |number| Acked {
            marker: Marker::new(number),
            id: format!("log-{number}"),
        };
        assert_eq!(acked, (0..100).map(expected).collect::<Vec<_>>());
        assert_eq!(sink.arrivals().len(), 100);
        let sent = &sink.arrivals()[0];
        assert_eq!(sent.body, load.body(Marker::first_in(&sent.body).unwrap()));
    }

    #[tokio::test]
    async fn refusals_and_broken_connections_are_counted_and_not_acked() {
        let sink =
            Sink::start(
                |arrival| match Marker::first_in(&arrival.body).unwrap().number() % 2 {
                    0 => Answer::Status(503),
                    _ => Answer::Drop,
                },
            )
            .await;
        let load = Load::new(1, Sizes::Fixed(100));
        let tally = load
            .run(sink.address(), Some(10), &CancellationToken::new())
            .await;
        assert_eq!(tally.refused, BTreeMap::from([(503, 5)]));
        assert_eq!((tally.acked.len(), tally.unanswered), (0, 5));
    }

    #[tokio::test]
    async fn nobody_listening_is_counted_until_the_stop() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = free.local_addr().unwrap();
        drop(free);
        let stop = CancellationToken::new();
        let load = Load::new(2, Sizes::Fixed(100));
        let running = tokio::spawn({
            let (load, stop) = (load.clone(), stop.clone());
            async move { load.run(nobody, None, &stop).await }
        });
        stop.cancel();
        let tally = running.await.unwrap();
        assert!(tally.acked.is_empty() && tally.unanswered == 0);
    }
}
