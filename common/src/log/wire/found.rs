//! What people look at: deliveries, dead letters, attempts.

use serde::{Deserialize, Serialize};

use super::{DeliveryView, ReportView, WireError};
use crate::attempt::Attempt;
use crate::ids::{DeliveryId, Offset};
use crate::log::{Find, Found, Standing};
use crate::outcome::Verdict;

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
    pub items: Vec<crate::log::DeadLetter>,
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
