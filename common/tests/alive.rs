//! A log is said to live only when the threads that decide have answered.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::log::Intake;
use creel_common::log::local::LocalLog;
use creel_common::testkit::log::{config, surroundings};
use creel_common::testkit::sample;
use creel_common::time::Timestamp;

#[tokio::test]
async fn a_log_whose_disk_does_not_answer_is_not_said_to_live() {
    let engine = Arc::new(MemoryEngine::new(MemorySettings::default(), 1));
    let log = LocalLog::open(
        engine.clone(),
        &config(""),
        surroundings(&Arc::default(), 1),
    )
    .unwrap();
    log.alive().await.unwrap();
    {
        let held = engine.hold_appends();
        let append = {
            let log = log.clone();
            tokio::spawn(async move {
                let delivery = sample::delivery("s", "body", Timestamp(0));
                log.append(delivery).await
            })
        };
        // longer than a committer with nothing to do takes to come round
        let silent = tokio::time::timeout(Duration::from_millis(1500), log.alive()).await;
        assert!(silent.is_err(), "{silent:?}");
        drop(held);
        append.await.unwrap().unwrap();
    }
    log.alive().await.unwrap();
    log.clone().close().await.unwrap();
    assert!(log.alive().await.is_err());
}
