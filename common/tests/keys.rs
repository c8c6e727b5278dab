//! Idempotency keys over the life of a log on disk.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use creel_common::config::Config;
use creel_common::delivery::{Delivery, IdempotencyKey};
use creel_common::engine::sled::{SledEngine, SledSettings};
use creel_common::ids::Offset;
use creel_common::log::local::LocalLog;
use creel_common::log::{Appended, Find, Intake, Operate};
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::disk::spoil;
use creel_common::testkit::log::{config, surroundings};
use creel_common::testkit::sample;
use creel_common::time::Clock;

const WITHIN: Duration = Duration::from_secs(20);
const ROUTES: &str = "[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"a\"\n";

struct Subject {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    config: Config,
}

impl Subject {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::default()),
            config: config(ROUTES),
        }
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Volumes take one commit each.
    fn open(&self) -> Arc<LocalLog> {
        let settings = SledSettings {
            volume_bytes: 1,
            ..SledSettings::new(self.data())
        };
        let engine = SledEngine::open(settings, 1).unwrap();
        LocalLog::open(Arc::new(engine), &self.config, surroundings(&self.clock, 1)).unwrap()
    }

    fn delivery(&self, key: u32) -> Delivery {
        let mut delivery = sample::delivery("s", format!("body {key}"), self.clock.wall());
        delivery.head.key = Some(IdempotencyKey(key.to_string()));
        delivery
    }

    async fn append(&self, log: &LocalLog, key: u32) -> Appended {
        log.append(self.delivery(key)).await.unwrap()
    }

    async fn fill(&self, log: &LocalLog) -> Vec<Offset> {
        let mut offsets = Vec::new();
        for key in 0..6 {
            offsets.push(self.append(log, key).await.id.offset);
        }
        offsets
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_come_back_from_the_log_when_their_files_are_gone() {
    let subject = Subject::new();
    let log = subject.open();
    let offsets = subject.fill(&log).await;
    log.close().await.unwrap();
    std::fs::remove_dir_all(subject.data().join("files/keys")).unwrap();
    let log = subject.open();
    for (key, offset) in (0..).zip(offsets) {
        let again = subject.append(&log, key).await;
        assert_eq!((again.id.offset, again.duplicate), (offset, true));
    }
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_found_lost_while_it_runs_may_be_sent_again() {
    let subject = Subject::new();
    let log = subject.open();
    let offsets = subject.fill(&log).await;
    let hurt = log.facts().volumes[2].clone();
    assert_eq!(hurt.first, offsets[2]);
    log.close().await.unwrap();
    // of the same length, and its index is sound: nothing is noticed until somebody reads
    spoil(&subject.data().join(format!("v/{:010}/db", hurt.number)));
    let log = subject.open();
    assert!(subject.append(&log, 2).await.duplicate);
    // a list goes on behind what cannot be read
    let _ = log.find(Find::default()).await;
    let lost = log.facts().lost;
    assert!(lost.iter().any(|gap| gap.first == hurt.first), "{lost:?}");
    let deadline = Instant::now() + WITHIN;
    while subject.append(&log, 2).await.duplicate {
        assert!(
            Instant::now() < deadline,
            "the sender is told that it is there"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let again = subject.append(&log, 2).await;
    assert!(again.duplicate && again.id.offset > offsets[5], "{again:?}");
    assert!(subject.append(&log, 1).await.duplicate);
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_do_not_last_for_their_window_are_told() {
    let mut subject = Subject::new();
    subject.config.dedupe.keys_max = 10;
    let log = subject.open();
    assert!(!log.facts().dedupe.unwrap().is_short());
    subject.fill(&log).await;
    // six in an hour, of at most ten
    let dedupe = log.facts().dedupe.unwrap();
    assert!(dedupe.is_short(), "{dedupe:?}");
    assert_eq!(dedupe.held, Duration::from_secs(6000));
    assert_eq!(dedupe.window, Duration::from_secs(72 * 3600));
    log.close().await.unwrap();
}
