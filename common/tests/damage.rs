//! What a block that cannot be read does to everything else: nothing.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use creel_common::attempt::Report;
use creel_common::engine::Engine;
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::engine::sled::{SledEngine, SledSettings};
use creel_common::log::local::LocalLog;
use creel_common::log::{Intake, LeaseRequest, Settled, Want, Work};
use creel_common::outcome::Outcome;
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::log::{config, surroundings};
use creel_common::testkit::sample;
use creel_common::time::Clock;

const ROUTES: &str = "[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"a\"\n\
                      [[routes]]\nsource = \"other\"\ndestination = \"d\"\nname = \"z\"\n";

fn open(engine: impl Engine, clock: &Arc<ManualClock>) -> Arc<LocalLog> {
    LocalLog::open(Arc::new(engine), &config(ROUTES), surroundings(clock, 1)).unwrap()
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
    let log = LocalLog::open(engine.clone(), &config(ROUTES), surroundings(&clock, 1)).unwrap();
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

/// A log on disk whose volumes take one commit each.
fn on_disk(dir: &std::path::Path) -> SledEngine {
    let settings = SledSettings {
        volume_bytes: 1,
        ..SledSettings::new(dir.join("data"))
    };
    SledEngine::open(settings, 1).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_damaged_in_every_file_takes_only_its_own_deliveries_along() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let log = open(on_disk(dir.path()), &clock);
    for body in ["one", "two", "three"] {
        let delivery = sample::delivery("s", body, clock.wall());
        log.append(delivery).await.unwrap();
    }
    let hurt = log.facts().volumes[1].clone();
    log.close().await.unwrap();
    let volume = dir.path().join(format!("data/v/{:010}", hurt.number));
    for file in ["db", "index"] {
        let path = volume.join(file);
        // of the same length, with the end, where a sealed volume says what is in it, left alone
        let mut bytes = std::fs::read(&path).unwrap();
        let end = bytes.len() - 60;
        bytes[8..end].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
    }
    let log = open(on_disk(dir.path()), &clock);
    let lost = log.facts().lost;
    assert!(
        lost.iter()
            .any(|gap| gap.first == hurt.first && gap.known_lost),
        "{lost:?}"
    );
    let mut offsets = Vec::new();
    for request_name in ["1", "2"] {
        for lease in log.lease(request(request_name, &["a"])).await.unwrap() {
            offsets.extend(lease.items.iter().map(|item| item.offset));
        }
    }
    assert_eq!(offsets, [hurt.first - 1, hurt.first + 1]);
    log.close().await.unwrap();
}
