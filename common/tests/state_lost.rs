//! A log whose state store was destroyed delivers again rather than passing over.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use creel_common::engine::sled::{SledEngine, SledSettings};
use creel_common::log::local::LocalLog;
use creel_common::log::{Intake, Work};
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::log::{config, request_for, surroundings};
use creel_common::testkit::sample;
use creel_common::time::Clock;

const ROUTES: &str = "[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"one\"\n\
                      [[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"two\"\n";

fn open(path: &std::path::Path, clock: &Arc<ManualClock>, dice: u64) -> Arc<LocalLog> {
    let engine = SledEngine::open(SledSettings::new(path), dice).unwrap();
    LocalLog::open(Arc::new(engine), &config(ROUTES), surroundings(clock, dice)).unwrap()
}

async fn lent(log: &LocalLog, route: &str) -> usize {
    log.lease(request_for(route, route, 10))
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
