//! What workers and operators say to a receiver, and what it answers: the JSON form.
//!
//! Any HTTP client can be a worker with these. Bodies are base64; times are
//! milliseconds since 1970 (UTC); lease ids are text, because they use all 64
//! bits. creel's own workers carry leases and settlements in
//! [`frames`](super::frames) instead, asked for with `Accept` and
//! `Content-Type` [`FRAMED`].

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{self, CodecError};
use super::{
    Actor, Find, Found, Lease, LeaseRequest, Leased, OperateError, RewindTo, Selection, Settled,
    Standing, Want, WorkError,
};
use crate::attempt::{Attempt, ERROR_BYTES_MAX, RESPONSE_BYTES_MAX, Report};
use crate::delivery::{Delivery, Envelope, Head, Header, IdempotencyKey};
use crate::engine::{Gap, VolumeInfo};
use crate::ids::{DeliveryId, LogId, Offset};
use crate::outcome::{Outcome, Verdict};
use crate::time::Timestamp;

/// The header that names the version of what is spoken between worker and receiver.
pub const PROTOCOL_HEADER: &str = "creel-protocol";
/// The version this program speaks.
pub const PROTOCOL: u32 = 1;
/// The versions this program understands.
pub const PROTOCOLS: &[u32] = &[1];
/// The media type of the framed binary form.
pub const FRAMED: &str = "application/vnd.creel.v1";
/// The media type of the JSON form.
pub const JSON: &str = "application/json";

/// Most routes in one lease request.
pub const WANTS_MAX: usize = 1024;
/// Longest text a caller may send as a name or a reason, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;

/// A field that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(&'static str);

/// Asks for leases: one long poll over many routes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LeaseCall {
    /// Unique per request; repeating it returns the same leases while they live.
    #[cfg_attr(feature = "openapi", schema(example = "w1-000017"))]
    pub request: String,
    /// Who asks, for people.
    #[cfg_attr(feature = "openapi", schema(example = "worker-1"))]
    pub worker: String,
    /// What is wanted; at most 1,024 routes.
    pub wants: Vec<Want>,
    /// How long to wait in milliseconds when there is nothing yet; at most 30,000.
    #[serde(default)]
    pub wait_ms: u64,
}

impl From<LeaseRequest> for LeaseCall {
    fn from(request: LeaseRequest) -> Self {
        Self {
            request: request.request,
            worker: request.worker,
            wants: request.wants,
            wait_ms: millis(request.wait),
        }
    }
}

impl From<LeaseCall> for LeaseRequest {
    fn from(call: LeaseCall) -> Self {
        Self {
            request: call.request,
            worker: call.worker,
            wants: call.wants,
            wait: Duration::from_millis(call.wait_ms).min(super::LEASE_WAIT_MAX),
        }
    }
}

/// The leases given; empty when nothing came up in time.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseReply {
    /// At most one per route.
    pub leases: Vec<LeaseView>,
}

/// A lease in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseView {
    /// Its name, for `extend` and `settle`.
    #[cfg_attr(feature = "openapi", schema(example = "4611686018427387911"))]
    pub id: String,
    /// The route.
    pub route: String,
    /// How long it holds from the moment the reply was made, in milliseconds.
    pub expires_in_ms: u64,
    /// What it holds, in order of offset.
    pub items: Vec<ItemView>,
}

impl LeaseView {
    /// Shows a lease of log `log`.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn new(log: LogId, lease: &Lease) -> Result<Self, CodecError> {
        Ok(Self {
            id: lease.id.to_string(),
            route: lease.route.clone(),
            expires_in_ms: millis(lease.expires_in),
            items: lease
                .items
                .iter()
                .map(|item| ItemView::new(log, item))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// One leased delivery in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ItemView {
    /// Its id.
    pub id: DeliveryId,
    /// Its place in the log; `settle` names it by this.
    pub offset: Offset,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// How often it was rewound or reprocessed on this route.
    pub generation: u32,
    /// The delivery.
    pub delivery: DeliveryView,
}

impl ItemView {
    fn new(log: LogId, item: &Leased) -> Result<Self, CodecError> {
        let delivery = codec::decode(&item.record)?;
        Ok(Self {
            id: DeliveryId {
                log,
                offset: item.offset,
            },
            offset: item.offset,
            attempt: item.attempt,
            generation: item.generation,
            delivery: DeliveryView::new(&delivery, true),
        })
    }
}

/// One header line in JSON. Exactly one of the values is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HeaderView {
    /// Name in lower case.
    pub name: String,
    /// The value, when it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value in base64, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

impl From<&Header> for HeaderView {
    fn from(header: &Header) -> Self {
        let text = std::str::from_utf8(&header.value).ok().map(str::to_owned);
        Self {
            name: header.name.clone(),
            value_base64: text.is_none().then(|| STANDARD.encode(&header.value)),
            value: text,
        }
    }
}

impl TryFrom<HeaderView> for Header {
    type Error = WireError;
    fn try_from(view: HeaderView) -> Result<Self, WireError> {
        let value = match (view.value, view.value_base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(coded)) => decode64(&coded)?,
            _ => return Err(WireError("a header needs exactly one value")),
        };
        Ok(Self::new(view.name, value))
    }
}

/// A delivery in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryView {
    /// Name of the source.
    pub source: String,
    /// Event type as the sender names it.
    pub event_type: Option<String>,
    /// When the request had been received whole.
    pub received_at: Timestamp,
    /// HTTP method.
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// Header lines in order; credentials are replaced by their digest.
    pub headers: Vec<HeaderView>,
    /// The sender's address.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub remote: Option<IpAddr>,
    /// The sender's own name for the event.
    pub event_id: Option<String>,
    /// The name under which a repeat is recognised.
    pub key: Option<String>,
    /// Whether the signature covered the body.
    pub body_authenticated: bool,
    /// The body in base64; absent where bodies were not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

impl DeliveryView {
    /// Shows a delivery, with or without its body.
    pub fn new(delivery: &Delivery, with_body: bool) -> Self {
        let Delivery {
            envelope,
            head,
            body,
        } = delivery;
        Self {
            source: envelope.source.clone(),
            event_type: envelope.event_type.clone(),
            received_at: envelope.received_at,
            method: head.method.clone(),
            target: head.target.clone(),
            headers: head.headers.iter().map(HeaderView::from).collect(),
            remote: head.remote,
            event_id: head.event_id.clone(),
            key: head.key.as_ref().map(|key| key.0.clone()),
            body_authenticated: head.body_authenticated,
            body_base64: with_body.then(|| STANDARD.encode(body)),
        }
    }
}

impl TryFrom<DeliveryView> for Delivery {
    type Error = WireError;
    fn try_from(view: DeliveryView) -> Result<Self, WireError> {
        let body = view.body_base64.as_deref().unwrap_or_default();
        Ok(Self {
            envelope: Envelope {
                source: view.source,
                event_type: view.event_type,
                received_at: view.received_at,
            },
            head: Head {
                method: view.method,
                target: view.target,
                headers: view
                    .headers
                    .into_iter()
                    .map(Header::try_from)
                    .collect::<Result<_, _>>()?,
                remote: view.remote,
                event_id: view.event_id,
                key: view.key.map(IdempotencyKey),
                body_authenticated: view.body_authenticated,
            },
            body: Bytes::from(decode64(body)?),
        })
    }
}

/// How long a lease holds from now.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExtendReply {
    /// In milliseconds.
    pub expires_in_ms: u64,
}

/// Reports what came of some or all deliveries of a lease.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SettleCall {
    /// At most as many as a lease holds (4,096).
    pub settled: Vec<SettledView>,
}

/// What a worker says came of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutcomeWord {
    /// The destination has it.
    Delivered,
    /// The destination's filter left it out, on purpose.
    Filtered,
    /// Not this time.
    Retry,
    /// The destination will never take it.
    Reject,
    /// Given back untried; uses up no attempt.
    Released,
}

/// What came of one leased delivery.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SettledView {
    /// Which one.
    pub offset: Offset,
    /// What came of it.
    pub outcome: OutcomeWord,
    /// With `retry`: the pause the destination asked for, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// What the worker saw.
    #[serde(default)]
    pub report: ReportView,
}

impl From<&Settled> for SettledView {
    fn from(settled: &Settled) -> Self {
        let (outcome, after) = match &settled.outcome {
            Outcome::Delivered => (OutcomeWord::Delivered, None),
            Outcome::Filtered => (OutcomeWord::Filtered, None),
            Outcome::Retry { after } => (OutcomeWord::Retry, *after),
            Outcome::Reject => (OutcomeWord::Reject, None),
            Outcome::Released => (OutcomeWord::Released, None),
        };
        Self {
            offset: settled.offset,
            outcome,
            retry_after_ms: after.map(millis),
            report: ReportView::from(&settled.report),
        }
    }
}

impl TryFrom<SettledView> for Settled {
    type Error = WireError;
    fn try_from(view: SettledView) -> Result<Self, WireError> {
        let outcome = match view.outcome {
            OutcomeWord::Delivered => Outcome::Delivered,
            OutcomeWord::Filtered => Outcome::Filtered,
            OutcomeWord::Retry => Outcome::Retry {
                after: view.retry_after_ms.map(Duration::from_millis),
            },
            OutcomeWord::Reject => Outcome::Reject,
            OutcomeWord::Released => Outcome::Released,
        };
        Ok(Self {
            offset: view.offset,
            outcome,
            report: view.report.try_into()?,
        })
    }
}

/// What a worker saw of one try.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ReportView {
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// The protocol's status where it has one (HTTP).
    pub status: Option<u16>,
    /// What went wrong, in words; the first 1,024 bytes are kept.
    pub error: Option<String>,
    /// The start of the response in base64; the first 4,096 bytes are kept.
    pub response_base64: Option<String>,
}

impl From<&Report> for ReportView {
    fn from(report: &Report) -> Self {
        let response = &report.response;
        Self {
            started_at: report.started_at,
            duration_ms: report.duration_ms,
            status: report.status,
            error: report.error.clone(),
            response_base64: (!response.is_empty()).then(|| STANDARD.encode(response)),
        }
    }
}

impl TryFrom<ReportView> for Report {
    type Error = WireError;
    fn try_from(view: ReportView) -> Result<Self, WireError> {
        let coded = view.response_base64.as_deref().unwrap_or_default();
        Ok(bounded(Self {
            started_at: view.started_at,
            duration_ms: view.duration_ms,
            status: view.status,
            error: view.error,
            response: decode64(coded)?,
        }))
    }
}

/// Cuts what a worker reported to what is kept of it.
pub fn bounded(mut report: Report) -> Report {
    report.response.truncate(RESPONSE_BYTES_MAX);
    if let Some(error) = &mut report.error {
        let mut end = error.len().min(ERROR_BYTES_MAX);
        while !error.is_char_boundary(end) {
            end -= 1;
        }
        error.truncate(end);
    }
    report
}

/// The log as a whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogView {
    /// Its name: the first part of every delivery's id.
    pub log: LogId,
    /// The oldest offset that is there; equal to `next` when nothing is.
    pub first: Offset,
    /// The offset the next delivery gets.
    pub next: Offset,
    /// Deliveries that are there.
    pub deliveries: u64,
    /// Idempotency keys on disk.
    pub keys: u64,
    /// Why it takes nothing in just now; absent while it does.
    pub refuses: Option<String>,
    /// Bytes the log takes; absent without a disk.
    pub used_bytes: Option<u64>,
    /// Bytes free on its file system; absent without a disk.
    pub free_bytes: Option<u64>,
    /// Its volumes, oldest first.
    pub volumes: Vec<VolumeView>,
    /// What the last opening found missing.
    pub gaps: Vec<GapView>,
}

/// One volume of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VolumeView {
    /// Its number.
    pub number: u64,
    /// Its first offset.
    pub first: Offset,
    /// One past its last offset.
    pub end: Offset,
    /// Bytes it takes on disk.
    pub bytes: u64,
    /// Nothing is appended to it any more.
    pub sealed: bool,
}

impl From<VolumeInfo> for VolumeView {
    fn from(volume: VolumeInfo) -> Self {
        Self {
            number: volume.number,
            first: volume.first,
            end: volume.end,
            bytes: volume.bytes,
            sealed: volume.sealed,
        }
    }
}

/// Offsets that were, or may have been, lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GapView {
    /// First offset of the gap.
    pub first: Offset,
    /// Last offset of the gap.
    pub last: Offset,
    /// Whether deliveries are known to have been there.
    pub known_lost: bool,
}

impl From<Gap> for GapView {
    fn from(gap: Gap) -> Self {
        Self {
            first: gap.first,
            last: gap.last,
            known_lost: gap.known_lost,
        }
    }
}

/// A delivery as people look at it, in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FoundView {
    /// Its id.
    pub id: DeliveryId,
    /// The delivery.
    pub delivery: DeliveryView,
    /// Size of the body in bytes, also when it was left out.
    pub body_bytes: u64,
    /// Where it stands, per route of its source.
    pub standings: Vec<StandingView>,
}

/// Where a delivery stands on one route.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StandingView {
    /// The route.
    pub route: String,
    /// Where it stands there.
    pub standing: Standing,
}

impl FoundView {
    /// Shows what was found, with or without the body.
    pub fn new(found: &Found, with_body: bool) -> Self {
        let standing = |(route, standing): &(String, Standing)| StandingView {
            route: route.clone(),
            standing: standing.clone(),
        };
        Self {
            id: found.id,
            delivery: DeliveryView::new(&found.delivery, with_body),
            body_bytes: found.body_bytes,
            standings: found.standings.iter().map(standing).collect(),
        }
    }
}

impl TryFrom<FoundView> for Found {
    type Error = WireError;
    fn try_from(view: FoundView) -> Result<Self, WireError> {
        Ok(Self {
            id: view.id,
            delivery: view.delivery.try_into()?,
            body_bytes: view.body_bytes,
            standings: view
                .standings
                .into_iter()
                .map(|one| (one.route, one.standing))
                .collect(),
        })
    }
}

/// A page of deliveries.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FoundPage {
    /// What was found.
    pub items: Vec<FoundView>,
    /// Where the next page begins (as `from`); absent on the last one.
    pub next: Option<Offset>,
}

/// A page of dead letters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadPage {
    /// What was found.
    pub items: Vec<super::DeadLetter>,
    /// Where the next page begins (as `from`); absent on the last one.
    pub next: Option<Offset>,
}

/// One kept attempt in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptView {
    /// The delivery's place in the log.
    pub offset: Offset,
    /// The route.
    pub route: String,
    /// Which try this was, from 1.
    pub number: u32,
    /// How it ended.
    pub verdict: Verdict,
    /// What the worker saw; empty for a lost one.
    pub report: ReportView,
}

impl From<&Attempt> for AttemptView {
    fn from(attempt: &Attempt) -> Self {
        Self {
            offset: attempt.offset,
            route: attempt.route.clone(),
            number: attempt.number,
            verdict: attempt.verdict,
            report: ReportView::from(&attempt.report),
        }
    }
}

impl TryFrom<AttemptView> for Attempt {
    type Error = WireError;
    fn try_from(view: AttemptView) -> Result<Self, WireError> {
        Ok(Self {
            offset: view.offset,
            route: view.route,
            number: view.number,
            verdict: view.verdict,
            report: view.report.try_into()?,
        })
    }
}

/// Who acts, and why: recorded with what was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ActCall {
    /// Who, in their own words; the token's name is always recorded.
    pub who: Option<String>,
    /// Why.
    pub why: Option<String>,
}

impl From<Actor> for ActCall {
    fn from(actor: Actor) -> Self {
        Self {
            who: (!actor.who.is_empty()).then_some(actor.who),
            why: actor.why,
        }
    }
}

/// Changes dead letters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeadCall {
    /// Which ones.
    pub which: Selection,
    /// Who, and why.
    #[serde(default)]
    pub act: ActCall,
}

/// Sets a route's cursor back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RewindCall {
    /// Where to.
    pub to: RewindTo,
    /// Who, and why.
    #[serde(default)]
    pub act: ActCall,
}

/// Moves a cursor to another name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RenameCall {
    /// The new name.
    pub to: String,
    /// Who, and why.
    #[serde(default)]
    pub act: ActCall,
}

/// How many deliveries something concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CountReply {
    /// How many.
    pub count: u64,
}

/// A configured source: where to send to, and what is expected there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SourceView {
    /// Its name.
    pub name: String,
    /// Its provider pack.
    pub provider: String,
    /// Its path on the public listener.
    pub path: String,
    /// The URL to enter at the sender, where `public_url` is configured.
    pub url: Option<String>,
    /// Methods the sender uses.
    pub methods: Vec<String>,
    /// How many secrets are active.
    pub secrets: u32,
    /// Largest body in bytes.
    pub body_bytes_max: u64,
    /// Whether a signature covers the body.
    pub body_authenticated: bool,
    /// For how long repeats are recognised, in milliseconds; 0: not at all.
    pub dedupe_window_ms: u64,
    /// The sender's own documentation.
    pub docs: Option<String>,
}

/// What kind of refusal an error is; programs branch on this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// 410: the lease has ended; nothing changed.
    Stale,
    /// 404: no such route.
    NoRoute,
    /// 404: no such delivery, dead letter or path.
    NotFound,
    /// 422: the request makes no sense, or is not allowed as things stand.
    Invalid,
    /// 401: no token, or none that is known.
    Unauthorized,
    /// 403: the token does not allow it.
    Forbidden,
    /// 400: another version of the protocol than the ones named.
    Protocol,
    /// 503: the log has stopped; try again.
    Unavailable,
}

impl RefusalKind {
    /// Its HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Stale => 410,
            Self::NoRoute | Self::NotFound => 404,
            Self::Invalid => 422,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::Protocol => 400,
            Self::Unavailable => 503,
        }
    }
}

/// The body of every error on the private listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refusal {
    /// What is wrong, in words.
    #[cfg_attr(feature = "openapi", schema(example = "no route `github-bilds`"))]
    pub error: String,
    /// What kind of refusal it is.
    pub kind: RefusalKind,
    /// The lease or route it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl Refusal {
    /// A refusal about nothing in particular.
    pub fn new(kind: RefusalKind, error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            kind,
            subject: None,
        }
    }

    fn about(mut self, subject: impl ToString) -> Self {
        self.subject = Some(subject.to_string());
        self
    }
}

impl From<WorkError> for Refusal {
    fn from(error: WorkError) -> Self {
        let text = error.to_string();
        match error {
            WorkError::Stale(lease) => Self::new(RefusalKind::Stale, text).about(lease),
            WorkError::NoRoute(route) => Self::new(RefusalKind::NoRoute, text).about(route),
            WorkError::Unavailable(_) => Self::new(RefusalKind::Unavailable, text),
            WorkError::Invalid(_) => Self::new(RefusalKind::Invalid, text),
        }
    }
}

impl From<Refusal> for WorkError {
    fn from(refusal: Refusal) -> Self {
        let subject = refusal.subject.unwrap_or_default();
        match refusal.kind {
            RefusalKind::Stale => Self::Stale(subject.parse().unwrap_or_default()),
            RefusalKind::NoRoute => Self::NoRoute(subject),
            RefusalKind::Unavailable => Self::Unavailable(refusal.error),
            RefusalKind::NotFound
            | RefusalKind::Invalid
            | RefusalKind::Unauthorized
            | RefusalKind::Forbidden
            | RefusalKind::Protocol => Self::Invalid(refusal.error),
        }
    }
}

impl From<OperateError> for Refusal {
    fn from(error: OperateError) -> Self {
        let kind = match &error {
            OperateError::NotFound(_) => RefusalKind::NotFound,
            OperateError::Invalid(_) => RefusalKind::Invalid,
            OperateError::Forbidden(_) => RefusalKind::Forbidden,
            OperateError::Unavailable(_) => RefusalKind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Refusal> for OperateError {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.error;
        match refusal.kind {
            RefusalKind::NotFound | RefusalKind::NoRoute => Self::NotFound(text),
            RefusalKind::Invalid | RefusalKind::Stale | RefusalKind::Protocol => {
                Self::Invalid(text)
            }
            RefusalKind::Unauthorized | RefusalKind::Forbidden => Self::Forbidden(text),
            RefusalKind::Unavailable => Self::Unavailable(text),
        }
    }
}

/// A search as the pairs of a query string; what was not asked for is left out.
pub fn find_pairs(find: &Find) -> Vec<(&'static str, String)> {
    let mut pairs = Vec::new();
    let mut put = |name, value: Option<String>| {
        if let Some(value) = value {
            pairs.push((name, value));
        }
    };
    put("source", find.source.clone());
    put("event", find.event.clone());
    put("route", find.route.clone());
    put("since", find.since.map(|at| at.millis().to_string()));
    put("until", find.until.map(|at| at.millis().to_string()));
    put("from", find.from.map(|at| at.to_string()));
    put("limit", (find.limit > 0).then(|| find.limit.to_string()));
    put("newest", find.newest.then(|| "true".to_owned()));
    put("bodies", find.bodies.then(|| "true".to_owned()));
    pairs
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn decode64(text: &str) -> Result<Vec<u8>, WireError> {
    STANDARD
        .decode(text)
        .map_err(|_| WireError("not base64 (with padding)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> Delivery {
        Delivery {
            envelope: Envelope {
                source: "github".into(),
                event_type: Some("push".into()),
                received_at: Timestamp(1_700_000_000_000),
            },
            head: Head {
                method: "POST".into(),
                target: "/in/github?a=1".into(),
                headers: vec![
                    Header::new("x-a", "1"),
                    Header::new("x-b", b"\xff".to_vec()),
                    Header::new("x-a", "2"),
                ],
                remote: Some([127, 0, 0, 1].into()),
                event_id: Some("e1".into()),
                key: Some(IdempotencyKey("e1".into())),
                body_authenticated: true,
            },
            body: Bytes::from_static(b"\x00\xff"),
        }
    }

    #[test]
    fn a_delivery_survives_json_byte_for_byte() {
        let text = serde_json::to_string(&DeliveryView::new(&delivery(), true)).unwrap();
        let view: DeliveryView = serde_json::from_str(&text).unwrap();
        assert_eq!(Delivery::try_from(view).unwrap(), delivery());
    }

    #[test]
    fn a_lease_shows_its_whole_id_as_text() {
        let lease = Lease {
            id: u64::MAX,
            route: "r".into(),
            expires_in: Duration::from_secs(1),
            items: vec![Leased {
                offset: 9,
                attempt: 1,
                generation: 0,
                record: codec::encode(&delivery()).unwrap().into(),
            }],
        };
        let view = LeaseView::new(LogId::from_bits(1), &lease).unwrap();
        let json = serde_json::to_value(view).unwrap();
        assert_eq!(json["id"], u64::MAX.to_string());
        assert_eq!(json["items"][0]["id"], "0000000000000001-9");
        assert_eq!(json["items"][0]["delivery"]["body_base64"], "AP8=");
    }

    #[test]
    fn errors_come_back_as_what_they_were() {
        for error in [
            WorkError::Stale(u64::MAX),
            WorkError::NoRoute("r".into()),
            WorkError::Unavailable("gone".into()),
            WorkError::Invalid("no".into()),
        ] {
            assert_eq!(WorkError::from(Refusal::from(error.clone())), error);
        }
        for error in [
            OperateError::NotFound("a".into()),
            OperateError::Invalid("b".into()),
            OperateError::Forbidden("c".into()),
            OperateError::Unavailable("d".into()),
        ] {
            assert_eq!(OperateError::from(Refusal::from(error.clone())), error);
        }
    }

    #[test]
    fn a_report_is_cut_to_what_is_kept() {
        let report = bounded(Report {
            error: Some("é".repeat(ERROR_BYTES_MAX)),
            response: vec![0; RESPONSE_BYTES_MAX + 1],
            ..Report::default()
        });
        assert_eq!(report.response.len(), RESPONSE_BYTES_MAX);
        assert_eq!(report.error.unwrap().len(), ERROR_BYTES_MAX);
    }

    #[test]
    fn a_header_with_two_values_is_refused() {
        let view = HeaderView {
            name: "a".into(),
            value: Some("x".into()),
            value_base64: Some("eA==".into()),
        };
        assert!(Header::try_from(view).is_err());
    }
}
