//! What crashes and bad disks leave in the log's directory.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::alone;
use super::audit::audit;
use crate::harness::{Load, Receiver, Site, Sizes};
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
