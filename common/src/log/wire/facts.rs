//! The log as a whole.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::VolumeInfo;
use crate::ids::{LogId, Offset};
use crate::log::account::Kept;
use crate::log::bounds::Reached;
use crate::log::keys::{Dedupe, hours};
use crate::log::losses::Loss;

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
    /// For how long they are kept; absent without a disk.
    #[serde(default)]
    pub dedupe: Option<DedupeView>,
    /// Why it takes nothing in just now; absent while it does.
    pub refuses: Option<String>,
    /// Bounds of its room that are reached, those of sources too.
    #[serde(default)]
    pub bounds_reached: Vec<ReachedView>,
    /// What is kept of each source.
    #[serde(default)]
    pub kept: Vec<KeptView>,
    /// Bytes the log takes; absent without a disk.
    pub used_bytes: Option<u64>,
    /// What it takes, part by part; empty without a disk.
    #[serde(default)]
    pub parts: Vec<PartView>,
    /// Bytes free on its file system; absent without a disk.
    pub free_bytes: Option<u64>,
    /// Its volumes, oldest first.
    pub volumes: Vec<VolumeView>,
    /// Names of the sources of which deliveries are or were there, configured or not.
    #[serde(default)]
    pub sources: Vec<String>,
    /// What was lost in its whole life.
    pub gaps: Vec<Loss>,
}

/// A part of what the log takes on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PartView {
    /// `volumes` (deliveries), `state` (cursors, what waits and is dead), `keys`, `attempts`, `ballast`,
    /// `damaged` (copies for people).
    pub part: String,
    /// Bytes it takes.
    pub bytes: u64,
}

impl From<(&'static str, u64)> for PartView {
    fn from((part, bytes): (&'static str, u64)) -> Self {
        Self {
            part: part.to_owned(),
            bytes,
        }
    }
}

/// For how long idempotency keys are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DedupeView {
    /// Most keys that are kept: `dedupe.keys_max`.
    pub keys_max: u64,
    /// The longest window of any source.
    pub window_hours: u64,
    /// How many hours a key is kept at the current rate of new ones; at most ten years.
    pub held_hours: u64,
    /// Keys go before their window is over.
    pub short: bool,
}

impl From<Dedupe> for DedupeView {
    fn from(dedupe: Dedupe) -> Self {
        Self {
            keys_max: dedupe.keys_max,
            window_hours: hours(dedupe.window),
            held_hours: hours(dedupe.held),
            short: dedupe.is_short(),
        }
    }
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
    /// It holds what was left of older ones: of its offsets only some are there.
    #[serde(default)]
    pub rest: bool,
    /// It is being removed: nothing in it counts as there any more.
    #[serde(default)]
    pub going: bool,
    /// What is kept of each source in it.
    #[serde(default)]
    pub kept: Vec<KeptView>,
}

/// What is kept of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeptView {
    /// Its name.
    pub source: String,
    /// Deliveries.
    pub deliveries: u64,
    /// Bytes of their heads and bodies as they are kept, without what the log adds: what quotas are about.
    pub bytes: u64,
    /// How many of these bytes are an even share, in blocks of builds before there were quotas.
    pub estimated_bytes: u64,
}

impl From<(Arc<str>, Kept)> for KeptView {
    fn from((source, kept): (Arc<str>, Kept)) -> Self {
        Self {
            source: source.to_string(),
            deliveries: kept.deliveries,
            bytes: kept.bytes,
            estimated_bytes: kept.estimated_bytes,
        }
    }
}

/// A bound that is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReachedView {
    /// `reserve`, `reserve_operate`, `max_bytes` or `quota`.
    pub bound: String,
    /// The source, for a quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Why, in words, with what would help.
    pub reason: String,
}

impl From<&Reached> for ReachedView {
    fn from(reached: &Reached) -> Self {
        Self {
            bound: reached.bound.word().to_owned(),
            source: reached.bound.source().map(ToString::to_string),
            reason: reached.to_string(),
        }
    }
}

impl From<VolumeInfo> for VolumeView {
    fn from(volume: VolumeInfo) -> Self {
        Self {
            number: volume.number,
            first: volume.first,
            end: volume.end,
            bytes: volume.bytes,
            sealed: volume.sealed,
            rest: volume.rest,
            going: false,
            kept: Vec::new(),
        }
    }
}
