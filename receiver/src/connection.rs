//! One connection: the handshake, its requests, its end, and nothing about what they carry.
//!
//! hyper's own timer for heads starts anew with every request and also ends idle connections; the
//! [pace](crate::pace) costs a request three clock readings and no timer.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Closed;
use crate::pace::{Pace, Phase};
use crate::server::{Handler, House, Peer};
use crate::socket::Socket;
use crate::watched::{LINGER, Watched};

/// Largest head of a request; 431 above. Also bounds a chunked body's trailers.
pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;
/// Largest read at once, and so what an idle connection may hold on to.
const BUFFER_BYTES_MAX: usize = 128 << 10;

const SLOW_HEAD: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n\
    content-length: 20\r\nconnection: close\r\n\r\n{\"error\":\"too slow\"}";

/// Requests under way at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;
/// Bytes of one body that may be on their way unread, and of all bodies of a connection: enough for
/// the largest in a few seconds over a long way.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const WINDOW_BYTES: u32 = 512 << 10;
/// Bytes of answers that wait for a peer that does not read.
const SEND_BYTES_MAX: usize = 64 << 10;
/// Streams that the peer reset before we saw them, and that we reset for its mistakes, until it has
/// to go: rapid reset in both its forms.
const RESETS_MAX: usize = 20;
const OWN_RESETS_MAX: usize = 100;
/// A peer that says nothing is asked whether it is still there, and must answer within.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// Where the requests of one connection come from.
#[derive(Clone)]
struct Line {
    address: SocketAddr,
    secure: bool,
    pace: Arc<Pace>,
}

/// Serves one connection until it ends, is overdue, has to give way, or `stop` lets it finish what it
/// has begun.
pub(crate) async fn run<H: Handler>(
    stream: TcpStream,
    address: SocketAddr,
    pace: Arc<Pace>,
    handler: H,
    house: Arc<House>,
    stop: CancellationToken,
) {
    let tls = house.tls.now();
    let socket = match &*tls {
        None => Socket::Plain(stream),
        Some(config) => {
            match shake_hands(stream, address, config.clone(), &pace, &house, &stop).await {
                Some(socket) => socket,
                None => return,
            }
        }
    };
    drop(tls);
    let line = Line {
        address,
        secure: socket.is_secure(),
        pace,
    };
    match socket.speaks_http2() {
        true => speak_http2(socket, line, handler, house, stop).await,
        false => speak_http1(socket, line, handler, house, stop).await,
    }
}

/// `None` when nothing comes of it.
async fn shake_hands(
    stream: TcpStream,
    address: SocketAddr,
    config: Arc<ServerConfig>,
    pace: &Pace,
    house: &House,
    stop: &CancellationToken,
) -> Option<Socket> {
    let shaking = Socket::handshake(stream, config);
    let why = tokio::select! {
        shaken = tokio::time::timeout(house.limits.header_timeout, shaking) => match shaken {
            Ok(Ok(socket)) => {
                // the time of its first request begins now
                pace.enter(Phase::Silent);
                return Some(socket);
            }
            Ok(Err(error)) => {
                tracing::debug!(peer = %address, %error, "no TLS handshake");
                Closed::Handshake
            }
            Err(_) => Closed::Silent,
        },
        () = pace.must_give_way() => Closed::GaveWay,
        () = stop.cancelled() => return None,
    };
    house.metrics.closed(why);
    None
}

/// Why a connection is to end.
enum End {
    Overdue,
    GiveWay,
}

/// Returns when it is.
async fn end(pace: &Pace, house: &House) -> End {
    tokio::select! {
        () = pace.overdue(&house.limits) => End::Overdue,
        () = pace.must_give_way() => End::GiveWay,
    }
}

fn note(end: &End, phase: Phase, house: &House) {
    house.metrics.closed(match (end, phase) {
        (End::GiveWay, _) => Closed::GaveWay,
        (End::Overdue, Phase::Silent) => Closed::Silent,
        (End::Overdue, Phase::Head) => Closed::SlowHead,
        (End::Overdue, Phase::Idle | Phase::Busy) => Closed::Idle,
    });
}

async fn speak_http1<H: Handler>(
    socket: Socket,
    line: Line,
    handler: H,
    house: Arc<House>,
    stop: CancellationToken,
) {
    let pace = line.pace.clone();
    let address = line.address;
    let io = TokioIo::new(Watched::new(socket, pace.clone()));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(io, service(handler, line));
    let ended = {
        let mut end = pin!(end(&pace, &house));
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(peer = %address, %error, "connection ended");
                    }
                    return;
                }
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
                end = &mut end => break end,
            }
        }
    };
    let phase = pace.phase();
    note(&ended, phase, &house);
    let stream = connection.into_parts().io.into_inner();
    if matches!((ended, phase), (End::Overdue, Phase::Head)) {
        tracing::debug!(peer = %address, "head too slow");
        refuse_slow_head(stream).await;
    }
}

async fn refuse_slow_head(mut stream: Watched) {
    let answer = async {
        stream.write_all(SLOW_HEAD).await?;
        stream.shutdown().await
    };
    // it is slow by definition; a failure here changes nothing
    let _ = tokio::time::timeout(LINGER * 2, answer).await;
}

async fn speak_http2<H: Handler>(
    socket: Socket,
    line: Line,
    handler: H,
    house: Arc<House>,
    stop: CancellationToken,
) {
    let pace = line.pace.clone();
    let address = line.address;
    let tasks = Tasks(house.tasks.clone(), house.abort.clone());
    let connection = http2::Builder::new(tasks)
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(OWN_RESETS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .serve_connection(TokioIo::new(socket), service(handler, line));
    let mut connection = pin!(connection);
    let mut end = pin!(end(&pace, &house));
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %address, %error, "connection ended");
                }
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            end = &mut end => break end,
        }
    };
    note(&ended, pace.phase(), &house);
    connection.as_mut().graceful_shutdown();
    // a request that has begun meanwhile is answered
    while tokio::time::timeout(LINGER, &mut connection).await.is_err()
        && pace.phase() == Phase::Busy
    {}
}

/// Hands requests over, and tells the pace of them.
fn service<H: Handler>(
    handler: H,
    line: Line,
) -> impl Service<
    Request<Incoming>,
    Response = Response<H::Body>,
    Error = Infallible,
    Future: Future<Output = Result<Response<H::Body>, Infallible>> + Send + 'static,
> {
    service_fn(move |mut request: Request<Incoming>| {
        let underway = line.pace.begin();
        let is_http2 = request.version() == Version::HTTP_2;
        if is_http2 {
            name_host(&mut request);
        }
        let peer = Peer::new(line.address, line.secure, line.pace.clone());
        let answer = handler.clone().handle(request, peer);
        async move {
            let mut reply = answer.await;
            if is_http2 {
                // only the stream ends there, which it does anyway
                reply.headers_mut().remove(CONNECTION);
            }
            drop(underway);
            Ok::<_, Infallible>(reply)
        }
    })
}

/// Says in `Host` what HTTP/2 says in `:authority` (RFC 9113, 8.3.1), so that a request is the same
/// whichever way it came.
fn name_host(request: &mut Request<Incoming>) {
    let authority = request.uri().authority();
    let host = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().entry(HOST).or_insert(host);
    }
}

/// Where hyper has the requests of an HTTP/2 connection run: the listener waits for them at its end.
#[derive(Clone)]
struct Tasks(TaskTracker, CancellationToken);

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        let abort = self.1.clone();
        self.0.spawn(async move {
            abort.run_until_cancelled(task).await;
        });
    }
}
