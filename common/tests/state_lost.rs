//! A log whose state store was destroyed delivers again rather than passing over.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use creel_common::engine::sled::{SledEngine, SledSettings};
use creel_common::log::local::{LocalLog, Surroundings};
use creel_common::log::{Intake, LeaseRequest, Unobserved, Want, Work};
use creel_common::testkit::{clock::ManualClock, log::config, sample};
use creel_common::time::Clock;

const ROUTES: &str = "[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"one\"\n\
                      [[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"two\"\n";

fn open(path: &std::path::Path, clock: &Arc<ManualClock>, dice: u64) -> Arc<LocalLog> {
    let engine = SledEngine::open(SledSettings::new(path), dice).unwrap();
    let around = Surroundings {
        clock: clock.clone(),
        dice,
        observer: Arc::new(Unobserved),
        on_failure: Arc::new(|error| panic!("{error}")),
    };
    LocalLog::open(Arc::new(engine), &config(ROUTES), around).unwrap()
}

async fn lent(log: &LocalLog, route: &str) -> usize {
    let wants = vec![Want {
        route: route.to_owned(),
        max_items: 10,
        max_bytes: 1 << 20,
    }];
    let request = LeaseRequest {
        request: route.to_owned(),
        worker: "w".to_owned(),
        wants,
        wait: Duration::ZERO,
    };
    log.lease(request)
        .await
        .unwrap()
        .iter()
        .map(|lease| lease.items.len())
        .sum()
}

#[tokio::test]
async fn with_its_state_lost_every_route_starts_at_the_beginning() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let clock = Arc::new(ManualClock::default());
    let log = open(&path, &clock, 1);
    for n in 0..3u8 {
        log.append(sample::delivery("s", vec![n], clock.wall()))
            .await
            .unwrap();
    }
    log.close().await.unwrap();
    std::fs::remove_dir_all(path.join("state")).unwrap();
    let log = open(&path, &clock, 2);
    assert_eq!((lent(&log, "one").await, lent(&log, "two").await), (3, 3));
}
