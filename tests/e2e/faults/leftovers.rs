//! What crashes and bad disks leave in the log's directory.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::audit::{audit, offset_of};
use super::{alone, scale};
use crate::harness::{Load, Marker, Receiver, Seed, Site, Sizes, salvage, verify};
use crate::trace::Acked;

/// A log with deliveries in it, nobody running.
struct Stopped {
    site: Site,
    load: Load,
    acked: Vec<Acked>,
}

impl Stopped {
    async fn killed() -> Self {
        let (mut receiver, stopped) = Self::filled().await;
        receiver.kill().await;
        stopped
    }

    async fn cleanly() -> Self {
        let (mut receiver, stopped) = Self::filled().await;
        let exit = receiver.terminate(Duration::from_secs(20)).await;
        assert_eq!(exit.code(), Some(0), "a clean stop");
        stopped
    }

    async fn filled() -> (Receiver, Self) {
        let site = Site::new("", "");
        let receiver = Receiver::start(&site).await;
        let load = Load::new(16, Sizes::Between(200, 8000));
        let acked = load.push(receiver.public, 1000).await;
        (receiver, Self { site, load, acked })
    }

    /// Every directory of a sled database.
    fn databases(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        find_databases(self.site.data(), &mut found);
        assert!(
            !found.is_empty(),
            "no database in {}",
            self.site.data().display()
        );
        found
    }

    /// A receiver starts on it, takes more, and all is there.
    async fn starts_with_everything(&self, what: &str) {
        let mut receiver = Receiver::start(&self.site).await;
        let more = self.load.push(receiver.public, 10).await;
        receiver.terminate(Duration::from_secs(20)).await;
        let all: Vec<Acked> = self.acked.iter().cloned().chain(more).collect();
        let audit = audit(&self.site, &self.load, &all, &HashSet::new()).await;
        println!("{what}: {audit}");
        assert!(audit.is_clean(), "{what}: {audit}");
    }
}

fn find_databases(dir: &Path, found: &mut Vec<PathBuf>) {
    if dir.join("db").is_file() {
        found.push(dir.to_path_buf());
    }
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            find_databases(&path, found);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_was_never_finished_stops_no_start() {
    let _alone = alone().await;
    let log = Stopped::killed().await;
    for database in log.databases() {
        fs::write(
            database.join("snap.0000000000000001.generating"),
            b"half a snapsh",
        )
        .unwrap();
    }
    log.starts_with_everything("unfinished snapshot").await;
    println!("unfinished snapshot: PASS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_or_missing_conf_stops_no_start() {
    let _alone = alone().await;
    for how in ["empty", "zeros", "missing"] {
        let log = Stopped::killed().await;
        for database in log.databases() {
            let conf = database.join("conf");
            match how {
                "empty" => fs::write(conf, b"").unwrap(),
                "zeros" => fs::write(&conf, vec![0; fs::read(&conf).unwrap().len()]).unwrap(),
                _ => fs::remove_file(conf).unwrap(),
            }
        }
        log.starts_with_everything(&format!("{how} conf")).await;
    }
    println!("conf: PASS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_snapshots_lose_nothing() {
    let _alone = alone().await;
    let log = Stopped::killed().await;
    for database in log.databases() {
        for entry in fs::read_dir(database).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("snap.")
            {
                fs::remove_file(path).unwrap();
            }
        }
    }
    log.starts_with_everything("missing snapshots").await;
    println!("missing snapshots: PASS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_clean_stop_every_loss_is_reported_and_no_body_is_ever_wrong() {
    let _alone = alone().await;
    let seed = Seed::of("damage");
    let mut rng = seed.rng();
    let log = Stopped::cleanly().await;
    let (mut refused, mut lost) = (0, 0);
    let damages = scale(8, 200);
    for nth in 0..damages {
        match damage(&log, nth, &mut rng).await {
            Found::Refused => refused += 1,
            Found::Lost(deliveries) => lost += deliveries,
        }
    }
    println!("damage: {damages} times, {refused} refused, {lost} deliveries lost, all reported");
    println!("damage: PASS");
}

enum Found {
    /// The log was not opened, and why was said.
    Refused,
    /// It was opened without so many deliveries, and each was reported.
    Lost(usize),
}

/// Damages a copy of the log and looks what is made of it.
async fn damage(log: &Stopped, nth: usize, rng: &mut StdRng) -> Found {
    let name = format!("damaged-{nth}");
    let disk = log.site.path(&name);
    copy(log.site.disk(), &disk);
    let site = log.site.with_disk(&name, &disk);
    let told = spoil(&site, nth, rng);
    let found = judge(log, &site, &told).await;
    if matches!(found, Found::Lost(_)) {
        offsets_go_on(log, &site, &told).await;
    }
    fs::remove_dir_all(disk).unwrap();
    found
}

/// Cuts the end off the file that holds deliveries, or flips a bit in it.
fn spoil(site: &Site, nth: usize, rng: &mut StdRng) -> String {
    let mut databases = Vec::new();
    find_databases(site.data(), &mut databases);
    let holds = |dir: &PathBuf| Marker::first_in(&fs::read(dir.join("db")).unwrap()).is_some();
    let db = databases
        .into_iter()
        .find(holds)
        .expect("a database with deliveries")
        .join("db");
    let bytes = fs::read(&db).unwrap();
    if nth.is_multiple_of(2) {
        let cut = rng.random_range(1..bytes.len().min(3 << 20));
        let file = OpenOptions::new().write(true).open(&db).unwrap();
        file.set_len((bytes.len() - cut) as u64).unwrap();
        return format!("damage {nth}: {cut} of {} bytes cut off", bytes.len());
    }
    let used = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .expect("not all zeros");
    let at = rng.random_range(0..used);
    let mut flipped = bytes;
    flipped[at] ^= 1 << rng.random_range(0..8);
    fs::write(&db, flipped).unwrap();
    format!("damage {nth}: a bit flipped at {at}")
}

async fn judge(log: &Stopped, site: &Site, told: &str) -> Found {
    let verified = match verify(site).await {
        Ok(verified) => verified,
        Err(exit) => {
            assert!(
                matches!(exit.code(), Some(1 | 74)),
                "{told}: {:?}: {}",
                exit.status,
                exit.stderr
            );
            assert!(
                !exit.stderr.trim().is_empty(),
                "{told}: refused without a word"
            );
            return Found::Refused;
        }
    };
    let (kept, _) = salvage(site).await;
    let mut lost = Vec::new();
    for one in &log.acked {
        match kept.get(&one.id) {
            Some(found) => assert!(
                found.body == log.load.body(one.marker),
                "{told}: a wrong body"
            ),
            None => lost.push(offset_of(&one.id)),
        }
    }
    let reported = |offset: &u64| verified.reports(*offset);
    let unreported: Vec<_> = lost.iter().filter(|offset| !reported(offset)).collect();
    assert!(
        unreported.is_empty(),
        "{told}: {} lost and not reported: {verified:?}",
        unreported.len()
    );
    assert!(
        lost.is_empty() || verified.exit.code() != Some(0),
        "{told}: a loss and exit code 0"
    );
    Found::Lost(lost.len())
}

/// A receiver on it gives no offset a second time, or says why it does not start.
async fn offsets_go_on(log: &Stopped, site: &Site, told: &str) {
    let highest = log
        .acked
        .iter()
        .map(|one| offset_of(&one.id))
        .max()
        .expect("some");
    let mut receiver = match Receiver::bind(site, None).await {
        Ok(receiver) => receiver,
        Err(failed) => {
            assert!(
                !failed.0.stderr.trim().is_empty(),
                "{told}: no start without a word"
            );
            return;
        }
    };
    receiver.allow_errors("");
    receiver.until_ready(site).await;
    for one in log.load.push(receiver.public, 5).await {
        assert!(
            offset_of(&one.id) > highest,
            "{told}: offset of {} was given twice",
            one.id
        );
    }
    receiver.terminate(Duration::from_secs(20)).await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
