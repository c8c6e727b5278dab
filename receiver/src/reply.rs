//! Every answer of the public listener, in one table.
//!
//! A 2xx means that the delivery is durable. Our own faults are 503 with
//! Retry-After, never 4xx: senders disable endpoints for 4xx. A refusal by the
//! scheme never explains itself to the sender.

use std::time::Duration;

use bytes::Bytes;
use creel_common::log::bounds::Bound;
use creel_common::log::{AppendError, Appended};
use creel_common::schemas::Mismatch;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::verify::{Ack, Reason, Reply as Handshake};

/// What the public listener answers.
pub type Reply = Response<Full<Bytes>>;

/// Why a request was not taken. The sender sees only the status and a fixed text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Neither `/in/<source>` nor anything else.
    #[error("no such path")]
    NoPath,
    /// No source of that name; answered like a bad signature.
    #[error("no such source")]
    NoSource,
    /// A method that the source's provider does not use.
    #[error("method")]
    Method,
    /// The scheme said no. The status is the pack's, 401 unless it says otherwise.
    #[error("{reason}")]
    NotVerified {
        /// What was wrong.
        reason: Reason,
        /// The pack's status for it.
        status: u16,
    },
    /// The body is larger than the source's `body_max`.
    #[error("body larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// The body is of none of the source's `content_types`.
    #[error("media type not taken")]
    MediaType,
    /// The body does not match the schema of a source that refuses what does not.
    #[error("{0}")]
    Schema(Mismatch),
    /// The body did not come within `body_timeout`.
    #[error("body too slow")]
    TooSlow,
    /// The body broke off, or its framing is wrong.
    #[error("body broken off")]
    Malformed,
    /// The sender's address is in none of the source's networks.
    #[error("address not allowed")]
    Address,
    /// The source, or the sender's address, is over its rate.
    #[error("over `{setting}`")]
    OverRate {
        /// The setting that says how many there may be.
        setting: &'static str,
        /// The status that makes this sender come back, if any does.
        status: u16,
        /// When the next one may come.
        wait: Duration,
    },
    /// Bodies in memory would exceed `bodies_bytes_max`.
    #[error("too many bytes of bodies in memory")]
    Overloaded,
    /// A handshake asks for something that could not be done.
    #[error("handshake: {0}")]
    Effect(String),
    /// The key that its signature names is still to be fetched.
    #[error("the sender's key is not there yet")]
    KeyPending,
    /// The source has its part of the memory for bodies, or of the places for what waits for the disk.
    #[error("more under way than `source_share` leaves to one source")]
    OverShare,
    /// The log did not take it.
    #[error(transparent)]
    Log(#[from] AppendError),
}

const NOT_VERIFIED: &str = r#"{"error":"not verified"}"#;

impl Refused {
    /// The word in metrics. A closed list.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NoPath => "no_path",
            Self::NoSource => "no_source",
            Self::Method => "method",
            Self::NotVerified { reason, .. } => reason.name(),
            Self::TooLarge { .. } => "too_large",
            Self::MediaType => "media_type",
            Self::Schema(_) => "schema",
            Self::TooSlow => "too_slow",
            Self::Malformed => "malformed",
            Self::Address => "address",
            Self::OverRate { setting, .. } => setting,
            Self::Overloaded => "overloaded",
            Self::OverShare => "source_share",
            Self::Effect(_) => "effect",
            Self::KeyPending => Reason::KeyPending.name(),
            Self::Log(AppendError::Full(reached)) => match reached.bound {
                Bound::Reserve | Bound::ReserveOperate => "log_full",
                Bound::MaxBytes => "log_max_bytes",
                Bound::Quota(_) => "quota",
            },
            Self::Log(AppendError::Busy(_)) => "log_busy",
            Self::Log(AppendError::Stopped) => "log_stopped",
        }
    }

    /// It is our fault, not the sender's.
    pub fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Overloaded | Self::OverShare | Self::Effect(_) | Self::KeyPending | Self::Log(_)
        )
    }

    /// The status, the text and, where that helps, the seconds after which to come back.
    fn row(&self) -> (u16, &'static str, Option<u64>) {
        match self {
            Self::NoPath => (404, r#"{"error":"not found"}"#, None),
            Self::NoSource => (401, NOT_VERIFIED, None),
            Self::NotVerified { status, .. } => (*status, NOT_VERIFIED, None),
            Self::Method => (405, r#"{"error":"method not allowed"}"#, None),
            Self::TooLarge { .. } => (413, r#"{"error":"body too large"}"#, None),
            Self::MediaType => (415, r#"{"error":"media type not taken"}"#, None),
            Self::Schema(_) => (422, r#"{"error":"does not match the schema"}"#, None),
            Self::TooSlow => (408, r#"{"error":"too slow"}"#, None),
            Self::Malformed => (400, r#"{"error":"malformed request"}"#, None),
            Self::Address => (403, r#"{"error":"address not allowed"}"#, None),
            Self::OverRate { status, wait, .. } => {
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                (*status, r#"{"error":"too many requests"}"#, Some(seconds))
            }
            Self::Overloaded | Self::OverShare => (503, r#"{"error":"overloaded"}"#, Some(1)),
            Self::Effect(_) => (503, r#"{"error":"unavailable"}"#, Some(60)),
            Self::KeyPending => (503, r#"{"error":"unavailable"}"#, Some(5)),
            Self::Log(AppendError::Full(_)) => (503, r#"{"error":"unavailable"}"#, Some(30)),
            Self::Log(AppendError::Busy(_)) => (503, r#"{"error":"unavailable"}"#, Some(1)),
            Self::Log(AppendError::Stopped) => (503, r#"{"error":"unavailable"}"#, Some(5)),
        }
    }

    /// The answer. `allow` lists the methods for a 405; `close` when the body was not read whole.
    pub fn reply(&self, allow: Option<&HeaderValue>, close: bool) -> Reply {
        let (status, text, retry_after) = self.row();
        let mut reply = json(status, Bytes::from_static(text.as_bytes()));
        if let Self::Schema(mismatch) = self {
            *reply.body_mut() = Full::new(misses(mismatch));
        }
        let headers = reply.headers_mut();
        if let (Self::Method, Some(allow)) = (self, allow) {
            headers.insert(ALLOW, allow.clone());
        }
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

/// A sender that is verified is told the place, in its own body, and not what the schema says there.
fn misses(mismatch: &Mismatch) -> Bytes {
    let text = serde_json::json!({ "error": "does not match the schema", "at": mismatch.at });
    Bytes::from(text.to_string())
}

/// The answer to a durable delivery: the provider's expected reply, or our own JSON.
pub fn taken(
    appended: Appended,
    ack: Option<&Ack>,
    headers: Vec<(HeaderName, HeaderValue)>,
) -> Reply {
    let Appended { id, duplicate } = appended;
    let mut reply = match ack {
        Some(ack) => {
            let body = Bytes::copy_from_slice(ack.body.as_bytes());
            let kind = Some(ack.content_type.as_str()).filter(|kind| !kind.is_empty());
            with_type(ack.status, kind, body)
        }
        None => json(
            200,
            Bytes::from(format!(r#"{{"id":"{id}","duplicate":{duplicate}}}"#)),
        ),
    };
    reply.headers_mut().extend(headers);
    reply
}

/// The answer to a request of our own that was awaited. Nothing was stored.
pub fn visited() -> Reply {
    json(
        200,
        Bytes::from_static(br#"{"doctor":"seen, and not stored"}"#),
    )
}

/// The answer to a registration handshake. Nothing was stored.
pub fn handshake(given: Handshake) -> Reply {
    let mut reply = with_type(
        given.status,
        given.content_type.as_deref(),
        Bytes::from(given.body),
    );
    let headers = reply.headers_mut();
    headers.extend(given.headers);
    // what is echoed is a stranger's text: no browser may make a page of it
    let plain = HeaderValue::from_static("nosniff");
    headers.entry(X_CONTENT_TYPE_OPTIONS).or_insert(plain);
    reply
}

fn json(status: u16, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status_of(status);
    let json = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, json);
    reply
}

fn with_type(status: u16, content_type: Option<&str>, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status_of(status);
    if let Some(value) = content_type.and_then(|text| HeaderValue::from_str(text).ok()) {
        reply.headers_mut().insert(CONTENT_TYPE, value);
    }
    reply
}

/// Packs are checked when they are read; a status that cannot be is our own fault.
fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use creel_common::log::bounds::Bounds;

    #[test]
    fn our_own_faults_are_503_and_say_when_to_come_back() {
        let quota = Bounds::quota_reached(&"shop".into(), 1, 1).expect("it is reached");
        for refused in [
            Refused::Overloaded,
            Refused::OverShare,
            Refused::Effect("no room".into()),
            Refused::KeyPending,
            Refused::Log(AppendError::Full(quota)),
            Refused::Log(AppendError::Busy("too many".into())),
            Refused::Log(AppendError::Stopped),
        ] {
            assert!(refused.is_ours());
            let reply = refused.reply(None, false);
            assert_eq!(reply.status(), 503, "{refused}");
            assert!(reply.headers().contains_key(RETRY_AFTER), "{refused}");
        }
    }

    #[test]
    fn over_a_rate_is_told_with_whole_seconds_that_are_enough() {
        for (wait_ms, told) in [(1, "1"), (1000, "1"), (1001, "2"), (90_000, "90")] {
            let refused = Refused::OverRate {
                setting: "rate",
                status: 429,
                wait: Duration::from_millis(wait_ms),
            };
            assert!(!refused.is_ours());
            let reply = refused.reply(None, true);
            assert_eq!(reply.status(), 429);
            assert_eq!(reply.headers()[RETRY_AFTER], told);
        }
    }

    #[test]
    fn an_unknown_source_is_answered_like_a_bad_signature() {
        let bad = Refused::NotVerified {
            reason: Reason::NoMatch,
            status: 401,
        };
        assert_eq!(Refused::NoSource.row(), bad.row());
    }
}
