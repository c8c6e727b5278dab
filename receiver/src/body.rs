//! Reading a body: within its limit, its time, and the memory all bodies share.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::Sleep;

use crate::limits::{Over, Share};
use crate::reply::Refused;

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
/// [`Refused::Overloaded`], [`Refused::OverShare`], [`Refused::Malformed`].
pub async fn read<B>(body: B, limits: BodyLimits, share: &mut Share<'_>) -> Result<Bytes, Refused>
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
        if share.amount() + data.len() as u64 > limits.bytes_max {
            return Err(too_large);
        }
        share.grow(data.len() as u64).map_err(|over| match over {
            Over::All => Refused::Overloaded,
            Over::Part => Refused::OverShare,
        })?;
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

    use crate::limits::{Account, Budget};

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
        let (budget, lot) = (Budget::new(100, 1.0), Account::default().bodies);
        let mut share = Share::of(&budget, &lot);
        let read = read(Full::new(body.clone()), LIMITS, &mut share).await;
        assert_eq!(read.unwrap().as_ptr(), body.as_ptr());
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_joined_in_order() {
        let (budget, lot) = (Budget::new(100, 1.0), Account::default().bodies);
        let mut share = Share::of(&budget, &lot);
        let body = chunked(vec![b"ab", b"", b"\xff", b"d"]);
        assert_eq!(
            read(body, LIMITS, &mut share).await.unwrap(),
            b"ab\xffd"[..]
        );
    }

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused_with_and_without_a_length() {
        let (budget, lot) = (Budget::new(100, 1.0), Account::default().bodies);
        let refused = Err(Refused::TooLarge { limit_bytes: 10 });
        let announced = Full::new(Bytes::from_static(&[0; 11]));
        let mut share = Share::of(&budget, &lot);
        assert_eq!(read(announced, LIMITS, &mut share).await, refused);
        let streamed = chunked(vec![&[0; 6], &[0; 6]]);
        assert_eq!(read(streamed, LIMITS, &mut share).await, refused);
        drop(share);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn bodies_together_stay_within_the_budget_and_those_of_a_source_within_its_part() {
        let budget = Budget::new(8, 0.5);
        let (lot, another) = (Account::default().bodies, Account::default().bodies);
        let body = |bytes: &'static [u8]| chunked(vec![bytes, bytes]);
        let mut one = Share::of(&budget, &lot);
        read(body(&[0; 2]), LIMITS, &mut one).await.unwrap();
        let mut second = Share::of(&budget, &lot);
        let refused = read(body(&[0; 1]), LIMITS, &mut second).await;
        assert_eq!(refused, Err(Refused::OverShare));
        let mut other = Share::of(&budget, &another);
        let refused = read(body(&[0; 3]), LIMITS, &mut other).await;
        assert_eq!(refused, Err(Refused::Overloaded));
        drop((one, second, other));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_in_time_is_refused() {
        let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let (budget, lot) = (Budget::new(100, 1.0), Account::default().bodies);
        let mut share = Share::of(&budget, &lot);
        let limits = BodyLimits {
            timeout: Duration::from_millis(20),
            ..LIMITS
        };
        let read = read(body.boxed(), limits, &mut share).await;
        assert_eq!(read, Err(Refused::TooSlow));
    }
}
