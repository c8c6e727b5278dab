//! The bytes of an HTTP/1 connection, watched: they tell the pace, and they end politely.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::framing::Framing;
use crate::pace::{Pace, Phase};
use crate::socket::Socket;

/// How much of an unread body is thrown away so that the sender gets to read the answer.
const LINGER_BYTES_MAX: usize = 1 << 20;
/// And for how long.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// A stream that tells the pace what happens on it, and ends politely.
pub(crate) struct Watched {
    socket: Socket,
    pace: Arc<Pace>,
    framing: Framing,
    linger: Option<Linger>,
}

struct Linger {
    until: Pin<Box<Sleep>>,
    left_bytes: usize,
}

impl Watched {
    pub fn new(socket: Socket, pace: Arc<Pace>) -> Self {
        Self {
            socket,
            pace,
            framing: Framing::default(),
            linger: None,
        }
    }

    /// Bytes came in.
    fn heard(&mut self, bytes: &[u8]) {
        match self.pace.phase() {
            Phase::Silent | Phase::Idle => {
                self.pace.enter(Phase::Head);
                self.framing = Framing::default();
            }
            Phase::Head => {}
            Phase::Busy => return,
        }
        if self.framing.read(bytes) {
            self.pace.note_doubtful();
        }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(linger) = &mut self.linger else {
            return Poll::Ready(Ok(()));
        };
        let mut scratch = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
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
        let polled = Pin::new(&mut self.socket).poll_read(cx, buffer);
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
        let polled = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.written(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
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
        if matches!(polled, Poll::Ready(Ok(_))) && self.pace.phase() == Phase::Idle {
            self.pace.enter(Phase::Idle);
        }
        polled
    }
}
