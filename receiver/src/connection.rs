//! One connection: its pace, its end, and nothing about what it carries.
//!
//! ```text
//!            first byte              head whole              answered
//!   idle ───────────────► head ───────────────► busy ───────────────► idle
//!    │ idle_timeout        │ header_timeout       the handler has its own limits
//!    ▼ closed              ▼ 408, closed
//! ```
//!
//! hyper's own timer for heads starts anew with every request and also ends
//! idle connections; this one costs a request three clock readings and no timer.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::framing::Framing;
use crate::server::{Handler, Limits, Peer};

/// Largest head of a request; 431 above. Also bounds a chunked body's trailers.
pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;
/// Largest read at once, and so what an idle connection may hold on to.
const BUFFER_BYTES_MAX: usize = 128 << 10;
/// How much of an unread body is thrown away so that the sender gets to read the answer.
const LINGER_BYTES_MAX: usize = 1 << 20;
/// And for how long.
const LINGER: Duration = Duration::from_secs(1);

const SLOW_HEAD: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n\
    content-length: 20\r\nconnection: close\r\n\r\n{\"error\":\"too slow\"}";

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// Where a connection stands and since when.
#[derive(Debug)]
pub(crate) struct Pace {
    phase: AtomicU8,
    since_ms: AtomicU64,
    opened: Instant,
    unread: AtomicBool,
    two_lengths: AtomicBool,
}

impl Pace {
    fn new() -> Self {
        Self {
            phase: AtomicU8::new(IDLE),
            since_ms: AtomicU64::new(0),
            opened: Instant::now(),
            unread: AtomicBool::new(false),
            two_lengths: AtomicBool::new(false),
        }
    }

    /// The request's head gives its body's length in two ways: a proxy before us may have
    /// believed the other one. hyper drops one of them without a word.
    pub(crate) fn has_two_lengths(&self) -> bool {
        self.two_lengths.load(Ordering::Relaxed)
    }

    fn enter(&self, phase: u8) {
        let since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(since, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    /// The answer leaves a part of the request's body unread.
    pub(crate) fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// A sender that is still writing would get a reset instead of its answer.
    fn must_linger(&self) -> bool {
        self.unread.load(Ordering::Relaxed) || self.phase() == HEAD
    }

    /// Returns when the connection has been idle, or its head on the way, for too long.
    async fn overdue(&self, limits: &Limits) {
        loop {
            let since = self.opened + Duration::from_millis(self.since_ms.load(Ordering::Relaxed));
            let deadline = match self.phase() {
                IDLE => since + limits.idle_timeout,
                HEAD => since + limits.header_timeout,
                _ => Instant::now() + limits.header_timeout.min(limits.idle_timeout),
            };
            if deadline <= Instant::now() {
                return;
            }
            // a head may begin while this sleeps: wake up in time for it
            let soonest = Instant::now() + limits.header_timeout;
            tokio::time::sleep_until(deadline.min(soonest)).await;
        }
    }
}

/// Serves one connection until it ends, is overdue, or `stop` lets it finish what it has begun.
pub(crate) async fn run<H: Handler>(
    stream: TcpStream,
    address: std::net::SocketAddr,
    handler: H,
    limits: Arc<Limits>,
    stop: CancellationToken,
) {
    let pace = Arc::new(Pace::new());
    let io = TokioIo::new(Watched::new(stream, pace.clone()));
    let service = service_fn({
        let pace = pace.clone();
        move |request| {
            pace.enter(BUSY);
            let pace = pace.clone();
            let answer = handler
                .clone()
                .handle(request, Peer::new(address, pace.clone()));
            async move {
                let reply = answer.await;
                pace.enter(IDLE);
                Ok::<_, Infallible>(reply)
            }
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(io, service);
    {
        let overdue = std::pin::pin!(pace.overdue(&limits));
        let mut overdue = overdue;
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
                    Pin::new(&mut connection).graceful_shutdown();
                }
                () = &mut overdue => break,
            }
        }
    }
    let stream = connection.into_parts().io.into_inner();
    if pace.phase() == HEAD {
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

/// A stream that tells the pace what happens on it, and ends politely.
struct Watched {
    stream: TcpStream,
    pace: Arc<Pace>,
    framing: Framing,
    linger: Option<Linger>,
}

struct Linger {
    until: Pin<Box<Sleep>>,
    left_bytes: usize,
}

impl Watched {
    fn new(stream: TcpStream, pace: Arc<Pace>) -> Self {
        Self {
            stream,
            pace,
            framing: Framing::default(),
            linger: None,
        }
    }

    /// Bytes came in.
    fn heard(&mut self, bytes: &[u8]) {
        match self.pace.phase() {
            IDLE => {
                self.pace.enter(HEAD);
                self.framing = Framing::default();
            }
            HEAD => {}
            _ => return,
        }
        if self.framing.read(bytes) {
            self.pace.two_lengths.store(true, Ordering::Relaxed);
        }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(linger) = &mut self.linger else {
            return Poll::Ready(Ok(()));
        };
        let mut scratch = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let read = buffer.filled().len();
                    linger.left_bytes = linger.left_bytes.saturating_sub(read);
                    if linger.left_bytes == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                // the sender closed, too
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return linger.until.as_mut().poll(cx).map(Ok),
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.heard(&buffer.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if !self.pace.must_linger() {
                return Poll::Ready(Ok(()));
            }
            self.linger = Some(Linger {
                until: Box::pin(tokio::time::sleep(LINGER)),
                left_bytes: LINGER_BYTES_MAX,
            });
        }
        self.poll_linger(cx)
    }
}

impl Watched {
    /// A long answer that makes progress keeps its connection.
    fn written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(polled, Poll::Ready(Ok(_))) && self.pace.phase() == IDLE {
            self.pace.enter(IDLE);
        }
        polled
    }
}
