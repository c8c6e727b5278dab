//! What workers and operators say to a receiver, and what it answers: the JSON form.
//!
//! Any HTTP client can be a worker with these. Bodies are base64; times are
//! milliseconds since 1970 (UTC); lease ids are text, because they use all 64
//! bits. creel's own workers carry leases and settlements in
//! [`frames`](super::frames) instead, asked for with `Accept` and
//! `Content-Type` [`FRAMED`].

mod act;
mod delivery;
mod doctor;
mod facts;
mod found;
mod lease;
mod quarantine;
mod refusal;
mod reload;
mod settle;
mod source;
mod source_doc;
#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use self::act::{ActCall, BackupOrderCall, CountReply, DeadCall, RenameCall, RewindCall};
pub use self::delivery::{DeliveryView, HeaderView};
pub use self::doctor::{DOCTOR_HEADER, SeenView, VisitView};
pub use self::facts::{DedupeView, KeptView, LogView, PartView, ReachedView, VolumeView};
pub use self::found::{AttemptView, DeadPage, FoundPage, FoundView, StandingView, find_pairs};
pub use self::lease::{ItemView, LeaseCall, LeaseReply, LeaseView};
pub use self::quarantine::{
    Chosen, ChosenCall, PromoteCall, Promoted, QuarantineFind, QuarantinePage, QuarantineView,
    Reverified, ReverifyCall,
};
pub use self::refusal::{Refusal, RefusalKind};
pub use self::reload::{Differing, ReloadView};
pub use self::settle::{ExtendReply, OutcomeWord, ReportView, SettleCall, SettledView, bounded};
pub use self::source::{SecretState, SecretView, SourceView};
pub use self::source_doc::{
    CommandDoc, EventsDoc, LimitsDoc, RepeatsDoc, ReplyBy, ReplyDoc, RetryDoc, SampleDoc,
    SecretDoc, SourceDoc, UrlPart,
};

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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn decode64(text: &str) -> Result<Vec<u8>, WireError> {
    STANDARD
        .decode(text)
        .map_err(|_| WireError("not base64 (with padding)"))
}
