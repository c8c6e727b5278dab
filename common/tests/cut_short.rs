//! What operators change, cut short by a crash.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use creel_common::attempt::Report;
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::log::local::{LocalLog, Surroundings};
use creel_common::log::{Actor, Intake, Lease, Operate, RewindTo, Settled, Unobserved, Work};
use creel_common::outcome::Outcome;
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::log::{config, request_for};
use creel_common::testkit::sample;
use creel_common::time::Clock;

fn open(engine: &Arc<MemoryEngine>, clock: &Arc<ManualClock>) -> Arc<LocalLog> {
    open_with(engine, clock, &["r"])
}

fn open_with(
    engine: &Arc<MemoryEngine>,
    clock: &Arc<ManualClock>,
    routes: &[&str],
) -> Arc<LocalLog> {
    let route = |name: &&str| {
        format!(
            "[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"{name}\"\nstart = \"beginning\"\n"
        )
    };
    let routes: String = routes.iter().map(route).collect();
    let around = Surroundings {
        clock: clock.clone(),
        dice: 1,
        observer: Arc::new(Unobserved),
        on_failure: Arc::new(|_| {}),
    };
    LocalLog::open(engine.clone(), &config(&routes), around).unwrap()
}

async fn lease(log: &LocalLog, request: &str) -> Vec<Lease> {
    lease_of(log, request, "r").await
}

async fn lease_of(log: &LocalLog, request: &str, route: &str) -> Vec<Lease> {
    log.lease(request_for(request, route, 10)).await.unwrap()
}

async fn settle(log: &LocalLog, lease: &Lease, outcome: Outcome) {
    let settled = lease.items.iter().map(|item| Settled {
        offset: item.offset,
        outcome: outcome.clone(),
        report: Report::default(),
    });
    log.settle(lease.id, settled.collect()).await.unwrap();
}

#[tokio::test]
async fn a_rewind_cut_short_leaves_nothing_in_two_places() {
    let clock = Arc::new(ManualClock::default());
    let engine = Arc::new(MemoryEngine::new(MemorySettings::default(), 1));
    let log = open(&engine, &clock);
    let delivery = sample::delivery("s", "body", clock.wall());
    log.append(delivery).await.unwrap();
    let again = Outcome::Retry {
        after: Some(Duration::from_secs(60)),
    };
    let first = lease(&log, "1").await.remove(0);
    settle(&log, &first, again).await;
    // the cursor goes back; that the entry goes is not written any more
    engine.fail_commit(2);
    let rewound = log.rewind("r", RewindTo::Beginning, Actor::default()).await;
    assert!(rewound.is_err());
    let engine = Arc::new(engine.reopen());
    let log = open(&engine, &clock);
    let second = lease(&log, "2").await.remove(0);
    settle(&log, &second, Outcome::Delivered).await;
    clock.advance(Duration::from_secs(3600));
    assert_eq!(lease(&log, "3").await, []);
    assert_eq!(log.routes().await.unwrap()[0].waiting, 0);
}

/// Two routes, on each of which two deliveries wait; then only `r` is configured.
async fn two_routes_with_waiting(clock: &Arc<ManualClock>) -> Arc<MemoryEngine> {
    let engine = Arc::new(MemoryEngine::new(MemorySettings::default(), 1));
    let log = open_with(&engine, clock, &["old", "r"]);
    for body in ["one", "two"] {
        let delivery = sample::delivery("s", body, clock.wall());
        log.append(delivery).await.unwrap();
    }
    for route in ["old", "r"] {
        let again = Outcome::Retry {
            after: Some(Duration::from_secs(60)),
        };
        let leased = lease_of(&log, route, route).await.remove(0);
        settle(&log, &leased, again).await;
    }
    log.close().await.unwrap();
    Arc::new(engine.reopen())
}

#[tokio::test]
async fn a_rename_cut_short_anywhere_loses_nothing_that_waits() {
    for nth in 1.. {
        let clock = Arc::new(ManualClock::default());
        let engine = two_routes_with_waiting(&clock).await;
        let log = open(&engine, &clock);
        engine.fail_commit(nth);
        let renamed = log.rename("old", "r", Actor::default()).await;
        let engine = Arc::new(engine.reopen());
        let log = open(&engine, &clock);
        let routes = log.routes().await.unwrap();
        let r = routes.iter().find(|route| route.name == "r").unwrap();
        assert_eq!((r.waiting, r.pending, r.open), (2, 0, 0), "commit {nth}");
        clock.advance(Duration::from_secs(3600));
        let due = lease(&log, "due").await.remove(0);
        assert_eq!(due.items.len(), 2, "commit {nth}");
        settle(&log, &due, Outcome::Delivered).await;
        assert_eq!(lease(&log, "rest").await, [], "commit {nth}");
        if renamed.is_ok() {
            assert!(nth > 3, "a rename takes several commits");
            return;
        }
    }
}
