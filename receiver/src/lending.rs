//! Lease, extend, settle: what workers call on the private listener.
//!
//! Every answer can be had in JSON. creel's own workers ask for frames instead
//! ([`creel_common::log::frames`]), in which records travel raw.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{FromRequest, Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use creel_common::log::wire::{
    ExtendReply, FRAMED, LeaseCall, LeaseReply, LeaseView, SettleCall, SettledView, TEXT_BYTES_MAX,
    WANTS_MAX, WireError, bounded,
};
use creel_common::log::{LEASE_ITEMS_MAX, Lease, Settled, WorkError, frames};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};

use crate::auth::Caller;
use crate::failure::{Errors, Failure, Payload, whole_body};
use crate::private::Api;

/// Leases deliveries of several routes; waits up to `wait_ms` while there are none.
///
/// Repeating a request id returns the same leases while they live: after a lost
/// reply, ask again with the same id. With `Accept: application/vnd.creel.v1`
/// the answer is framed.
#[utoipa::path(
    post, path = "/v1/lease", tag = "work", request_body = LeaseCall,
    responses((status = 200, body = LeaseReply), Errors),
    security(("token" = []))
)]
pub async fn lease(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Payload(call): Payload<LeaseCall>,
) -> Result<Response, Failure> {
    check_call(&call)?;
    tracing::trace!(worker = %call.worker, token = %caller.name, routes = call.wants.len(), "lease");
    let leases = tokio::select! {
        leases = api.work.lease(call.into()) => leases?,
        // a long poll must not hold up the drain
        () = api.stop.cancelled() => Vec::new(),
    };
    if is_framed(&headers, &ACCEPT) {
        return framed(&leases);
    }
    let views: Result<Vec<_>, _> = leases
        .iter()
        .map(|lease| LeaseView::new(api.log_id, lease))
        .collect();
    let leases = views.map_err(|error| WorkError::Unavailable(error.to_string()))?;
    Ok(Json(LeaseReply { leases }).into_response())
}

/// Makes a lease hold as long again from now.
#[utoipa::path(
    post, path = "/v1/leases/{id}/extend", tag = "work",
    params(("id" = String, Path, description = "the lease")),
    responses((status = 200, body = ExtendReply), Errors),
    security(("token" = []))
)]
pub async fn extend(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<ExtendReply>, Failure> {
    let holds = api.work.extend(lease_id(&id)?).await?;
    let expires_in_ms = u64::try_from(holds.as_millis()).unwrap_or(u64::MAX);
    Ok(Json(ExtendReply { expires_in_ms }))
}

/// Reports what came of some or all deliveries of a lease; durable when answered.
///
/// Repeating it is fine for the lease's holder. With `Content-Type:
/// application/vnd.creel.v1` the body is framed.
#[utoipa::path(
    post, path = "/v1/leases/{id}/settle", tag = "work", request_body = SettleCall,
    params(("id" = String, Path, description = "the lease")),
    responses((status = 204, description = "durable"), Errors),
    security(("token" = []))
)]
pub async fn settle(
    State(api): State<Api>,
    Path(id): Path<String>,
    request: Request,
) -> Result<StatusCode, Failure> {
    let id = lease_id(&id)?;
    let settled = if is_framed(request.headers(), &CONTENT_TYPE) {
        framed_settled(whole_body(request, &api).await?)?
    } else {
        let Payload(call) = Payload::<SettleCall>::from_request(request, &api).await?;
        json_settled(call)?
    };
    api.work.settle(id, settled).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_call(call: &LeaseCall) -> Result<(), Failure> {
    let texts = [&call.request, &call.worker];
    if texts.iter().any(|text| text.len() > TEXT_BYTES_MAX) || call.request.is_empty() {
        return Err(Failure::invalid(format!(
            "`request` has 1 to {TEXT_BYTES_MAX} bytes, `worker` at most as many"
        )));
    }
    if call.wants.is_empty() || call.wants.len() > WANTS_MAX {
        return Err(Failure::invalid(format!(
            "`wants` has 1 to {WANTS_MAX} routes"
        )));
    }
    Ok(())
}

fn lease_id(text: &str) -> Result<u64, Failure> {
    text.parse()
        .map_err(|_| Failure::invalid("a lease's id is a number"))
}

fn is_framed(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().unwrap_or_default().trim() == FRAMED)
}

fn framed(leases: &[Lease]) -> Result<Response, Failure> {
    let chunks =
        frames::encode_leases(leases).map_err(|error| WorkError::Unavailable(error.to_string()))?;
    let mut response = Response::new(Body::new(Chunks::new(chunks)));
    let kind = HeaderValue::from_static(FRAMED);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

fn framed_settled(body: Bytes) -> Result<Vec<Settled>, Failure> {
    let mut settled =
        frames::decode_settled(body).map_err(|error| Failure::invalid(error.to_string()))?;
    for one in &mut settled {
        one.report = bounded(std::mem::take(&mut one.report));
    }
    Ok(settled)
}

fn json_settled(call: SettleCall) -> Result<Vec<Settled>, Failure> {
    if call.settled.len() > LEASE_ITEMS_MAX as usize {
        return Err(Failure::invalid("more than a lease holds"));
    }
    let settled: Result<_, WireError> = call.settled.into_iter().map(from_view).collect();
    settled.map_err(|error| Failure::invalid(error.to_string()))
}

fn from_view(view: SettledView) -> Result<Settled, WireError> {
    view.try_into()
}

/// A body of known length in pieces that are not copied.
struct Chunks {
    chunks: VecDeque<Bytes>,
    left_bytes: u64,
}

impl Chunks {
    fn new(chunks: Vec<Bytes>) -> Self {
        Self {
            left_bytes: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            chunks: chunks.into(),
        }
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.chunks.pop_front().map(|chunk| {
            self.left_bytes -= chunk.len() as u64;
            Ok(Frame::data(chunk))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}
