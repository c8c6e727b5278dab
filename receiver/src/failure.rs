//! Errors of the private listener, and how its requests are read.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use creel_common::log::wire::{JSON, PROTOCOL, PROTOCOL_HEADER, Refusal, RefusalKind};
use creel_common::log::{OperateError, WorkError};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::de::DeserializeOwned;
use utoipa::IntoResponses;

/// An error as it is answered.
#[derive(Debug)]
pub struct Failure(pub Refusal);

impl Failure {
    /// A request that makes no sense.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self(Refusal::new(RefusalKind::Invalid, what))
    }
}

impl From<WorkError> for Failure {
    fn from(error: WorkError) -> Self {
        Self(error.into())
    }
}

impl From<OperateError> for Failure {
    fn from(error: OperateError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(PROTOCOL_HEADER, HeaderValue::from(PROTOCOL));
        match self.0.kind {
            RefusalKind::Unauthorized => {
                let bearer = HeaderValue::from_static("Bearer");
                headers.insert(http::header::WWW_AUTHENTICATE, bearer);
            }
            RefusalKind::Unavailable => {
                headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// The errors that every call may answer with.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "describes the answers; never made")]
pub enum Errors {
    /// The protocol version asked for is not spoken here.
    #[response(status = 400)]
    Protocol(Refusal),
    /// No token, or one that is not known, or one in the URL.
    #[response(status = 401)]
    Unauthorized(Refusal),
    /// The token's role does not allow this.
    #[response(status = 403)]
    Forbidden(Refusal),
    /// No such delivery, dead letter or route.
    #[response(status = 404)]
    NotFound(Refusal),
    /// The lease has ended; nothing changed.
    #[response(status = 410)]
    Stale(Refusal),
    /// The request makes no sense, or is not allowed as things stand.
    #[response(status = 422)]
    Invalid(Refusal),
    /// The log has stopped; try again.
    #[response(status = 503)]
    Unavailable(Refusal),
}

/// A JSON body. An empty one reads as `null`'s default where `T` has one.
pub struct Payload<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Payload<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        require_json(request.headers())?;
        let body = whole_body(request, state).await?;
        // a body that was left out is an empty object
        let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
        serde_json::from_slice(text)
            .map(Payload)
            .map_err(|error| Failure::invalid(format!("the body cannot be read: {error}")))
    }
}

/// The bytes of a body, within the limit of its route.
pub async fn whole_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    Bytes::from_request(request, state)
        .await
        .map_err(|error: BytesRejection| Failure::invalid(error.body_text()))
}

fn require_json(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(kind) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let kind = kind.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case(JSON) {
        return Ok(());
    }
    Err(Failure::invalid(format!("the body must be {JSON}")))
}
