//! Leases, as they are asked for and given.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DeliveryView, millis};
use crate::ids::{DeliveryId, LogId, Offset};
use crate::log::codec::{self, CodecError};
use crate::log::{Lease, LeaseRequest, Leased, Want};

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
            wait: Duration::from_millis(call.wait_ms).min(crate::log::LEASE_WAIT_MAX),
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
