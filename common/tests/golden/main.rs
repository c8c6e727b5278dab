//! Logs as earlier formats wrote them, opened by the present code.
//!
//! `vN.log` is the directory of a small log of format N as text, `vN.txt` the account of what is in it.
//! A change of what is written on disk that has no step of the format's version fails here: the old
//! files cannot be read any more. A new format gets files of its own, once:
//!
//! ```sh
//! cargo test -p creel-common --all-features --test golden -- --ignored
//! ```
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

mod pack;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use creel_common::attempt::Report;
use creel_common::config::{self, Config, Known};
use creel_common::engine::sled::{self, SledEngine, SledSettings};
use creel_common::engine::{Engine, EngineError};
use creel_common::log::keys::{KeyMark, KeyTable, Runs, Verdict};
use creel_common::log::local::LocalLog;
use creel_common::log::{Actor, Intake, LeaseRequest, Operate, Selection, Settled, Want, Work};
use creel_common::outcome::Outcome;
use creel_common::testkit::account::account;
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::log::surroundings;
use creel_common::testkit::sample;
use creel_common::time::{Clock, Timestamp};

/// A volume is full when it holds a large body.
const VOLUME_BYTES: u64 = 1;

/// Before and after two routes have left the configuration.
const BEFORE: &str = "[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"early\"\n\
     retry = { max_attempts = 3, initial = \"10s\", max = \"10s\" }\n\
     [[routes]]\nsource = \"third\"\ndestination = \"d\"\nname = \"passing\"\n";
const AFTER: &str = "[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"r\"\n\
     retry = { max_attempts = 3, initial = \"10s\", max = \"10s\" }\n\
     [[routes]]\nsource = \"other\"\ndestination = \"d\"\nname = \"paused\"\n";

fn config(routes: &str) -> Config {
    let text = format!(
        "[log]\nengine = \"memory\"\nreserve = \"0B\"\n\
         [sources.s]\nprovider = \"none\"\n[sources.other]\nprovider = \"none\"\n\
         [sources.third]\nprovider = \"none\"\n[destinations.d]\ntype = \"stdout\"\n{routes}"
    );
    config::parse(&text, Path::new("creel.toml"), &Known::default()).unwrap()
}

fn open(path: &Path, routes: &str, clock: &Arc<ManualClock>) -> (Arc<SledEngine>, Arc<LocalLog>) {
    let settings = SledSettings {
        volume_bytes: VOLUME_BYTES,
        ..SledSettings::new(path)
    };
    let engine = Arc::new(SledEngine::open(settings, 0x60_1d).unwrap());
    let log = LocalLog::open(engine.clone(), &config(routes), surroundings(clock, 1)).unwrap();
    (engine, log)
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn actor(why: &str) -> Actor {
    Actor {
        who: "somebody".to_owned(),
        why: Some(why.to_owned()),
    }
}

/// Leases `outcomes.len()` of a route and settles them so, in order.
async fn settle(log: &LocalLog, route: &str, outcomes: &[Outcome]) {
    let request = LeaseRequest {
        request: format!("{route} {}", outcomes.len()),
        worker: "w".to_owned(),
        wants: vec![Want {
            route: route.to_owned(),
            max_items: outcomes.len() as u32,
            max_bytes: 1 << 20,
        }],
        wait: Duration::ZERO,
    };
    let mut outcomes = outcomes.iter();
    for lease in log.lease(request).await.unwrap() {
        let settled = lease.items.iter().map(|item| Settled {
            offset: item.offset,
            outcome: outcomes.next().unwrap().clone(),
            report: Report {
                started_at: Timestamp(1_700_000_000_123),
                duration_ms: 7,
                status: Some(422),
                error: Some("no such table".to_owned()),
                response: b"{\"what\":\"no\"}".to_vec(),
            },
        });
        log.settle(lease.id, settled.collect()).await.unwrap();
    }
    assert!(outcomes.next().is_none(), "fewer were lent");
}

/// Removes the volume of delivery 1 and, before it, writes its key into a run, as retention does.
fn remove_first_volume(path: &Path, now: Timestamp) {
    let engine = SledEngine::open(SledSettings::new(path), 0).unwrap();
    let mut table = KeyTable::default();
    let mark = KeyMark::new("s", Some("push"), "one", b"first");
    table.note(mark, Verdict::New, 1, now);
    let runs = {
        let files = engine.files().unwrap();
        let aside = files.with_file_name("damaged");
        Runs::open(&files.join("keys"), &aside, 1 << 30, &[]).unwrap()
    };
    let frozen = table.freeze(2, true).unwrap();
    runs.write(&frozen).unwrap();
    engine.remove_volume(1).unwrap();
    engine.close().unwrap();
}

/// Rewrites the oldest volume, as what is left of it is carried over.
fn rewrite_oldest_volume(path: &Path) {
    let engine = SledEngine::open(SledSettings::new(path), 0).unwrap();
    let oldest = engine.volumes()[0].clone();
    let mut blocks = engine.read(oldest.first, usize::MAX).unwrap();
    blocks.retain(|block| block.first < oldest.end);
    let mut blocks = blocks.into_iter();
    engine
        .rewrite_volumes(oldest.number, oldest.number, &mut || Ok(blocks.next()))
        .unwrap();
    engine.close().unwrap();
}

/// A log with something of each kind in it.
async fn make(path: &Path) {
    let clock = Arc::new(ManualClock::default());
    let (_, log) = open(path, BEFORE, &clock);
    let append = async |log: &LocalLog, delivery| log.append(delivery).await.unwrap().id.offset;
    // both are settled, and the first will be removed
    append(&log, sample::keyed("s", "one", "first", clock.wall())).await;
    append(&log, sample::delivery("third", "passing", clock.wall())).await;
    settle(&log, "early", &[Outcome::Delivered]).await;
    settle(&log, "passing", &[Outcome::Delivered]).await;
    log.close().await.unwrap();
    remove_first_volume(path, clock.wall());
    let (_, log) = open(path, AFTER, &clock);
    log.rename("early", "r", actor("a better name"))
        .await
        .unwrap();
    log.forget("passing", actor("not any more")).await.unwrap();
    // what is kept: dead, waiting, open, pending, paused, unrouted
    let mut odd = sample::keyed("s", "three", vec![0xff, 0, 0xfe], clock.wall());
    odd.envelope.event_type = None;
    odd.head.remote = Some("2001:db8::7".parse().unwrap());
    odd.head.event_id = Some("evt-3".to_owned());
    for value in [&b"a"[..], b"\xff\xfe", b"a"] {
        let header = creel_common::delivery::Header::new("x-repeated", value);
        odd.head.headers.push(header);
    }
    append(&log, odd).await;
    let mut large = vec![0; 70_000];
    (large[0], large[69_999]) = (b'l', b'e');
    append(&log, sample::keyed("s", "four", large, clock.wall())).await;
    append(&log, sample::delivery("s", "", clock.wall())).await;
    append(
        &log,
        sample::delivery("other", "for a paused route", clock.wall()),
    )
    .await;
    append(&log, sample::delivery("third", "unrouted", clock.wall())).await;
    append(&log, sample::keyed("s", "eight", "pending", clock.wall())).await;
    log.pause("paused", actor("a window")).await.unwrap();
    let retry = Outcome::Retry { after: None };
    settle(&log, "r", &[Outcome::Reject, Outcome::Reject, retry]).await;
    let which = Selection {
        route: Some("r".to_owned()),
        ids: vec![log.dead(Default::default()).await.unwrap().items[1].id],
        ..Selection::default()
    };
    log.reprocess(which, actor("mended")).await.unwrap();
    log.close().await.unwrap();
    rewrite_oldest_volume(path);
}

/// What a copy of a log holds, also which keys it knows: their deliveries are not stored again.
async fn told(path: &Path) -> String {
    let clock = Arc::new(ManualClock::default());
    let (engine, log) = open(path, AFTER, &clock);
    let mut text = account(&*log).await;
    let known = [
        ("one", "first".into()),
        ("three", vec![0xff, 0, 0xfe]),
        ("eight", "pending".into()),
    ];
    for (key, body) in known {
        let mut again = sample::keyed("s", key, body, clock.wall());
        if key == "three" {
            again.envelope.event_type = None;
        }
        let appended = log.append(again).await.unwrap();
        let known = if appended.duplicate { "known" } else { "new" };
        text.push_str(&format!("key {key}: {known}, {}\n", appended.id.offset));
    }
    let opened = engine.opened();
    let mut lines = format!("log {}, next {}\n", opened.log, opened.next);
    for gap in engine.gaps() {
        lines.push_str(&format!("{gap:?}\n"));
    }
    log.close().await.unwrap();
    lines + &text
}

fn unpacked(version: &str, dir: &Path) -> PathBuf {
    let text = std::fs::read_to_string(golden(&format!("{version}.log"))).unwrap();
    let path = dir.join("data");
    pack::unpack(&text, &path);
    path
}

async fn reads_back(version: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = unpacked(version, dir.path());
    let wanted = std::fs::read_to_string(golden(&format!("{version}.txt"))).unwrap();
    assert_eq!(told(&path).await, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_format_2_holds_all_that_it_held() {
    reads_back("v2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_format_3_holds_all_that_it_held() {
    reads_back("v3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_a_log_of_format_2_makes_it_one_of_this_format() {
    let dir = tempfile::tempdir().unwrap();
    let path = unpacked("v2", dir.path());
    assert_eq!(sled::format_found(&path).unwrap(), Some(2));
    let wanted = std::fs::read_to_string(golden("v2.txt")).unwrap();
    assert_eq!(told(&path).await, wanted);
    assert_eq!(sled::format_found(&path).unwrap(), Some(sled::FORMAT));
    assert_eq!(told(&path).await, wanted);
}

#[test]
fn a_log_of_a_newer_format_is_refused_and_left_byte_for_byte_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = unpacked("v3", dir.path());
    let newer = (sled::FORMAT + 1).to_string();
    let file = path.join("creel.log");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replace("version: 3", &format!("version: {newer}")),
    )
    .unwrap();
    // a newer creel may know files of other kinds
    std::fs::create_dir(path.join("ahead")).unwrap();
    std::fs::write(path.join("v/0000000004/tomorrow"), b"of another time").unwrap();
    let before = pack::pack(&path);
    let refused = SledEngine::open(SledSettings::new(&path), 1).unwrap_err();
    let is_refusal = matches!(&refused, EngineError::Format { found, .. } if *found == newer);
    assert!(is_refusal, "{refused}");
    assert!(sled::format_found(&path).is_err());
    assert_eq!(pack::pack(&path), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes the files of a new format"]
async fn write_the_files_of_this_format() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    make(&path).await;
    let text = std::fs::read_to_string(path.join("creel.log")).unwrap();
    let version = text.lines().nth(1).unwrap().rsplit(' ').next().unwrap();
    let file = golden(&format!("v{version}.log"));
    assert!(
        !file.exists(),
        "{} is there: a format is never written twice",
        file.display()
    );
    std::fs::write(&file, pack::pack(&path)).unwrap();
    let told = told(&path).await;
    std::fs::write(golden(&format!("v{version}.txt")), told).unwrap();
}
