//! What came of one try, as the worker reports it and as it is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a worker says came of one try. It classifies; the lender decides what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The destination has it.
    Delivered,
    /// The destination's filter left it out, on purpose.
    Filtered,
    /// Not this time; the destination may have asked for a pause.
    Retry {
        /// What the destination asked for (`Retry-After`), if it did.
        after: Option<Duration>,
    },
    /// The destination will never take it.
    Reject,
    /// Given back untried; uses up no attempt.
    Released,
}

/// How one attempt ended, as it is kept and counted.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The destination has it.
    Delivered,
    /// Left out on purpose.
    Filtered,
    /// To be tried again.
    Retry,
    /// The destination will never take it.
    Reject,
    /// The lease ended without a word from its worker.
    Lost,
    /// Given back untried.
    Released,
}

impl Verdict {
    /// All of them, in the order tables show them.
    pub const ALL: [Self; 6] = [
        Self::Delivered,
        Self::Filtered,
        Self::Retry,
        Self::Reject,
        Self::Lost,
        Self::Released,
    ];

    /// The word used in metrics, the API and on screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Filtered => "filtered",
            Self::Retry => "retry",
            Self::Reject => "reject",
            Self::Lost => "lost",
            Self::Released => "released",
        }
    }
}

impl From<&Outcome> for Verdict {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered => Self::Delivered,
            Outcome::Filtered => Self::Filtered,
            Outcome::Retry { .. } => Self::Retry,
            Outcome::Reject => Self::Reject,
            Outcome::Released => Self::Released,
        }
    }
}
