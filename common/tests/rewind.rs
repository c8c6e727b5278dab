//! A rewind that a crash cuts short.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use creel_common::attempt::Report;
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::log::local::{LocalLog, Surroundings};
use creel_common::log::{
    Actor, Intake, Lease, LeaseRequest, Operate, RewindTo, Settled, Unobserved, Want, Work,
};
use creel_common::outcome::Outcome;
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::{log::config, sample};
use creel_common::time::Clock;

fn open(engine: &Arc<MemoryEngine>, clock: &Arc<ManualClock>) -> Arc<LocalLog> {
    let route = "[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"r\"\n";
    let around = Surroundings {
        clock: clock.clone(),
        dice: 1,
        observer: Arc::new(Unobserved),
        on_failure: Arc::new(|_| {}),
    };
    LocalLog::open(engine.clone(), &config(route), around).unwrap()
}

async fn lease(log: &LocalLog, request: &str) -> Vec<Lease> {
    let request = LeaseRequest {
        request: request.to_owned(),
        worker: "w".to_owned(),
        wants: vec![Want {
            route: "r".to_owned(),
            max_items: 10,
            max_bytes: 1 << 20,
        }],
        wait: Duration::ZERO,
    };
    log.lease(request).await.unwrap()
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
