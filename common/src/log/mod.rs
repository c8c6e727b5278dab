//! The log: what receiver, workers and operators call.
//!
//! Its meaning is written once, here, over any [`Engine`](crate::engine::Engine).
//! Three groups of verbs, so that a caller asks for no more than it needs:
//! [`Intake`] (the receiver), [`Work`] (workers), [`Operate`] (people).

pub mod account;
mod attempts;
mod backup;
pub mod block;
pub mod bounds;
pub mod breaker;
mod carry;
pub mod codec;
mod committer;
mod configure;
pub mod cursor;
pub mod decide;
mod desk;
mod due;
pub mod frames;
mod gate;
mod keeper;
pub mod keys;
pub mod lane;
pub mod lender;
mod lines;
pub mod local;
pub mod losses;
mod opening;
mod operate;
mod query;
pub mod rate;
#[cfg(feature = "remote")]
pub mod remote;
mod retention;
pub mod shelf;
pub mod spans;
pub(crate) mod state;
pub mod steady;
mod uses;
pub mod wire;

pub use self::backup::{BackupOrder, BackupStatus};
pub use self::uses::SecretUse;
#[cfg(feature = "fuzzing")]
pub(crate) use attempts::read as read_attempts;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Report};
use crate::delivery::Delivery;
use crate::ids::{DeliveryId, LogId, Offset};
use crate::outcome::{Outcome, Verdict};
use crate::time::Timestamp;

/// Is told what the log does, for metrics. Calls must be quick and never block.
pub trait Observer: Send + Sync + 'static {
    /// One group commit: how many deliveries and bytes, and how long its sync took.
    fn committed(&self, _deliveries: usize, _bytes: usize, _sync: Duration) {}
    /// A repeat was recognised.
    fn duplicate(&self, _source: &str) {}
    /// A known key came with another body: stored as a different event.
    fn key_conflict(&self, _source: &str) {}
    /// An attempt ended.
    fn attempted(&self, _route: &str, _verdict: Verdict) {}
    /// A delivery became a dead letter.
    fn died(&self, _route: &str) {}
    /// A state commit: how many changes, how long it took.
    fn state_committed(&self, _changes: usize, _took: Duration) {}
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;
impl Observer for Unobserved {}

/// The answer to an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The delivery's id; for a duplicate, the one it got the first time.
    pub id: DeliveryId,
    /// It was there already.
    pub duplicate: bool,
}

/// Why a delivery was not taken. All of them are our own fault: 503, never 4xx.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A bound of the log's room is reached; ask the sender to come back.
    #[error("{0}")]
    Full(bounds::Reached),
    /// It cannot be taken at this moment; ask the sender to come back.
    #[error("the log cannot take it: {0}")]
    Busy(String),
    /// The log is closing, or a sync failed and the process is about to exit.
    #[error("the log has stopped")]
    Stopped,
}

/// Takes deliveries in.
#[async_trait]
pub trait Intake: Send + Sync + 'static {
    /// Takes a delivery in and answers once it would survive a power cut.
    ///
    /// The body is kept byte for byte. A repeated idempotency key within the source's window is
    /// not stored again: the answer is the id it got the first time, after *its* sync.
    ///
    /// # Errors
    /// [`AppendError::Full`], [`AppendError::Busy`]: ask the sender to come back.
    /// [`AppendError::Stopped`]: a failed sync
    /// is final because the page cache can no longer be trusted (Rebello et al., "Can Applications
    /// Recover from fsync Failures?", ATC 2020).
    ///
    /// Deliveries of one caller get their offsets in the order in which the calls are first polled.
    async fn append(&self, new: Delivery) -> Result<Appended, AppendError>;
}

/// How much of one route a worker wants.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// The route.
    pub route: String,
    /// At most this many deliveries; at most [`LEASE_ITEMS_MAX`] are given.
    pub max_items: u32,
    /// At most this many bytes, but always one delivery if there is one.
    pub max_bytes: u64,
}

/// Most deliveries in one lease.
pub const LEASE_ITEMS_MAX: u32 = 4096;

/// Most bytes of deliveries in one lease, unless its single delivery is larger.
pub const LEASE_BYTES_MAX: u64 = 8 << 20;

/// Longest time a lease request may wait for something to do.
pub const LEASE_WAIT_MAX: Duration = Duration::from_secs(30);

/// One long poll over many routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// Unique per request; repeating it returns the same leases while they live.
    pub request: String,
    /// Who asks, for people.
    pub worker: String,
    /// What is wanted.
    pub wants: Vec<Want>,
    /// How long to wait when there is nothing yet; at most [`LEASE_WAIT_MAX`].
    pub wait: Duration,
}

/// A worker's time-limited hold on deliveries of one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name and fencing token: never given twice, void once the lease has ended.
    pub id: u64,
    /// The route.
    pub route: String,
    /// How long it holds from the moment the reply was made.
    pub expires_in: Duration,
    /// What it holds, in order of offset.
    pub items: Vec<Leased>,
}

/// One delivery in a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leased {
    /// Its place in the log.
    pub offset: Offset,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// How often it was rewound or reprocessed on this route; grows, so that a deduplicating
    /// destination can be told to take it again.
    pub generation: u32,
    /// The encoded delivery; [`codec`] reads it.
    pub record: Bytes,
}

/// What came of one leased delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Which one.
    pub offset: Offset,
    /// What came of it.
    pub outcome: Outcome,
    /// What the worker saw.
    pub report: Report,
}

impl Settled {
    /// A delivery given back untried.
    pub fn released(offset: Offset) -> Self {
        Self {
            offset,
            outcome: Outcome::Released,
            report: Report::default(),
        }
    }
}

/// Why a lease could not be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// The lease has ended, or never was; nothing changed.
    #[error("lease {0} has ended")]
    Stale(u64),
    /// A route that is not configured.
    #[error("no route `{0}`")]
    NoRoute(String),
    /// The log has stopped, or is out of reach; try again.
    #[error("{0}")]
    Unavailable(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// What workers call.
#[async_trait]
pub trait Work: Send + Sync + 'static {
    /// The name of the log behind this.
    ///
    /// # Errors
    /// [`WorkError::Unavailable`].
    async fn log_id(&self) -> Result<LogId, WorkError>;

    /// Leases deliveries of several routes; waits up to `request.wait` while there are none.
    ///
    /// # Errors
    /// [`WorkError::NoRoute`] names the first unknown route; [`WorkError::Unavailable`].
    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, WorkError>;

    /// Makes a lease hold as long again from now. Answers how long that is.
    ///
    /// # Errors
    /// [`WorkError::Stale`] when it has ended; [`WorkError::Unavailable`].
    async fn extend(&self, lease: u64) -> Result<Duration, WorkError>;

    /// Reports what came of some or all deliveries of a lease; durable when it returns.
    ///
    /// Repeating it is fine for the lease's holder. A lease ends when all in it is settled.
    ///
    /// # Errors
    /// [`WorkError::Stale`] when the lease has ended by time or was voided: nothing changed.
    async fn settle(&self, lease: u64, settled: Vec<Settled>) -> Result<(), WorkError>;
}

/// Where a delivery stands on one route.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Standing {
    /// Not looked at yet.
    Pending,
    /// Leased now.
    Open {
        /// Which try.
        attempt: u32,
    },
    /// To be tried again.
    Waiting {
        /// When.
        due: Timestamp,
        /// Tries so far.
        attempts: u32,
    },
    /// Delivered, filtered, discarded or not matched: nothing more to do.
    Settled,
    /// Not tried again unless a person says so.
    Dead {
        /// Tries made.
        attempts: u32,
        /// When it died.
        died_at: Timestamp,
        /// Why, in words.
        reason: String,
    },
}

/// A delivery as people look at it.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its id.
    pub id: DeliveryId,
    /// The delivery. In lists the body may be left out (see [`Find::bodies`]).
    pub delivery: Delivery,
    /// Size of the body in bytes, also when it was left out.
    pub body_bytes: u64,
    /// Where it stands, per route of its source.
    pub standings: Vec<(String, Standing)>,
}

/// What to look for. Everything that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Find {
    /// Only this source.
    pub source: Option<String>,
    /// Only this event type.
    pub event: Option<String>,
    /// Only what has to do with this route.
    pub route: Option<String>,
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// Offset at or after; for paging.
    pub from: Option<Offset>,
    /// At most this many (1 to [`PAGE_MAX`]; 0 means [`PAGE_DEFAULT`]).
    pub limit: u32,
    /// Newest first.
    pub newest: bool,
    /// Bodies wanted too.
    pub bodies: bool,
}

/// Most entries on a page.
pub const PAGE_MAX: u32 = 1000;
/// Entries on a page when nothing was said.
pub const PAGE_DEFAULT: u32 = 50;

/// A page of something.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page<T> {
    /// What was found.
    pub items: Vec<T>,
    /// Where the next page begins (as `from`); `None` on the last one.
    pub next: Option<Offset>,
}

/// A dead letter.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The delivery.
    pub id: DeliveryId,
    /// The route it died on.
    pub route: String,
    /// Its source.
    pub source: String,
    /// Its event type.
    pub event_type: Option<String>,
    /// When it was received.
    pub received_at: Timestamp,
    /// When it died.
    pub died_at: Timestamp,
    /// Tries made.
    pub attempts: u32,
    /// Why, in words: the last attempt's error.
    pub reason: String,
    /// The last status, where the protocol has one.
    pub status: Option<u16>,
}

/// Which dead letters. Everything that is given must hold; at least one thing must be given.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// These deliveries.
    pub ids: Vec<DeliveryId>,
    /// On this route.
    pub route: Option<String>,
    /// From this source.
    pub source: Option<String>,
    /// Of this event type.
    pub event: Option<String>,
    /// That died at or after.
    pub since: Option<Timestamp>,
    /// That died before.
    pub until: Option<Timestamp>,
    /// With this last status.
    pub status: Option<u16>,
    /// Whose reason contains this.
    pub reason: Option<String>,
    /// Every one.
    pub all: bool,
    /// Count only, change nothing.
    pub dry_run: bool,
    /// At most this many in one call (0: [`CHANGE_MAX`]); the answer says whether more are left.
    pub limit: u32,
}

/// Most dead letters changed by one call, so that a caller can show progress.
pub const CHANGE_MAX: u32 = 1000;

/// What an operator's call did.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// How many were (or with `dry_run` would be) changed.
    pub count: u64,
    /// More match; call again.
    pub more: bool,
}

/// Who changes something, and why: recorded durably.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Who, as the token or the operator says.
    pub who: String,
    /// Why, if they said.
    pub why: Option<String>,
}

/// Where a rewind goes.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewindTo {
    /// The oldest that is retained.
    Beginning,
    /// This offset.
    Offset(Offset),
    /// The first delivery received at or after.
    Time(Timestamp),
}

/// A route as operators see it.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Its name.
    pub name: String,
    /// Its source.
    pub source: String,
    /// Its destination; `None` when the route is no longer configured.
    pub destination: Option<String>,
    /// New leases are stopped.
    pub paused: bool,
    /// Everything below is settled, waiting or dead.
    pub floor: Offset,
    /// Deliveries of its source not looked at yet; an upper bound (other sources' may be counted).
    pub pending: u64,
    /// Leased now.
    pub open: u64,
    /// To be tried again.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// Receive time of the oldest delivery that is not settled, if any is pending, open or waiting.
    pub oldest: Option<Timestamp>,
    /// `closed`, `open` or `probing`.
    pub breaker: String,
    /// Delivered since the start of the process.
    pub delivered: u64,
    /// Not matched since the start of the process.
    pub unmatched: u64,
    /// How often it was rewound.
    pub epoch: u32,
}

/// One recorded act of an operator.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// When.
    pub at: Timestamp,
    /// Who and why.
    pub actor: Actor,
    /// What, as a verb: `reprocess`, `discard`, `rewind`, `pause`, `resume`, `rename`, `forget`; with
    /// `quarantine` in front where it concerned requests that failed verification.
    pub action: String,
    /// On what.
    pub subject: String,
    /// How many deliveries it concerned.
    pub count: u64,
}

/// Why an operator's call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperateError {
    /// No such delivery, dead letter or route.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense, or is not allowed as things stand.
    #[error("{0}")]
    Invalid(String),
    /// Something of the kind is under way already.
    #[error("{0}")]
    Busy(String),
    /// The token does not allow it.
    #[error("{0}")]
    Forbidden(String),
    /// The log has stopped, or is out of reach.
    #[error("{0}")]
    Unavailable(String),
}

/// What people call.
#[async_trait]
pub trait Operate: Send + Sync + 'static {
    /// Lists deliveries.
    async fn find(&self, find: Find) -> Result<Page<Found>, OperateError>;
    /// One delivery with its body.
    async fn show(&self, id: DeliveryId) -> Result<Found, OperateError>;
    /// The kept attempts of one delivery, oldest first.
    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, OperateError>;
    /// Lists dead letters, by offset; `find.since`/`until` are about the time of death.
    async fn dead(&self, find: Find) -> Result<Page<DeadLetter>, OperateError>;
    /// Gives dead letters fresh attempts.
    async fn reprocess(&self, which: Selection, actor: Actor) -> Result<Changed, OperateError>;
    /// Drops dead letters on purpose.
    async fn discard(&self, which: Selection, actor: Actor) -> Result<Changed, OperateError>;
    /// All routes: configured ones, and those that left the configuration.
    async fn routes(&self) -> Result<Vec<RouteStatus>, OperateError>;
    /// Stops new leases of a route, durably; held ones go on.
    async fn pause(&self, route: &str, actor: Actor) -> Result<(), OperateError>;
    /// Undoes a pause.
    async fn resume(&self, route: &str, actor: Actor) -> Result<(), OperateError>;
    /// Sets a route's cursor back. Leases and waiting entries in the range are void, dead letters
    /// in it superseded. Answers how many offsets are before it again; clamped to what is retained.
    async fn rewind(&self, route: &str, to: RewindTo, actor: Actor) -> Result<u64, OperateError>;
    /// Moves the cursor of a route that is no longer configured to another name.
    async fn rename(&self, from: &str, to: &str, actor: Actor) -> Result<(), OperateError>;
    /// Drops the cursor, waiting entries and dead letters of a route that is no longer configured.
    async fn forget(&self, route: &str, actor: Actor) -> Result<(), OperateError>;
    /// Recorded acts, newest first, at most `limit`.
    async fn audit(&self, limit: u32) -> Result<Vec<Audit>, OperateError>;
    /// Begins a backup; answers once it is under way. [`OperateError::Busy`] while another one is.
    async fn backup(&self, order: BackupOrder, actor: Actor) -> Result<BackupStatus, OperateError>;
    /// How the backup goes that was begun last.
    async fn backup_status(&self) -> Result<BackupStatus, OperateError>;
}

/// An act that is not of the log itself, to be recorded with those that are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// What, as a verb.
    pub action: &'static str,
    /// On what.
    pub subject: String,
    /// How many deliveries it concerned.
    pub count: u64,
}

/// Keeps the record of what operators did.
#[async_trait]
pub trait Record: Send + Sync + 'static {
    /// Records an act; durable when it returns.
    ///
    /// # Errors
    /// [`OperateError::Unavailable`].
    async fn record(&self, act: Act, actor: Actor) -> Result<(), OperateError>;
}
