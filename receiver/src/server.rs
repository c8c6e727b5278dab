//! A listener: accepts up to its limit, and drains when told to stop.
//!
//! Listener, limits and the word to stop come from outside. Over the limit of
//! connections nothing is accepted: the kernel's queue holds the next ones.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{self, Pace};
use crate::limits::{Crowd, enter};

/// After accept failed (too many open files, most likely) it is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests. Cloned for every request.
pub trait Handler: Clone + Send + Sync + 'static {
    /// What an answer's body is.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static;

    /// Answers one request; dropped when the peer goes away.
    fn handle(
        self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> impl Future<Output = Response<Self::Body>> + Send + 'static;
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Address of the socket.
    pub address: SocketAddr,
    pace: Arc<Pace>,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, pace: Arc<Pace>) -> Self {
        Self { address, pace }
    }

    /// The request's head gives two contradicting lengths; refuse it with 400 and close.
    pub fn sent_two_lengths(&self) -> bool {
        self.pace.has_two_lengths()
    }

    /// Call this when answering without having read the whole body, so that the
    /// peer gets to read the answer before the connection is closed.
    pub fn leaves_body_unread(&self) {
        self.pace.leave_unread();
    }
}

/// What a listener allows.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most open connections.
    pub connections_max: usize,
    /// And of one address, if that is bounded.
    pub crowd: Option<Arc<Crowd>>,
    /// A request's head must have come within; else 408.
    pub header_timeout: Duration,
    /// A connection may be idle for.
    pub idle_timeout: Duration,
    /// How long a stop waits for requests in flight.
    pub drain_timeout: Duration,
}

/// Serves a listener until `stop`, then lets requests in flight finish.
///
/// Returns when the last connection has ended or `drain_timeout` is over.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    handler: H,
    limits: Limits,
    open: Gauge,
    stop: CancellationToken,
) {
    let limits = Arc::new(limits);
    let free = Arc::new(Semaphore::new(
        limits.connections_max.min(Semaphore::MAX_PERMITS),
    ));
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    while let Some((stream, address, permit)) = accept(&listener, &free, &stop).await {
        let Some(seat) = enter(limits.crowd.as_ref(), address.ip()) else {
            continue;
        };
        open.inc();
        let open = open.clone();
        let abort = abort.clone();
        let served = connection::run(
            stream,
            address,
            handler.clone(),
            limits.clone(),
            stop.child_token(),
        );
        connections.spawn(async move {
            abort.run_until_cancelled(served).await;
            open.dec();
            drop((permit, seat));
        });
    }
    drop(listener);
    connections.close();
    let drained = tokio::time::timeout(limits.drain_timeout, connections.wait()).await;
    if drained.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "requests in flight were cut off at the end of the drain"
        );
        abort.cancel();
        connections.wait().await;
    }
}

/// The next connection with its permit; `None` when told to stop.
async fn accept(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let next = async {
        let permit = free
            .clone()
            .acquire_owned()
            .await
            .expect("this semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    // answers are small and must not wait for more to come
                    let _ = stream.set_nodelay(true);
                    return (stream, address, permit);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(next).await
}
