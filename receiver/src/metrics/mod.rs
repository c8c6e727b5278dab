//! What is counted, and how it is shown to Prometheus.
//!
//! Labels come from configuration and closed lists only, so that no stranger
//! can make them grow.

mod connections;
mod dedupe;
mod keys;
mod label;
mod log;
mod quarantine;
mod routes;
#[cfg(test)]
pub mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use creel_common::engine::Space;
use creel_common::log::account::Kept;
use creel_common::log::bounds::{Bound, Reached};
use creel_common::log::keys::Dedupe;
use creel_common::log::losses::Loss;
use creel_common::log::{Observer, RouteStatus};
use creel_common::outcome::Verdict;
use creel_common::time::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use self::connections::Connections;
pub use self::connections::{Closed, ConnectionMetrics};
use self::dedupe::DedupeGauges;
use self::keys::KeyCounters;
use self::label::{AttemptLabel, RefusedLabel, RouteLabel, SourceLabel, label};
use self::log::LogGauges;
use self::quarantine::QuarantineGauges;
use self::routes::RouteGauges;
use crate::quarantine::SourceFacts;
use crate::standing::{ReloadGauges, SecretGauges};

/// Seconds: from a tenth of a millisecond to ten seconds.
const LATENCY_SECONDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5,
    1.0, 2.5, 10.0,
];
/// Deliveries in one group commit.
const BATCH: [f64; 12] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0,
];

type Seconds = Gauge<f64, AtomicU64>;

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    received: Family<SourceLabel, Counter>,
    refused: Family<RefusedLabel, Counter>,
    acked: Family<SourceLabel, Counter>,
    duplicates: Family<SourceLabel, Counter>,
    conflicts: Family<SourceLabel, Counter>,
    ack_seconds: Family<SourceLabel, Histogram>,
    sync_seconds: Histogram,
    batch: Histogram,
    committed_bytes: Counter,
    state_seconds: Histogram,
    state_changes: Counter,
    attempts: Family<AttemptLabel, Counter>,
    died: Family<RouteLabel, Counter>,
    connections: Connections,
    routes: RouteGauges,
    log: LogGauges,
    dedupe: DedupeGauges,
    quarantine: QuarantineGauges,
    quarantine_dropped: Family<RefusedLabel, Counter>,
    body_bytes: Gauge,
    uptime: Seconds,
    /// Keys of senders that are fetched.
    pub keys: KeyCounters,
    /// The secrets of sources.
    pub secrets: SecretGauges,
    /// The configuration.
    pub reloads: ReloadGauges,
}

/// The counters of one source, held by it so that a request looks nothing up.
#[derive(Debug, Clone)]
pub struct SourceMetrics {
    /// Requests that named it.
    pub received: Counter,
    /// Deliveries answered 2xx, duplicates included.
    pub acked: Counter,
    /// From the request's head to the answer.
    pub ack_seconds: Histogram,
}

/// What is read off when somebody looks.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    /// Wall clock.
    pub wall: Timestamp,
    /// Since the process started.
    pub uptime: Duration,
    /// All routes.
    pub routes: &'a [RouteStatus],
    /// Room on the log's disk.
    pub space: Option<Space>,
    /// Bounds of the log's room, with their bytes.
    pub bounds: &'a [(Bound, u64)],
    /// Those that are reached.
    pub reached: &'a [Reached],
    /// What is kept of each source.
    pub kept: &'a [(Arc<str>, Kept)],
    /// Volumes of the log.
    pub volumes: usize,
    /// Offset of the next delivery.
    pub next: u64,
    /// It takes deliveries in.
    pub accepting: bool,
    /// What was lost in its whole life.
    pub lost: &'a [Loss],
    /// For how long repeats are recognised.
    pub dedupe: Option<Dedupe>,
    /// What is in quarantine of each source.
    pub quarantine: &'a BTreeMap<String, SourceFacts>,
    /// Bytes of bodies in memory.
    pub body_bytes: u64,
}

impl Metrics {
    /// All counters at zero. `version` is the program's.
    pub fn new(version: &str) -> Self {
        let latency = || Histogram::new(LATENCY_SECONDS);
        let mut metrics = Self {
            registry: Registry::with_prefix("creel"),
            received: Family::default(),
            refused: Family::default(),
            acked: Family::default(),
            duplicates: Family::default(),
            conflicts: Family::default(),
            ack_seconds: Family::new_with_constructor(latency),
            sync_seconds: latency(),
            batch: Histogram::new(BATCH),
            committed_bytes: Counter::default(),
            state_seconds: latency(),
            state_changes: Counter::default(),
            attempts: Family::default(),
            died: Family::default(),
            connections: Connections::default(),
            routes: RouteGauges::default(),
            log: LogGauges::default(),
            dedupe: DedupeGauges::default(),
            quarantine: QuarantineGauges::default(),
            quarantine_dropped: Family::default(),
            body_bytes: Gauge::default(),
            uptime: Seconds::default(),
            keys: KeyCounters::default(),
            secrets: SecretGauges::default(),
            reloads: ReloadGauges::default(),
        };
        metrics.keys.register(&mut metrics.registry);
        metrics.secrets.register(&mut metrics.registry);
        metrics.reloads.register(&mut metrics.registry);
        metrics.register_intake();
        metrics.register_log();
        metrics.dedupe.register(&mut metrics.registry);
        metrics.register_quarantine();
        metrics.register_routes();
        let build = Info::new(vec![("version", version.to_owned())]);
        metrics.registry.register("build", "This program", build);
        metrics
    }

    fn register_intake(&mut self) {
        let r = &mut self.registry;
        r.register(
            "received",
            "Requests on /in/<source>",
            self.received.clone(),
        );
        r.register(
            "refused",
            "Requests that were not taken, by reason",
            self.refused.clone(),
        );
        r.register(
            "acked",
            "Deliveries answered 2xx, duplicates included",
            self.acked.clone(),
        );
        r.register(
            "duplicates",
            "Repeats that were recognised",
            self.duplicates.clone(),
        );
        r.register(
            "key_conflicts",
            "Known idempotency keys that came with another body",
            self.conflicts.clone(),
        );
        r.register_with_unit(
            "ack",
            "From the head of a request to its 2xx",
            Unit::Seconds,
            self.ack_seconds.clone(),
        );
        self.connections.register(r);
        r.register_with_unit(
            "bodies",
            "Bodies of requests in memory",
            Unit::Bytes,
            self.body_bytes.clone(),
        );
        r.register_with_unit(
            "uptime",
            "Since the receiver started",
            Unit::Seconds,
            self.uptime.clone(),
        );
    }

    fn register_log(&mut self) {
        let r = &mut self.registry;
        r.register_with_unit(
            "commit_sync",
            "One group commit's sync",
            Unit::Seconds,
            self.sync_seconds.clone(),
        );
        r.register(
            "commit_deliveries",
            "Deliveries in one group commit",
            self.batch.clone(),
        );
        r.register_with_unit(
            "committed",
            "Bytes of deliveries committed",
            Unit::Bytes,
            self.committed_bytes.clone(),
        );
        r.register_with_unit(
            "state_commit",
            "One commit of the state store",
            Unit::Seconds,
            self.state_seconds.clone(),
        );
        r.register(
            "state_changes",
            "Changes of the state store",
            self.state_changes.clone(),
        );
        self.log.register(r);
    }

    fn register_quarantine(&mut self) {
        let r = &mut self.registry;
        self.quarantine.register(r);
        r.register(
            "quarantine_dropped",
            "Requests that failed verification and are not, or no longer, in quarantine, by why",
            self.quarantine_dropped.clone(),
        );
    }

    fn register_routes(&mut self) {
        let r = &mut self.registry;
        r.register(
            "attempts",
            "Attempts that ended, by outcome",
            self.attempts.clone(),
        );
        r.register(
            "died",
            "Deliveries that became dead letters",
            self.died.clone(),
        );
        self.routes.register(r);
    }

    /// The counters of a configured source.
    pub fn source(&self, name: &str) -> SourceMetrics {
        let label = label(name);
        SourceMetrics {
            received: self.received.get_or_create(&label).clone(),
            acked: self.acked.get_or_create(&label).clone(),
            ack_seconds: self.ack_seconds.get_or_create(&label).clone(),
        }
    }

    /// A request was refused. `source` is configured, or a fixed word for none.
    pub fn refused(&self, source: &str, reason: &'static str) {
        let source = source.to_owned();
        let label = RefusedLabel { source, reason };
        self.refused.get_or_create(&label).inc();
    }

    /// Requests that were to be in quarantine are not. `source` is or was configured.
    pub fn quarantine_dropped(&self, source: &str, reason: &'static str, count: u64) {
        let source = source.to_owned();
        let label = RefusedLabel { source, reason };
        self.quarantine_dropped.get_or_create(&label).inc_by(count);
    }

    /// What is counted of a listener's connections.
    pub fn connections(&self, listener: &'static str) -> ConnectionMetrics {
        self.connections.of(listener)
    }

    /// Everything, in Prometheus' text format.
    pub fn text(&self, now: Now<'_>) -> String {
        self.set(now);
        let mut text = String::new();
        // writing to a String does not fail
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn set(&self, now: Now<'_>) {
        self.uptime.set(now.uptime.as_secs_f64());
        self.body_bytes.set(signed(now.body_bytes));
        self.log.set(now);
        if let Some(dedupe) = &now.dedupe {
            self.dedupe.set(dedupe);
        }
        self.quarantine.set(now);
        self.routes.set(now);
    }
}

impl Observer for Metrics {
    fn committed(&self, deliveries: usize, bytes: usize, sync: Duration) {
        self.batch.observe(deliveries as f64);
        self.committed_bytes.inc_by(bytes as u64);
        self.sync_seconds.observe(sync.as_secs_f64());
    }

    fn duplicate(&self, source: &str) {
        self.duplicates.get_or_create(&label(source)).inc();
    }

    fn key_conflict(&self, source: &str) {
        self.conflicts.get_or_create(&label(source)).inc();
    }

    fn attempted(&self, route: &str, verdict: Verdict) {
        let label = AttemptLabel {
            route: route.to_owned(),
            outcome: verdict.word(),
        };
        self.attempts.get_or_create(&label).inc();
    }

    fn died(&self, route: &str) {
        let route = route.to_owned();
        self.died.get_or_create(&RouteLabel { route }).inc();
    }

    fn state_committed(&self, changes: usize, took: Duration) {
        self.state_changes.inc_by(changes as u64);
        self.state_seconds.observe(took.as_secs_f64());
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
