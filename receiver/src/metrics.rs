//! What is counted, and how it is shown to Prometheus.
//!
//! Labels come from configuration and closed lists only, so that no stranger
//! can make them grow.

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
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::quarantine::SourceFacts;

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

/// One source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

/// One source and reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabel {
    source: String,
    reason: &'static str,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

/// One route and outcome.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabel {
    route: String,
    outcome: &'static str,
}

/// One bound of the log's room; the source is empty unless it is a quota.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BoundLabel {
    bound: &'static str,
    source: String,
}

impl From<&Bound> for BoundLabel {
    fn from(bound: &Bound) -> Self {
        Self {
            bound: bound.word(),
            source: bound.source().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

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
    connections: Family<ListenerLabel, Gauge>,
    routes: RouteGauges,
    log: LogGauges,
    dedupe: DedupeGauges,
    quarantine: QuarantineGauges,
    quarantine_dropped: Family<RefusedLabel, Counter>,
    body_bytes: Gauge,
    uptime: Seconds,
}

/// How the routes stand; set when somebody looks.
#[derive(Debug, Default)]
struct RouteGauges {
    backlog: Family<RouteLabel, Gauge>,
    open: Family<RouteLabel, Gauge>,
    waiting: Family<RouteLabel, Gauge>,
    dead: Family<RouteLabel, Gauge>,
    paused: Family<RouteLabel, Gauge>,
    oldest: Family<RouteLabel, Seconds>,
}

/// How the log stands; set when somebody looks.
#[derive(Debug, Default)]
struct LogGauges {
    used: Gauge,
    free: Gauge,
    volumes: Gauge,
    next: Gauge,
    accepting: Gauge,
    ballast: Gauge,
    bounds: Family<BoundLabel, Gauge>,
    refusing: Family<BoundLabel, Gauge>,
    kept: Family<SourceLabel, Gauge>,
    lost: Gauge,
}

/// For how long repeats are recognised; set when somebody looks.
#[derive(Debug, Default)]
struct DedupeGauges {
    keys: Gauge,
    keys_max: Gauge,
    held: Seconds,
    window: Seconds,
    short: Gauge,
}

/// What is in quarantine; set when somebody looks.
#[derive(Debug, Default)]
struct QuarantineGauges {
    items: Family<RefusedLabel, Gauge>,
    bytes: Family<SourceLabel, Gauge>,
    oldest: Family<SourceLabel, Seconds>,
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
            connections: Family::default(),
            routes: RouteGauges::default(),
            log: LogGauges::default(),
            dedupe: DedupeGauges::default(),
            quarantine: QuarantineGauges::default(),
            quarantine_dropped: Family::default(),
            body_bytes: Gauge::default(),
            uptime: Seconds::default(),
        };
        metrics.register_intake();
        metrics.register_log();
        metrics.register_dedupe();
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
        r.register(
            "open_connections",
            "Connections that are open",
            self.connections.clone(),
        );
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
        let log = &self.log;
        r.register_with_unit("log", "What the log takes", Unit::Bytes, log.used.clone());
        r.register_with_unit("free", "Free for the log", Unit::Bytes, log.free.clone());
        r.register("log_volumes", "Volumes of the log", log.volumes.clone());
        r.register(
            "log_next_offset",
            "Offset of the next delivery",
            log.next.clone(),
        );
        r.register(
            "accepting",
            "1 while deliveries can be acknowledged",
            log.accepting.clone(),
        );
        r.register_with_unit(
            "ballast",
            "Of the log's bytes, those that are there to be given away",
            Unit::Bytes,
            log.ballast.clone(),
        );
        r.register_with_unit(
            "log_bound",
            "What a bound of the log's room is set to",
            Unit::Bytes,
            log.bounds.clone(),
        );
        r.register(
            "log_refusing",
            "1 while a bound of the log's room is reached",
            log.refusing.clone(),
        );
        r.register_with_unit(
            "kept",
            "Deliveries of a source that the log keeps",
            Unit::Bytes,
            log.kept.clone(),
        );
        r.register(
            "lost_offsets",
            "Deliveries that were found to be lost within the last week",
            log.lost.clone(),
        );
    }

    fn register_dedupe(&mut self) {
        let (r, dedupe) = (&mut self.registry, &self.dedupe);
        r.register(
            "dedupe_keys",
            "Idempotency keys on disk",
            dedupe.keys.clone(),
        );
        r.register(
            "dedupe_keys_max",
            "Most idempotency keys that are kept",
            dedupe.keys_max.clone(),
        );
        r.register(
            "dedupe_hours_held",
            "Hours that a key is kept at the current rate of new ones",
            dedupe.held.clone(),
        );
        r.register(
            "dedupe_window_hours",
            "Longest dedupe window of any source",
            dedupe.window.clone(),
        );
        r.register(
            "dedupe_window_short",
            "1 while keys go before their window is over",
            dedupe.short.clone(),
        );
    }

    fn register_quarantine(&mut self) {
        let (r, quarantine) = (&mut self.registry, &self.quarantine);
        r.register(
            "quarantine_items",
            "Requests in quarantine, by the reason of their refusal",
            quarantine.items.clone(),
        );
        r.register_with_unit(
            "quarantine",
            "What the quarantine takes",
            Unit::Bytes,
            quarantine.bytes.clone(),
        );
        r.register_with_unit(
            "quarantine_oldest_age",
            "Age of the oldest request in quarantine",
            Unit::Seconds,
            quarantine.oldest.clone(),
        );
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
        let routes = &self.routes;
        r.register(
            "route_backlog",
            "Deliveries pending, open or waiting",
            routes.backlog.clone(),
        );
        r.register("route_open", "Deliveries leased now", routes.open.clone());
        r.register(
            "route_waiting",
            "Deliveries to be tried again",
            routes.waiting.clone(),
        );
        r.register("route_dead", "Dead letters", routes.dead.clone());
        r.register("route_paused", "1 while paused", routes.paused.clone());
        r.register_with_unit(
            "route_oldest_age",
            "Age of the oldest delivery that is not settled",
            Unit::Seconds,
            routes.oldest.clone(),
        );
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

    /// The gauge of open connections of a listener.
    pub fn connections(&self, listener: &'static str) -> Gauge {
        let label = ListenerLabel { listener };
        self.connections.get_or_create(&label).clone()
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
        self.log.volumes.set(signed(now.volumes as u64));
        self.log.next.set(signed(now.next));
        self.log.accepting.set(i64::from(now.accepting));
        let news = now.lost.iter().filter(|loss| loss.is_news(now.wall));
        self.log.lost.set(signed(news.map(Loss::offsets).sum()));
        if let Some(space) = now.space {
            self.log.used.set(signed(space.used));
            self.log.free.set(signed(space.free));
            self.log.ballast.set(signed(space.ballast));
        }
        self.log.set_bounds(now);
        if let Some(dedupe) = &now.dedupe {
            self.dedupe.set(dedupe);
        }
        self.quarantine.set(now);
        self.routes.clear();
        for route in now.routes {
            self.routes.set(route, now.wall);
        }
    }
}

impl LogGauges {
    fn set_bounds(&self, now: Now<'_>) {
        for (bound, bytes) in now.bounds {
            let label = BoundLabel::from(bound);
            let is_reached = now.reached.iter().any(|reached| reached.bound == *bound);
            self.bounds.get_or_create(&label).set(signed(*bytes));
            self.refusing
                .get_or_create(&label)
                .set(i64::from(is_reached));
        }
        // a source that left the log is not shown for ever
        self.kept.clear();
        for (source, kept) in now.kept {
            self.kept
                .get_or_create(&label(source))
                .set(signed(kept.bytes));
        }
    }
}

impl QuarantineGauges {
    fn set(&self, now: Now<'_>) {
        self.items.clear();
        self.bytes.clear();
        self.oldest.clear();
        for (source, facts) in now.quarantine {
            for (reason, count) in &facts.items {
                let label = RefusedLabel {
                    source: source.clone(),
                    reason: reason.name(),
                };
                self.items.get_or_create(&label).set(signed(*count));
            }
            let source = label(source);
            self.bytes.get_or_create(&source).set(signed(facts.bytes));
            let age = facts.oldest.map(|oldest| now.wall.since(oldest));
            let seconds = age.unwrap_or_default().as_secs_f64();
            self.oldest.get_or_create(&source).set(seconds);
        }
    }
}

impl DedupeGauges {
    fn set(&self, dedupe: &Dedupe) {
        let hours = |time: Duration| time.as_secs_f64() / 3600.0;
        self.keys.set(signed(dedupe.keys));
        self.keys_max.set(signed(dedupe.keys_max));
        self.held.set(hours(dedupe.held));
        self.window.set(hours(dedupe.window));
        self.short.set(i64::from(dedupe.is_short()));
    }
}

impl RouteGauges {
    /// So that a forgotten route is not shown for ever.
    fn clear(&self) {
        self.backlog.clear();
        self.open.clear();
        self.waiting.clear();
        self.dead.clear();
        self.paused.clear();
        self.oldest.clear();
    }

    fn set(&self, status: &RouteStatus, now: Timestamp) {
        let label = RouteLabel {
            route: status.name.clone(),
        };
        let set = |family: &Family<RouteLabel, Gauge>, value: u64| {
            family.get_or_create(&label).set(signed(value));
        };
        let backlog = status.pending + status.open + status.waiting;
        set(&self.backlog, backlog);
        set(&self.open, status.open);
        set(&self.waiting, status.waiting);
        set(&self.dead, status.dead);
        set(&self.paused, u64::from(status.paused));
        let age = status.oldest.map(|oldest| now.since(oldest));
        let seconds = age.unwrap_or_default().as_secs_f64();
        self.oldest.get_or_create(&label).set(seconds);
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

fn label(source: &str) -> SourceLabel {
    SourceLabel {
        source: source.to_owned(),
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::verify::Reason;

    pub const NOW: Now<'static> = Now {
        wall: Timestamp(10_000),
        uptime: Duration::from_secs(3),
        routes: &[],
        space: Some(Space {
            used: 11,
            free: 22,
            ballast: 33,
        }),
        bounds: &[(Bound::Reserve, 44), (Bound::MaxBytes, 55)],
        reached: &[],
        kept: &[],
        volumes: 2,
        next: 7,
        accepting: true,
        lost: &[],
        dedupe: Some(Dedupe {
            keys: 8,
            keys_max: 9,
            window: Duration::from_secs(72 * 3600),
            held: Duration::from_secs(36 * 3600 + 1800),
        }),
        quarantine: &BTreeMap::new(),
        body_bytes: 5,
    };

    #[test]
    fn what_the_log_does_is_counted_under_stable_names() {
        let metrics = Metrics::new("0.0.0");
        metrics.committed(3, 300, Duration::from_millis(1));
        metrics.duplicate("github");
        metrics.key_conflict("github");
        metrics.attempted("r", Verdict::Retry);
        metrics.died("r");
        metrics.refused("github", "no_match");
        metrics.source("github").received.inc();
        let text = metrics.text(NOW);
        for line in [
            "creel_commit_deliveries_sum 3.0",
            "creel_commit_sync_seconds_count 1",
            "creel_committed_bytes_total 300",
            "creel_duplicates_total{source=\"github\"} 1",
            "creel_key_conflicts_total{source=\"github\"} 1",
            "creel_attempts_total{route=\"r\",outcome=\"retry\"} 1",
            "creel_died_total{route=\"r\"} 1",
            "creel_refused_total{source=\"github\",reason=\"no_match\"} 1",
            "creel_received_total{source=\"github\"} 1",
            "creel_log_bytes 11",
            "creel_free_bytes 22",
            "creel_accepting 1",
            "creel_lost_offsets 0",
            "creel_dedupe_keys 8",
            "creel_dedupe_keys_max 9",
            "creel_dedupe_hours_held 36.5",
            "creel_dedupe_window_hours 72.0",
            "creel_dedupe_window_short 1",
            "creel_build_info{version=\"0.0.0\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn bounds_are_shown_with_their_bytes_and_whether_they_are_reached() {
        let metrics = Metrics::new("0.0.0");
        let quota = Bound::Quota("shop".into());
        let bounds = [(Bound::Reserve, 44), (quota.clone(), 10)];
        let reached = [Reached {
            bound: quota,
            limit_bytes: 10,
            at_bytes: 12,
            missing_bytes: 3,
            ballast_bytes: 0,
        }];
        let kept = Kept {
            bytes: 12,
            ..Kept::default()
        };
        let text = metrics.text(Now {
            bounds: &bounds,
            reached: &reached,
            kept: &[("shop".into(), kept)],
            ..NOW
        });
        for line in [
            "creel_log_bound_bytes{bound=\"reserve\",source=\"\"} 44",
            "creel_log_refusing{bound=\"reserve\",source=\"\"} 0",
            "creel_log_bound_bytes{bound=\"quota\",source=\"shop\"} 10",
            "creel_log_refusing{bound=\"quota\",source=\"shop\"} 1",
            "creel_kept_bytes{source=\"shop\"} 12",
            "creel_ballast_bytes 33",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!metrics.text(NOW).contains("creel_kept_bytes{"));
    }

    #[test]
    fn what_is_in_quarantine_is_shown_by_source_and_reason() {
        let metrics = Metrics::new("0.0.0");
        metrics.quarantine_dropped("gh", "rate", 3);
        let facts = SourceFacts {
            items: [(Reason::NoMatch, 2), (Reason::Stale, 1)].into(),
            bytes: 99,
            oldest: Some(Timestamp(4_000)),
        };
        let quarantine = [("gh".to_owned(), facts)].into();
        let text = metrics.text(Now {
            quarantine: &quarantine,
            ..NOW
        });
        for line in [
            "creel_quarantine_items{source=\"gh\",reason=\"no_match\"} 2",
            "creel_quarantine_items{source=\"gh\",reason=\"stale\"} 1",
            "creel_quarantine_bytes{source=\"gh\"} 99",
            "creel_quarantine_oldest_age_seconds{source=\"gh\"} 6.0",
            "creel_quarantine_dropped_total{source=\"gh\",reason=\"rate\"} 3",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_route_that_is_gone_is_not_shown_any_more() {
        let metrics = Metrics::new("0.0.0");
        let route = RouteStatus {
            name: "r".into(),
            source: "s".into(),
            destination: None,
            paused: false,
            floor: 1,
            pending: 4,
            open: 1,
            waiting: 2,
            dead: 3,
            oldest: Some(Timestamp(4_000)),
            breaker: "closed".into(),
            delivered: 0,
            unmatched: 0,
            epoch: 0,
        };
        let routes = [route];
        let text = metrics.text(Now {
            routes: &routes,
            ..NOW
        });
        assert!(
            text.contains("creel_route_backlog{route=\"r\"} 7"),
            "{text}"
        );
        assert!(text.contains("creel_route_oldest_age_seconds{route=\"r\"} 6.0"));
        assert!(!metrics.text(NOW).contains("route=\"r\""));
    }
}
