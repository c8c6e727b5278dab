//! Senders who mean well, each delivery over a connection of its own, and how long they wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use creel_common::testkit::certificates::connect;
use http_body_util::{BodyExt, Full};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Certified, Marker, Sizes, github};

/// Deliveries under way at once.
const AT_ONCE: u64 = 8;
/// An answer that takes longer counts as none.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Where they send to, and how.
#[derive(Clone)]
pub struct Honest {
    pub to: SocketAddr,
    /// Under TLS, believing its authority.
    pub certified: Option<Arc<Certified>>,
    /// Between two deliveries of one sender.
    pub every: Duration,
}

/// How they fared.
#[derive(Debug, Default)]
pub struct Fared {
    /// How long each that was acknowledged took, connecting included, the shortest first.
    pub took: Vec<Duration>,
    /// What went wrong instead.
    pub failed: Vec<String>,
}

impl Fared {
    /// So many of a hundred were not slower.
    pub fn percentile(&self, of_hundred: usize) -> Duration {
        let last = self.took.len().saturating_sub(1);
        self.took
            .get((self.took.len() * of_hundred / 100).min(last))
            .copied()
            .unwrap_or_default()
    }
}

impl Honest {
    /// Sends `count` deliveries, and waits for all answers.
    pub async fn send(&self, count: u64) -> Fared {
        let next = Arc::new(AtomicU64::new(0));
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE {
            let (honest, next) = (self.clone(), next.clone());
            senders.spawn(async move {
                let mut fared = Fared::default();
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= count {
                        return fared;
                    }
                    let began = Instant::now();
                    let sent = honest.one(Marker::new(number));
                    match tokio::time::timeout(ANSWER_WITHIN, sent).await {
                        Ok(Ok(())) => fared.took.push(began.elapsed()),
                        Ok(Err(error)) => fared.failed.push(format!("{error:#}")),
                        Err(_) => fared.failed.push("no answer".to_owned()),
                    }
                    tokio::time::sleep(honest.every).await;
                }
            });
        }
        let mut all = Fared::default();
        while let Some(fared) = senders.join_next().await {
            let fared = fared.expect("a sender does not panic");
            all.took.extend(fared.took);
            all.failed.extend(fared.failed);
        }
        all.took.sort();
        all
    }

    async fn one(&self, marker: Marker) -> anyhow::Result<()> {
        match &self.certified {
            Some(certified) => {
                let authority = &certified.authority;
                let stream = connect(self.to, authority, &["http/1.1"], None).await?;
                deliver(TokioIo::new(stream), self.to, marker).await
            }
            None => {
                let stream = TcpStream::connect(self.to).await?;
                stream.set_nodelay(true)?;
                deliver(TokioIo::new(stream), self.to, marker).await
            }
        }
    }
}

async fn deliver(
    io: impl Read + Write + Unpin + Send + 'static,
    to: SocketAddr,
    marker: Marker,
) -> anyhow::Result<()> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(io).await?;
    tokio::spawn(connection);
    let body = Sizes::Fixed(1024).body(marker);
    let request = github::request(&to.to_string(), marker, body);
    let response = sender.send_request(request).await?;
    let status = response.status();
    response.into_body().collect().await?;
    anyhow::ensure!(status == 200, "answered {status}");
    Ok(())
}
