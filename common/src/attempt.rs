//! One try at one destination, as it is kept for people.

use serde::{Deserialize, Serialize};

use crate::ids::Offset;
use crate::outcome::Verdict;
use crate::time::Timestamp;

/// Most bytes of a destination's response that are kept with an attempt.
pub const RESPONSE_BYTES_MAX: usize = 4096;

/// Most bytes of an error's text that are kept with an attempt.
pub const ERROR_BYTES_MAX: usize = 1024;

/// What a worker saw of one try.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// The protocol's status where it has one (HTTP).
    pub status: Option<u16>,
    /// What went wrong, in words; at most [`ERROR_BYTES_MAX`].
    pub error: Option<String>,
    /// The start of the response, at most [`RESPONSE_BYTES_MAX`].
    #[serde(with = "serde_bytes")]
    pub response: Vec<u8>,
}

/// One attempt as the log keeps it, with bounded retention; cursors never depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The delivery.
    pub offset: Offset,
    /// The route.
    pub route: String,
    /// Which try this was, from 1.
    pub number: u32,
    /// How it ended.
    pub verdict: Verdict,
    /// What the worker saw; empty for a lost one.
    pub report: Report,
}
