//! Bounds of the log's room, with the real executable: what stops, what goes on, and how it comes back.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::alone;
use super::audit::audit;
use super::full_disk::SmallDisk;
use crate::harness::{Answer, Api, Load, Process, Receiver, Role, Sink, Site, Sizes, eventually};
use crate::trace::Acked;

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(60);
/// Within this time after room was made deliveries are taken again.
const BACK_WITHIN: Duration = Duration::from_secs(10);

const OUT: &str = "[destinations.out]\ntype = \"file\"\npath = \"out\"\n\n\
    [[routes]]\nname = \"out\"\nsource = \"github\"\ndestination = \"out\"\n";
/// As long as nobody works on it, it keeps every volume.
const HELD: &str = "[[routes]]\nname = \"held\"\nsource = \"github\"\ndestination = \"out\"\n\
    start = \"beginning\"\n";
const REFUSES: &str = "the log is full: deliveries are refused";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_filled_by_load_refuses_before_a_write_fails_and_settling_goes_on() {
    let _alone = alone().await;
    let log = "reserve = \"32MiB\"\nreserve_operate = \"20MiB\"\nvolume = \"4MiB\"\n\
        attempts = \"1MiB\"";
    let site = Site::new(log, &format!("{OUT}{HELD}"));
    let Some(disk) = SmallDisk::mount(site.disk().to_path_buf(), "128m") else {
        return;
    };
    let mut receiver = Receiver::start(&site).await;
    receiver.allow_errors("the log is full");
    let load = Load::new(4, Sizes::Fixed(16 * 1024));
    let acked = fill(&receiver, &site, &load).await;
    let free = disk.free_bytes() as u64;
    let one_line = receiver.log().matches(REFUSES).count();
    assert_eq!(one_line, 1, "one line when it begins");

    // settling goes on
    let mut worker = worker_of(&site, &receiver, "out").await;
    let api = receiver.api(&site, Role::Operate);
    delivered(&api, "out", acked.len() as u64).await;
    let ready = api.get("/ready").await;
    assert_eq!(ready.status, 503);
    let why = ready.json()["reasons"][0]
        .as_str()
        .expect("a reason")
        .to_owned();
    for part in [
        "below `log.reserve`",
        "bytes on it",
        "add workers",
        "`ballast`",
    ] {
        assert!(why.contains(part), "{part} is not in: {why}");
    }
    assert!(receiver.log().contains(&why) || why.contains("bytes are free"));
    let metrics = api.get("/metrics").await.body;
    let metrics = String::from_utf8_lossy(&metrics).into_owned();
    assert!(metrics.contains("creel_log_refusing{bound=\"reserve\",source=\"\"} 1"));
    assert!(metrics.contains("creel_refused_total{source=\"github\",reason=\"log_full\"}"));

    // below the second reserve operators may only make room
    let others = disk.at.join("somebody-elses");
    let take = disk.free_bytes() as u64 - 12 * MIB;
    allocate(&others, take);
    let pause = "/v1/routes/out/pause";
    let refused = eventually("a refusal", SOON, async || {
        let reply = api.post(pause, &json!({})).await;
        (reply.status == 503).then_some(reply)
    })
    .await;
    let said = refused.json()["error"]
        .as_str()
        .expect("an error")
        .to_owned();
    assert!(said.contains("below `log.reserve_operate`"), "{said}");
    let discard = json!({"which": {"all": true}});
    for (path, body) in [
        ("/v1/routes/out/resume", json!({})),
        ("/v1/dead/discard", discard),
    ] {
        let reply = api.post(path, &body).await;
        assert!(reply.status < 300, "{path}: {}", reply.json());
    }

    // a kill there: recovery and settling work
    receiver.kill().await;
    worker.kill().await;
    let mut receiver = Receiver::bind(&site, None).await.expect("it recovers");
    receiver.allow_errors("the log is full");
    let mut worker = worker_of(&site, &receiver, "held").await;
    let api = receiver.api(&site, Role::Operate);
    delivered(&api, "held", acked.len() as u64).await;
    fs::remove_file(others).unwrap();
    // what both have got goes; deliveries are taken by the same process again
    back(&api).await;
    let more = load.push(receiver.public, 50).await;
    delivered(&api, "held", (acked.len() + more.len()) as u64).await;
    worker.terminate(SOON).await;
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
    println!(
        "full by load: {} acked, refused with {free} bytes free, all settled twice: PASS",
        acked.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_that_comes_back_is_used_within_seconds_and_nothing_was_lost() {
    let _alone = alone().await;
    let site = Site::new("reserve = \"32MiB\"\nvolume = \"4MiB\"", "");
    let Some(disk) = SmallDisk::mount(site.disk().to_path_buf(), "128m") else {
        return;
    };
    let mut receiver = Receiver::start(&site).await;
    receiver.allow_errors("the log is full");
    let load = Load::new(4, Sizes::Fixed(16 * 1024));
    let mut acked = fill(&receiver, &site, &load).await;
    disk.grow("256m");
    let took = back(&receiver.api(&site, Role::Read)).await;
    acked.extend(load.push(receiver.public, 50).await);
    let log = receiver.log();
    let lines = (
        log.matches(REFUSES).count(),
        log.matches("there is room again").count(),
    );
    assert_eq!(lines, (1, 1), "one line when it begins, one when it ends");
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
    let audit = audit(&site, &load, &acked, &HashSet::new()).await;
    assert!(audit.is_clean() && audit.kept == acked.len(), "{audit}");
    println!("room again: taken {took:.1?} after it was there; {audit}: PASS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_taken_by_another_ends_with_74_opens_on_its_ballast_and_else_says_what_is_missing() {
    let _alone = alone().await;
    let log = "reserve = \"32MiB\"\nballast = \"24MiB\"\nvolume = \"4MiB\"\nattempts = \"1MiB\"";
    // something is settled all the time, nothing gives way, and dead letters need more and more room
    let sink = Sink::start(|_| Answer::Status(400)).await;
    let url = sink.address();
    let dies = format!(
        "[destinations.no]\ntype = \"http\"\nurl = \"http://{url}/\"\nallow = [\"127.0.0.0/8\"]\n\n\
         [[routes]]\nname = \"dies\"\nsource = \"github\"\ndestination = \"no\"\n\
         start = \"beginning\"\nbreaker = {{ failures = 0 }}\n"
    );
    let site = Site::new(log, &format!("{OUT}rate = \"200/s\"\n\n{HELD}\n{dies}"));
    let Some(disk) = SmallDisk::mount(site.disk().to_path_buf(), "256m") else {
        return;
    };
    let ballast = site.data().join("ballast");
    let mut receiver = Receiver::start(&site).await;
    assert_eq!(fs::metadata(&ballast).map(|m| m.len()).ok(), Some(24 * MIB));
    let load = Load::new(4, Sizes::Fixed(4 * 1024));
    let mut acked = load.push(receiver.public, 6000).await;
    let mut worker = worker_of(&site, &receiver, "out").await;
    let api = receiver.api(&site, Role::Read);
    delivered(&api, "out", 100).await;
    receiver.allow_errors("");
    let stop = CancellationToken::new();
    let senders = tokio::spawn({
        let (load, stop, to) = (load.clone(), stop.clone(), receiver.public);
        async move { load.run(to, None, &stop).await }
    });
    let others = disk.at.join("somebody-elses");
    take_all(&disk, &others);
    let mut dying = worker_of(&site, &receiver, "dies").await;
    let exit = receiver.exit_within(Duration::from_secs(30)).await;
    stop.cancel();
    let tally = senders.await.expect("senders do not panic");
    assert_eq!(exit.code(), Some(74), "{}", exit.stderr);
    assert!(
        tally.refused.keys().all(|status| *status == 503),
        "{tally:?}"
    );
    acked.extend(tally.acked);

    dying.kill().await;

    // the ballast is enough to open it: what is there is lent and settled, nothing is taken
    take_all(&disk, &others);
    let mut receiver = Receiver::bind(&site, None).await.expect("it opens");
    receiver.allow_errors("");
    assert!(!ballast.exists(), "it was given away");
    assert!(receiver.log().contains("the ballast is given away"));
    let api = receiver.api(&site, Role::Read);
    assert_eq!(api.get("/ready").await.status, 503);
    worker.kill().await;
    let mut worker = worker_of(&site, &receiver, "out").await;
    delivered(&api, "out", 100).await;
    worker.kill().await;
    receiver.kill().await;

    // without one it says what is missing, and touches nothing
    take_all(&disk, &others);
    let refused = Receiver::bind(&site, None).await.err().expect("no room");
    assert_eq!(refused.0.code(), Some(74), "{}", refused.0.stderr);
    for part in [
        "the disk is full",
        "opening needs 16777216",
        "bytes on it",
        "attempts (",
    ] {
        assert!(
            refused.0.stderr.contains(part),
            "{part} is not in: {}",
            refused.0.stderr
        );
    }
    fs::remove_file(&others).unwrap();
    let mut receiver = Receiver::start(&site).await;
    assert!(ballast.exists(), "there is plenty of room again");
    acked.extend(load.push(receiver.public, 50).await);
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
    let audit = audit(&site, &load, &acked, &HashSet::new()).await;
    assert!(audit.is_clean(), "{audit}");
    println!("taken by another: exit 74, then on its ballast, then refused; {audit}: PASS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_its_most_bytes_refuses_and_with_workers_gives_history_up_instead() {
    let _alone = alone().await;
    let log = "max_bytes = \"64MiB\"\nvolume = \"4MiB\"\nattempts = \"1MiB\"";
    let site = Site::new(log, OUT);
    let mut receiver = Receiver::start(&site).await;
    receiver.allow_errors("the log is full");
    let load = Load::new(4, Sizes::Fixed(16 * 1024));
    let mut acked = fill(&receiver, &site, &load).await.len() as u64;
    let api = receiver.api(&site, Role::Read);
    let why = api.get("/ready").await.json()["reasons"][0].to_string();
    assert!(why.contains("`log.max_bytes` is 67108864"), "{why}");
    let most = size_of(site.data());
    let worker = worker_of(&site, &receiver, "out").await;
    let took = back(&api).await;
    let mut largest = most;
    // twice what it may take
    for _ in 0..8 {
        acked += load.push(receiver.public, 1024).await.len() as u64;
        delivered(&api, "out", acked).await;
        largest = largest.max(size_of(site.data()));
    }
    let first = api.get("/v1/log").await.json()["first"].as_u64();
    assert!(
        first > Some(1),
        "nothing gave way: this test proves nothing"
    );
    // what was under way when it was reached, and what settling writes
    assert!(
        largest < 64 * MIB + 12 * MIB,
        "the log took {largest} bytes"
    );
    let mut worker = worker;
    worker.terminate(SOON).await;
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
    println!(
        "max_bytes: refused at {most} bytes, taken again after {took:.1?}; {acked} acked, never \
         more than {largest} bytes: PASS"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_over_its_quota_is_refused_others_go_on_and_it_comes_back_by_itself() {
    let _alone = alone().await;
    let log = "volume = \"4MiB\"\nattempts = \"1MiB\"";
    let other = "[sources.other]\nprovider = \"none\"\n\n\
        [[routes]]\nname = \"other\"\nsource = \"other\"\ndestination = \"out\"\n";
    let site = Site::new(log, &format!("quota = \"40MiB\"\n\n{OUT}{other}"));
    let mut receiver = Receiver::start(&site).await;
    receiver.allow_errors("a quota is used up");
    let load = Load::new(4, Sizes::Fixed(16 * 1024));
    let stop = CancellationToken::new();
    let tally = load.run(receiver.public, Some(3000), &stop).await;
    let statuses: Vec<u16> = tally.refused.keys().copied().collect();
    assert_eq!((statuses, tally.unanswered), (vec![503], 0));
    refused_alone(&receiver, &site).await;
    let lines = receiver.log().matches("a quota is used up").count();
    assert_eq!(lines, 1, "one line when it begins");
    let kept = kept_of(&receiver.api(&site, Role::Read)).await;
    assert!((40 * MIB..48 * MIB).contains(&kept["github"]), "{kept:?}");

    // a new start finds the same account in the block indexes
    receiver.kill().await;
    let mut receiver = Receiver::start(&site).await;
    receiver.allow_errors("a quota is used up");
    let api = receiver.api(&site, Role::Read);
    let found = kept_of(&api).await;
    assert_eq!(found["github"], kept["github"]);
    refused_alone(&receiver, &site).await;

    let mut workers = vec![
        worker_of(&site, &receiver, "out").await,
        worker_of(&site, &receiver, "other").await,
    ];
    let began = Instant::now();
    eventually("a source that is taken again", SOON, async || {
        let refused = api.get("/ready").await.json()["refused"].clone();
        (refused == json!([])).then_some(())
    })
    .await;
    let took = began.elapsed();
    load.push(receiver.public, 20).await;
    for worker in &mut workers {
        worker.terminate(SOON).await;
    }
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
    println!(
        "quota: {} acked, then refused at {} bytes; taken again {took:.1?} after workers came: PASS",
        tally.acked.len(),
        kept["github"]
    );
}

/// `github` is refused, everybody else is not.
async fn refused_alone(receiver: &Receiver, site: &Site) {
    let api = receiver.api(site, Role::Read);
    let ready = api.get("/ready").await;
    assert_eq!(ready.status, 200, "the others are taken");
    let refused = &ready.json()["refused"][0];
    assert_eq!(refused["source"], "github");
    let why = refused["reason"].as_str().expect("a reason");
    assert!(why.contains("`sources.github.quota` is 41943040"), "{why}");
    let public = Api::new(receiver.public, String::new());
    let taken = public.post("/in/other", &json!({"n": 1})).await;
    assert_eq!(taken.status, 200);
    let metrics = api.get("/metrics").await.body;
    let metrics = String::from_utf8_lossy(&metrics);
    assert!(metrics.contains("creel_log_refusing{bound=\"quota\",source=\"github\"} 1"));
    assert!(metrics.contains("creel_accepting 1"));
}

/// Bytes kept of each source.
async fn kept_of(api: &Api) -> BTreeMap<String, u64> {
    let log = api.get("/v1/log").await.json();
    let kept = log["kept"].as_array().expect("a list");
    let of = |one: &Value| Some((one["source"].as_str()?.to_owned(), one["bytes"].as_u64()?));
    let all: BTreeMap<String, u64> = kept.iter().filter_map(of).collect();
    let volumes = log["volumes"].as_array().expect("a list").iter();
    let sums = volumes.flat_map(|volume| volume["kept"].as_array().expect("a list"));
    let sum: u64 = sums.filter_map(of).map(|(_, bytes)| bytes).sum();
    assert!(sum <= all.values().sum(), "volumes hold more than the log");
    all
}

/// Pushes until the receiver refuses everything; what it had acknowledged.
async fn fill(receiver: &Receiver, site: &Site, load: &Load) -> Vec<Acked> {
    let stop = CancellationToken::new();
    let senders = tokio::spawn({
        let (load, stop, to) = (load.clone(), stop.clone(), receiver.public);
        async move { load.run(to, None, &stop).await }
    });
    let api = receiver.api(site, Role::Read);
    eventually("a log that refuses", SOON, async || {
        (api.get("/ready").await.status == 503).then_some(())
    })
    .await;
    stop.cancel();
    let tally = senders.await.expect("senders do not panic");
    assert!(
        tally.refused.keys().all(|status| *status == 503),
        "{tally:?}"
    );
    assert_eq!(tally.unanswered, 0, "no write has failed");
    tally.acked
}

/// Waits until deliveries are taken again; how long that was.
async fn back(api: &Api) -> Duration {
    let began = Instant::now();
    eventually(
        "a log that takes deliveries again",
        BACK_WITHIN,
        async || (api.get("/ready").await.status == 200).then_some(()),
    )
    .await;
    began.elapsed()
}

async fn worker_of(site: &Site, receiver: &Receiver, route: &str) -> Process {
    let mut worker = Process::worker_with(site, receiver, route, &["--route", route]).await;
    worker.allow_errors("");
    worker
}

/// Waits until that many deliveries of a route are settled in the life of this receiver, or nothing
/// of it is left.
async fn delivered(api: &Api, route: &str, count: u64) {
    eventually("a route that is served", SOON, async || {
        let routes = api.try_get("/v1/routes").await?.json();
        let found = routes.as_array()?.iter().find(|r| r["name"] == route)?;
        let done = found["delivered"].as_u64()? >= count;
        done.then_some(())
    })
    .await;
}

fn allocate(file: &Path, bytes: u64) {
    let file = File::create(file).expect("a new file");
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes).expect("there is room");
}

/// Another process takes every byte that is left.
fn take_all(disk: &SmallDisk, others: &Path) {
    let file = File::options()
        .create(true)
        .append(true)
        .open(others)
        .expect("a file");
    loop {
        let free = disk.free_bytes() as u64;
        let end = file.metadata().expect("our file").len();
        if free == 0 {
            return;
        }
        // the log writes as well
        for part in [free, free / 2, 4096] {
            if part > 0 && rustix::fs::fallocate(&file, FallocateFlags::empty(), end, part).is_ok()
            {
                break;
            }
        }
    }
}

fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_of(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
