//! What became of deliveries.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{WireError, decode64, millis};
use crate::attempt::{ERROR_BYTES_MAX, RESPONSE_BYTES_MAX, Report};
use crate::ids::Offset;
use crate::log::Settled;
use crate::outcome::Outcome;
use crate::time::Timestamp;

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
