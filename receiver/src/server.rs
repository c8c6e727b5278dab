//! A listener: accepts, and drains when told to stop.
//!
//! Listener, limits and the word to stop come from outside. Over the limit of connections those that
//! were slow or idle longest [give way](crate::crowd); while all have requests under way nothing is
//! accepted, and the kernel's queue holds the next ones.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection;
use crate::crowd::{Crowd, Member};
use crate::limits::{Seat, Seats, enter};
use crate::metrics::ConnectionMetrics;
use crate::pace::{Awaited, Pace};
use crate::tls::CurrentTls;

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
    /// It came under TLS.
    pub secure: bool,
    pace: Arc<Pace>,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, secure: bool, pace: Arc<Pace>) -> Self {
        Self {
            address,
            secure,
            pace,
        }
    }

    /// Hold what this answers while the request's body is read: whoever keeps us waiting for it gives
    /// way to others when there are too many.
    pub fn awaits_body(&self) -> Awaited {
        self.pace.await_body()
    }

    /// The request's head can be read in two ways; refuse it with 400 and close.
    pub fn sent_doubtful_head(&self) -> bool {
        self.pace.is_doubtful()
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
    pub seats: Option<Arc<Seats>>,
    /// A connection's first request must have begun within.
    pub first_byte_timeout: Duration,
    /// A TLS handshake, and a request's head, must have come within; else 408.
    pub header_timeout: Duration,
    /// A connection may be idle for.
    pub idle_timeout: Duration,
    /// How long a stop waits for requests in flight.
    pub drain_timeout: Duration,
}

/// What all connections of a listener share.
pub struct House {
    /// What it allows.
    pub limits: Limits,
    /// How the next connections are encrypted.
    pub tls: CurrentTls,
    /// What is counted of them.
    pub metrics: ConnectionMetrics,
    /// Everything that runs for them.
    pub(crate) tasks: TaskTracker,
    /// Ends all of it at once.
    pub(crate) abort: CancellationToken,
}

impl House {
    /// For a listener that nobody has connected to yet.
    pub fn new(limits: Limits, tls: CurrentTls, metrics: ConnectionMetrics) -> Arc<Self> {
        Arc::new(Self {
            limits,
            tls,
            metrics,
            tasks: TaskTracker::new(),
            abort: CancellationToken::new(),
        })
    }
}

/// Serves a listener until `stop`, then lets requests in flight finish.
///
/// Returns when the last connection has ended or `drain_timeout` is over.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    handler: H,
    house: Arc<House>,
    stop: CancellationToken,
) {
    let crowd = Crowd::new(house.limits.connections_max);
    let seats = house.limits.seats.as_ref();
    while let Some((stream, address, member, seat)) = accept(&listener, &crowd, seats, &stop).await
    {
        let open = house.metrics.open.clone();
        open.inc();
        let served = connection::run(
            stream,
            address,
            member.pace.clone(),
            handler.clone(),
            house.clone(),
            stop.child_token(),
        );
        let abort = house.abort.clone();
        house.tasks.spawn(async move {
            abort.run_until_cancelled(served).await;
            open.dec();
            drop((member, seat));
        });
    }
    drop(listener);
    let House { tasks, abort, .. } = &*house;
    tasks.close();
    let drained = tokio::time::timeout(house.limits.drain_timeout, tasks.wait()).await;
    if drained.is_err() {
        tracing::warn!(
            under_way = tasks.len(),
            "requests in flight were cut off at the end of the drain"
        );
        abort.cancel();
        tasks.wait().await;
    }
}

/// The next connection with its place; `None` when told to stop.
async fn accept(
    listener: &TcpListener,
    crowd: &Arc<Crowd>,
    seats: Option<&Arc<Seats>>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, Member, Seat)> {
    let next = async {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let Some(seat) = enter(seats, address.ip()) else {
                        continue;
                    };
                    // answers are small and must not wait for more to come
                    let _ = stream.set_nodelay(true);
                    return (stream, address, crowd.enter().await, seat);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    crowd.make_room();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(next).await
}
