//! Reading a body: within its limit, its time, and the memory all bodies share.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::Sleep;

use crate::reply::Refused;

/// Bytes of bodies in memory, over all requests.
///
/// Counted as they come in, not as they are announced: a sender that announces
/// 25 MiB and sends nothing takes nothing away from others.
#[derive(Debug)]
pub struct Budget {
    used: AtomicU64,
    bytes_max: u64,
}

impl Budget {
    /// A budget of `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicU64::new(0),
            bytes_max,
        })
    }

    /// Bytes in use now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.bytes_max;
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

/// A body's share of the budget; given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Share {
    /// An empty share.
    pub fn of(budget: &Arc<Budget>) -> Self {
        Self {
            budget: budget.clone(),
            bytes: 0,
        }
    }

    fn grow(&mut self, bytes: u64) -> Result<(), Refused> {
        if !self.budget.take(bytes) {
            return Err(Refused::Overloaded);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// How a body may be.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Largest size in bytes.
    pub bytes_max: u64,
    /// It must have come within.
    pub timeout: Duration,
}

/// Reads a whole body as it is; nothing is decoded. Its bytes are charged to `share`.
///
/// A body that came along with its head is not copied and costs no timer.
///
/// # Errors
/// [`Refused::TooLarge`] (at once where the length is announced), [`Refused::TooSlow`],
/// [`Refused::Overloaded`], [`Refused::Malformed`].
pub async fn read<B>(body: B, limits: BodyLimits, share: &mut Share) -> Result<Bytes, Refused>
where
    B: Body<Data = Bytes>,
{
    let announced = body.size_hint();
    let too_large = Refused::TooLarge {
        limit_bytes: limits.bytes_max,
    };
    if announced.lower() > limits.bytes_max {
        return Err(too_large);
    }
    let mut body = pin!(body);
    let mut deadline: Option<Pin<Box<Sleep>>> = None;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = next(body.as_mut(), &mut deadline, limits.timeout).await {
        let Ok(data) = frame?.into_data() else {
            continue; // trailers are no part of the body
        };
        if share.bytes + data.len() as u64 > limits.bytes_max {
            return Err(too_large);
        }
        share.grow(data.len() as u64)?;
        if first.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() {
        first
    } else {
        rest.freeze()
    })
}

async fn next<B: Body<Data = Bytes>>(
    mut body: Pin<&mut B>,
    deadline: &mut Option<Pin<Box<Sleep>>>,
    timeout: Duration,
) -> Option<Result<Frame<Bytes>, Refused>> {
    poll_fn(|cx| {
        if let Poll::Ready(frame) = body.as_mut().poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(|_| Refused::Malformed)));
        }
        let deadline = deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Refused::TooSlow))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::{BodyExt, Full, StreamBody};
    use std::convert::Infallible;

    const LIMITS: BodyLimits = BodyLimits {
        bytes_max: 10,
        timeout: Duration::from_secs(5),
    };

    fn chunked(chunks: Vec<&'static [u8]>) -> impl Body<Data = Bytes, Error = Infallible> {
        let frames = chunks
            .into_iter()
            .map(|chunk| Ok(Frame::data(Bytes::from_static(chunk))));
        StreamBody::new(stream::iter(frames.collect::<Vec<_>>()))
    }

    #[tokio::test]
    async fn a_body_in_one_piece_is_not_copied() {
        let body = Bytes::from(b"whole".to_vec());
        let mut share = Share::of(&Budget::new(100));
        let read = read(Full::new(body.clone()), LIMITS, &mut share).await;
        assert_eq!(read.unwrap().as_ptr(), body.as_ptr());
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_joined_in_order() {
        let mut share = Share::of(&Budget::new(100));
        let body = chunked(vec![b"ab", b"", b"\xff", b"d"]);
        assert_eq!(
            read(body, LIMITS, &mut share).await.unwrap(),
            b"ab\xffd"[..]
        );
    }

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused_with_and_without_a_length() {
        let budget = Budget::new(100);
        let refused = Err(Refused::TooLarge { limit_bytes: 10 });
        let announced = Full::new(Bytes::from_static(&[0; 11]));
        let mut share = Share::of(&budget);
        assert_eq!(read(announced, LIMITS, &mut share).await, refused);
        let streamed = chunked(vec![&[0; 6], &[0; 6]]);
        assert_eq!(read(streamed, LIMITS, &mut share).await, refused);
        drop(share);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn bodies_together_stay_within_the_budget() {
        let budget = Budget::new(8);
        let mut one = Share::of(&budget);
        read(chunked(vec![&[0; 6]]), LIMITS, &mut one)
            .await
            .unwrap();
        let mut other = Share::of(&budget);
        let refused = read(chunked(vec![&[0; 2], &[0; 2]]), LIMITS, &mut other).await;
        assert_eq!(refused, Err(Refused::Overloaded));
        drop((one, other));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_in_time_is_refused() {
        let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let mut share = Share::of(&Budget::new(100));
        let limits = BodyLimits {
            timeout: Duration::from_millis(20),
            ..LIMITS
        };
        let read = read(body.boxed(), limits, &mut share).await;
        assert_eq!(read, Err(Refused::TooSlow));
    }
}
