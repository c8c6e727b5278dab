//! Whose deliveries a damaged disk took, and from when.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use creel_common::engine::sled::{SledEngine, SledSettings};
use creel_common::log::local::LocalLog;
use creel_common::log::losses::Loss;
use creel_common::log::{Find, Intake, Operate};
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::disk::spoil;
use creel_common::testkit::log::{config, surroundings};
use creel_common::testkit::sample;
use creel_common::time::{Clock, Timestamp};

const ROUTES: &str = "[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"a\"\n";
const SOURCES: [&str; 6] = ["s", "other", "s", "other", "s", "s"];

struct Subject {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    times: Vec<Timestamp>,
}

impl Subject {
    /// Closed, with six deliveries a minute apart; `volume_bytes` of 1 gives each a volume.
    async fn filled(volume_bytes: u64) -> Self {
        let mut subject = Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::default()),
            times: Vec::new(),
        };
        let log = subject.open(volume_bytes);
        for source in SOURCES {
            let now = subject.clock.wall();
            subject.times.push(now);
            log.append(sample::delivery(source, "a body", now))
                .await
                .unwrap();
            subject.clock.advance(Duration::from_secs(60));
        }
        log.close().await.unwrap();
        subject
    }

    fn open(&self, volume_bytes: u64) -> Arc<LocalLog> {
        let settings = SledSettings {
            volume_bytes,
            ..SledSettings::new(self.dir.path().join("data"))
        };
        let engine = SledEngine::open(settings, 1).unwrap();
        LocalLog::open(
            Arc::new(engine),
            &config(ROUTES),
            surroundings(&self.clock, 1),
        )
        .unwrap()
    }

    fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join("data").join(name)
    }

    fn loss(&self, lost: &[Loss], first: u64) -> Loss {
        let loss = lost
            .iter()
            .find(|loss| loss.first == first && loss.known_lost);
        loss.unwrap_or_else(|| panic!("{lost:?}")).clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_whose_index_survives_tells_whose_its_deliveries_were_and_when() {
    let subject = Subject::filled(1).await;
    spoil(&subject.data("v/0000000004/db"));
    let log = subject.open(1);
    let _ = log.find(Find::default()).await;
    let loss = subject.loss(&log.facts().lost, 4);
    assert_eq!((loss.last, loss.exact), (4, true));
    assert_eq!(loss.sources, ["other"]);
    let times = (loss.received_from, loss.received_until);
    assert_eq!(times, (Some(subject.times[3]), Some(subject.times[3])));
    log.close().await.unwrap();
    assert!(subject.data("damaged/0000000004/db").exists(), "no copy");
    // and it is remembered when the volume is gone altogether
    std::fs::remove_dir_all(subject.data("v/0000000004")).unwrap();
    let log = subject.open(1);
    assert_eq!(subject.loss(&log.facts().lost, 4), loss);
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_is_gone_is_bounded_in_time_by_its_neighbours() {
    let subject = Subject::filled(1).await;
    std::fs::remove_dir_all(subject.data("v/0000000004")).unwrap();
    let log = subject.open(1);
    let loss = subject.loss(&log.facts().lost, 4);
    assert_eq!((loss.last, loss.exact), (4, false));
    assert_eq!(loss.sources_text(), "unknown");
    let times = (loss.received_from, loss.received_until);
    assert_eq!(times, (Some(subject.times[2]), Some(subject.times[4])));
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newest_volume_that_lost_all_it_held_tells_it_from_its_index() {
    let subject = Subject::filled(1 << 30).await;
    let db = subject.data("v/0000000001/db");
    std::fs::File::options()
        .write(true)
        .open(&db)
        .unwrap()
        .set_len(0)
        .unwrap();
    let log = subject.open(1 << 30);
    let loss = subject.loss(&log.facts().lost, 1);
    assert_eq!((loss.last, loss.exact), (6, true), "{loss:?}");
    assert_eq!(loss.sources, ["other", "s"]);
    let times = (loss.received_from, loss.received_until);
    assert_eq!(times, (Some(subject.times[0]), Some(subject.times[5])));
    log.close().await.unwrap();
    assert!(subject.data("damaged/0000000001/index").exists(), "no copy");
}
