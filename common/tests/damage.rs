//! What a block that cannot be read does to everything else: nothing.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use creel_common::attempt::Report;
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::log::local::{LocalLog, Surroundings};
use creel_common::log::{Intake, LeaseRequest, Settled, Unobserved, Want, Work};
use creel_common::outcome::Outcome;
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::{log::config, sample};
use creel_common::time::Clock;

const ROUTES: &str = "[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"a\"\n\
                      [[routes]]\nsource = \"other\"\ndestination = \"d\"\nname = \"z\"\n";

fn open(engine: MemoryEngine, clock: &Arc<ManualClock>) -> Arc<LocalLog> {
    let around = Surroundings {
        clock: clock.clone(),
        dice: 1,
        observer: Arc::new(Unobserved),
        on_failure: Arc::new(|error| panic!("{error}")),
    };
    LocalLog::open(Arc::new(engine), &config(ROUTES), around).unwrap()
}

fn request(name: &str, routes: &[&str]) -> LeaseRequest {
    let want = |route: &&str| Want {
        route: (*route).to_owned(),
        max_items: 10,
        max_bytes: 1 << 20,
    };
    LeaseRequest {
        request: name.to_owned(),
        worker: "w".to_owned(),
        wants: routes.iter().map(want).collect(),
        wait: Duration::ZERO,
    }
}

#[tokio::test]
async fn a_damaged_block_of_one_route_neither_stops_nor_kills_what_others_have() {
    let clock = Arc::new(ManualClock::default());
    let engine = Arc::new(MemoryEngine::new(MemorySettings::default(), 1));
    let around = Surroundings {
        clock: clock.clone(),
        dice: 1,
        observer: Arc::new(Unobserved),
        on_failure: Arc::new(|error| panic!("{error}")),
    };
    let log = LocalLog::open(engine.clone(), &config(ROUTES), around).unwrap();
    for source in ["other", "other", "s"] {
        let delivery = sample::delivery(source, "body", clock.wall());
        log.append(delivery).await.unwrap();
    }
    // one of two is settled, the other is in the air when the process dies
    let lease = log.lease(request("1", &["z"])).await.unwrap().remove(0);
    let delivered = Settled {
        offset: lease.items[0].offset,
        outcome: Outcome::Delivered,
        report: Report::default(),
    };
    log.settle(lease.id, vec![delivered]).await.unwrap();
    let engine = engine.reopen();
    engine.damage(lease.items[1].offset);
    let log = open(engine, &clock);
    // a look ends at what cannot be read, the next one goes on behind it
    let mut leases = log.lease(request("2", &["a", "z"])).await.unwrap();
    leases.extend(log.lease(request("3", &["a", "z"])).await.unwrap());
    let routes: Vec<_> = leases.iter().map(|lease| lease.route.as_str()).collect();
    assert_eq!(routes, ["a"]);
}
