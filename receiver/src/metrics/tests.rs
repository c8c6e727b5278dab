//! Names and labels as Prometheus sees them.

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
