//! What the removal of a volume leaves to be lent.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use creel_common::attempt::Report;
use creel_common::engine::Engine;
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::log::local::LocalLog;
use creel_common::log::{Intake, Lease, Operate, Settled, Work};
use creel_common::outcome::Outcome;
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::log::{config, request_for, surroundings};
use creel_common::testkit::sample;
use creel_common::time::Clock;

async fn lease(log: &LocalLog, request: &str, max_items: u32) -> Vec<Lease> {
    log.lease(request_for(request, "r", max_items))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_removed_volume_takes_no_pending_delivery_of_the_next_one_along() {
    let settings = MemorySettings {
        // every block has a volume of its own
        volume_bytes: 1,
        ..MemorySettings::default()
    };
    let engine = Arc::new(MemoryEngine::new(settings, 1));
    let clock = Arc::new(ManualClock::default());
    let route = config("[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"r\"\n");
    let log = LocalLog::open(engine.clone(), &route, surroundings(&clock, 1)).unwrap();
    for body in ["one", "two", "three"] {
        let delivery = sample::delivery("s", body, clock.wall());
        log.append(delivery).await.unwrap();
    }
    let first = lease(&log, "1", 1).await.remove(0);
    let delivered = Settled {
        offset: first.items[0].offset,
        outcome: Outcome::Delivered,
        report: Report::default(),
    };
    log.settle(first.id, vec![delivered]).await.unwrap();
    // the destination is down for longer than retention; the log keeps house
    clock.advance(Duration::from_secs(8 * 24 * 3600));
    log.routes().await.unwrap();
    log.routes().await.unwrap();
    let left = lease(&log, "2", 10).await;
    let left: Vec<u64> = left
        .iter()
        .flat_map(|l| l.items.iter().map(|i| i.offset))
        .collect();
    assert_eq!(left, [2, 3]);
    let kept: Vec<u64> = engine.volumes().iter().map(|v| v.first).collect();
    assert!(kept.contains(&2) && kept.contains(&3), "{kept:?}");
}
