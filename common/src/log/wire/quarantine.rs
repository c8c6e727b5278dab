//! Requests that failed verification: looked at, judged again, taken in, dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{ActCall, HeaderView};
use crate::ids::{DeliveryId, QuarantineId};
use crate::time::Timestamp;

/// A request in quarantine as people look at it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuarantineView {
    /// Its id.
    pub id: QuarantineId,
    /// The source it was sent to.
    pub source: String,
    /// When it had been received whole.
    pub received_at: Timestamp,
    /// Why it was refused then; the word of `creel_refused_total`.
    pub reason: String,
    /// What it looks like with the configuration of now: `genuine` (reverifying takes it),
    /// `other_secret`, `wrong_url`, `body_changed`, `clock`, `missing_header`, `wrong_secret`,
    /// `no_source` or `other`. Absent in lists where the body is larger than 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<String>,
    /// What that means, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// HTTP method.
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// The sender's address, from trusted proxies where there are any.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub remote: IpAddr,
    /// The address that was connected.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub peer: IpAddr,
    /// Header lines in order; credentials are replaced by their digest. Empty in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderView>,
    /// Size of the body in bytes.
    pub body_bytes: u64,
    /// The body in base64; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

/// A page of them, in order of arrival.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuarantinePage {
    /// What was found.
    pub items: Vec<QuarantineView>,
    /// Where the next page begins (as `from`); absent on the last one.
    pub next: Option<QuarantineId>,
}

/// Which of them. Everything that is given must hold; at least one thing must be given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Chosen {
    /// These.
    pub ids: Vec<QuarantineId>,
    /// Sent to this source.
    pub source: Option<String>,
    /// Refused for this reason.
    pub reason: Option<String>,
    /// Sent from this address.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub address: Option<IpAddr>,
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// Every one.
    pub all: bool,
}

impl Chosen {
    /// Whether nothing was said, which must not mean everything.
    pub fn says_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// For the record of acts.
impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.source.iter().map(|text| format!("source={text}")));
        parts.extend(self.reason.iter().map(|text| format!("reason={text}")));
        parts.extend(self.address.iter().map(|text| format!("address={text}")));
        parts.extend(self.since.iter().map(|at| format!("since={at}")));
        parts.extend(self.until.iter().map(|at| format!("until={at}")));
        match self.ids.as_slice() {
            [] => {}
            [id] => parts.push(id.to_string()),
            [first, rest @ ..] => parts.push(format!("{first} and {} more", rest.len())),
        }
        if parts.is_empty() {
            return f.write_str("all");
        }
        f.write_str(&parts.join(" "))
    }
}

/// Which page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuarantineFind {
    /// Which of them; here nothing means everything.
    pub which: Chosen,
    /// Where the page begins.
    pub from: Option<QuarantineId>,
    /// At most this many; 0 means 50.
    pub limit: u32,
}

impl QuarantineFind {
    /// The pairs of a query string; what was not asked for is left out.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let which = &self.which;
        let all = [
            ("source", which.source.clone()),
            ("reason", which.reason.clone()),
            ("address", which.address.map(|address| address.to_string())),
            ("since", which.since.map(|at| at.millis().to_string())),
            ("until", which.until.map(|at| at.millis().to_string())),
            ("from", self.from.map(|id| id.to_string())),
            ("limit", (self.limit > 0).then(|| self.limit.to_string())),
        ];
        let given = all.into_iter();
        given
            .filter_map(|(name, text)| Some((name, text?)))
            .collect()
    }
}

/// Drops some of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChosenCall {
    /// Which ones.
    pub which: Chosen,
    /// Count only, change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Who, and why.
    #[serde(default)]
    pub act: ActCall,
}

/// Judges some of them again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReverifyCall {
    /// Which ones.
    pub which: Chosen,
    /// Go on from here: `next` of the call before.
    #[serde(default)]
    pub from: Option<QuarantineId>,
    /// Look at no more than this many in this call; 0 and more than 5,000 mean 5,000.
    #[serde(default)]
    pub limit: u32,
    /// Judge and count only, take nothing in.
    #[serde(default)]
    pub dry_run: bool,
    /// Who, and why.
    #[serde(default)]
    pub act: ActCall,
}

/// What came of judging again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reverified {
    /// How many were looked at.
    pub looked_at: u64,
    /// Genuine, and (unless it was a dry run) now durable in the log.
    pub appended: u64,
    /// Genuine, and in the log already.
    pub duplicates: u64,
    /// Genuine, and no deliveries but handshakes whose sender wants a URL called: it is, from now on.
    #[serde(default)]
    pub confirmed: u64,
    /// Refused again, by reason; they stay in quarantine.
    pub refused: BTreeMap<String, u64>,
    /// The first and the last delivery that were appended.
    #[serde(default)]
    pub deliveries: Option<(DeliveryId, DeliveryId)>,
    /// Where to go on (as `from`); absent when all was looked at.
    pub next: Option<QuarantineId>,
    /// Why it ended early: the log takes nothing just now. What was not taken is still here.
    #[serde(default)]
    pub stopped: Option<String>,
}

/// Takes one in although it failed verification.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PromoteCall {
    /// Who, and why; why must be given.
    pub act: ActCall,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Promoted {
    /// The delivery it is now.
    pub delivery: DeliveryId,
}
