//! A disk that is full under a destination: that destination's trouble, and nobody else's.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::alone;
use super::audit::audit;
use crate::harness::{Load, Process, Receiver, Role, Site, Sizes, eventually, json_lines};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_a_destination_delays_it_and_stops_nothing_else() {
    let _alone = alone().await;
    let rest = "[destinations.small]\ntype = \"file\"\npath = \"small/out\"\n\n\
        [[routes]]\nsource = \"github\"\ndestination = \"small\"\nbreaker = { failures = 0 }\n\
        retry = { max_attempts = 10000, initial = \"100ms\", max = \"500ms\" }\n";
    let site = Site::new("", rest);
    let Some(disk) = SmallDisk::mount(site.path("small"), "256k") else {
        return;
    };
    let receiver = Receiver::start(&site).await;
    let worker = Process::worker(&site, &receiver, "writer").await;
    let load = Load::new(8, Sizes::Fixed(8 * 1024));
    let mut acked = load.push(receiver.public, 200).await;
    full(&receiver, &site).await;
    acked.extend(load.push(receiver.public, 200).await);
    assert_eq!(
        receiver.api(&site, Role::Read).get("/ready").await.status,
        200
    );
    let before = ids(&disk.at).len();
    assert!(before < acked.len(), "the disk was never full");
    disk.grow("64m");
    let expected: BTreeSet<String> = acked.iter().map(|one| one.id.clone()).collect();
    eventually(
        "everything on the grown disk",
        Duration::from_secs(60),
        async || expected.is_subset(&ids(&disk.at)).then_some(()),
    )
    .await;
    println!(
        "full disk: {before} of {} written before it was full, all after",
        acked.len()
    );
    stop(worker, receiver).await;
    println!("full disk: PASS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_reserve_intake_stops_and_comes_back_without_a_restart() {
    let _alone = alone().await;
    let site = Site::new("reserve = \"32MiB\"", "");
    let Some(disk) = SmallDisk::mount(site.disk().to_path_buf(), "128m") else {
        return;
    };
    let mut receiver = Receiver::start(&site).await;
    receiver.allow_errors("the log is full");
    let load = Load::new(4, Sizes::Fixed(1000));
    let mut acked = load.push(receiver.public, 100).await;
    let ballast = disk.at.join("somebody-elses");
    fs::write(&ballast, vec![1; disk.free_bytes() - (16 << 20)]).unwrap();
    let api = receiver.api(&site, Role::Read);
    eventually(
        "a receiver that is not ready",
        Duration::from_secs(20),
        async || (api.get("/ready").await.status == 503).then_some(()),
    )
    .await;
    let tally = load
        .run(receiver.public, Some(50), &CancellationToken::new())
        .await;
    assert_eq!(
        tally.refused,
        BTreeMap::from([(503, 50)]),
        "all refused as our fault"
    );
    fs::remove_file(ballast).unwrap();
    eventually(
        "a receiver that is ready again",
        Duration::from_secs(10),
        async || (api.get("/ready").await.status == 200).then_some(()),
    )
    .await;
    acked.extend(load.push(receiver.public, 100).await);
    receiver.terminate(Duration::from_secs(20)).await;
    let audit = audit(&site, &load, &acked, &HashSet::new()).await;
    println!("reserve: 50 refused below it; {audit}");
    assert!(audit.is_clean() && audit.kept == acked.len(), "{audit}");
    println!("reserve: PASS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settled_history_gives_way_so_that_intake_never_stops() {
    let _alone = alone().await;
    let log = "reserve = \"96MiB\"\nvolume = \"4MiB\"\nattempts = \"1MiB\"";
    let rest = "[destinations.out]\ntype = \"file\"\npath = \"out\"\n\n\
        [[routes]]\nsource = \"github\"\ndestination = \"out\"\n";
    let site = Site::new(log, rest);
    let Some(_disk) = SmallDisk::mount(site.disk().to_path_buf(), "256m") else {
        return;
    };
    let receiver = Receiver::start(&site).await;
    let worker = Process::worker(&site, &receiver, "writer").await;
    let load = Load::new(4, Sizes::Fixed(16 * 1024));
    let api = receiver.api(&site, Role::Read);
    let mut acked = 0;
    // more than the disk has room for above one and a half times the reserve
    for _ in 0..14 {
        acked += load.push(receiver.public, 1024).await.len() as u64;
        let delivered = async || {
            let routes = api.get("/v1/routes").await.json();
            (routes[0]["delivered"].as_u64() == Some(acked)).then_some(())
        };
        eventually("all delivered", Duration::from_secs(60), delivered).await;
    }
    let log = api.get("/v1/log").await.json();
    let first = log["first"].as_u64().expect("an offset");
    println!("history gave way: {acked} acked, {first} is the oldest left");
    assert!(first > 1, "nothing gave way: this test proves nothing");
    stop(worker, receiver).await;
    println!("history gave way: PASS");
}

async fn stop(mut worker: Process, mut receiver: Receiver) {
    let exit = worker.terminate(Duration::from_secs(30)).await;
    assert_eq!(exit.code(), Some(0), "the worker never gave up");
    let exit = receiver.terminate(Duration::from_secs(30)).await;
    assert_eq!(exit.code(), Some(0), "the receiver saw nothing of it");
}

/// Waits until some delivery waits for another try.
async fn full(receiver: &Receiver, site: &Site) {
    let api = receiver.api(site, Role::Read);
    eventually(
        "a delivery that waits",
        Duration::from_secs(30),
        async || {
            let routes = api.get("/v1/routes").await.json();
            routes.as_array()?.first()?["waiting"]
                .as_u64()
                .filter(|&waiting| waiting > 0)
        },
    )
    .await;
}

fn ids(disk: &Path) -> BTreeSet<String> {
    let id = |value: &serde_json::Value| value["id"].as_str().expect("an id").to_owned();
    json_lines(&disk.join("out"))
        .iter()
        .map(|line| id(&line.value))
        .collect()
}

/// A file system of a given size; gone when dropped.
pub struct SmallDisk {
    pub at: PathBuf,
}

impl SmallDisk {
    /// Says aloud why the test is left out when it cannot be mounted.
    pub fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).expect("a new directory");
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&at);
        let why = match mount.output() {
            Ok(output) if output.status.success() => return Some(Self { at }),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        println!("left out: a full disk under a destination: {why}");
        eprintln!("left out: a full disk under a destination: {why}");
        None
    }

    pub fn free_bytes(&self) -> usize {
        let stat = rustix::fs::statvfs(&self.at).expect("a mounted file system");
        usize::try_from(stat.f_bavail * stat.f_frsize).expect("a small disk")
    }

    pub fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        let status = Command::new("mount")
            .args(["-o", &options])
            .arg(&self.at)
            .status();
        assert!(
            status.expect("mount was there").success(),
            "the disk cannot grow"
        );
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}
