//! What only files do: rotate, mend torn lines, survive a full disk and a kill.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use creel_common::outcome::Outcome;
use creel_common::time::SystemClock;
use creel_worker::destinations::{Destination, Item};
use tempfile::TempDir;

use crate::child;
use crate::lines::{files, in_dir};
use crate::sample::{HandClock, item, opened, opened_at};

const CURRENT: &str = ".current.jsonl";

async fn deliver(destination: &Arc<dyn Destination>, items: &[Item]) -> Vec<Outcome> {
    let results = destination.deliver(items).await;
    results.into_iter().map(|result| result.outcome).collect()
}

async fn delivers(destination: &Arc<dyn Destination>, offset: u64, body: &str) {
    let outcomes = deliver(destination, &[item(offset, body.to_owned())]).await;
    assert_eq!(outcomes, [Outcome::Delivered]);
}

fn ids(dir: &Path) -> Vec<String> {
    in_dir(dir).into_iter().map(|arrived| arrived.id).collect()
}

#[tokio::test]
async fn a_file_that_is_full_is_renamed_and_the_next_begun() {
    let dir = TempDir::new().unwrap();
    let destination = opened("file", "path = \".\"\nrotate_size = \"4KiB\"", dir.path()).unwrap();
    for offset in 1..=6 {
        delivers(&destination, offset, &"x".repeat(1500)).await;
    }
    assert_eq!(files(dir.path(), ".jsonl").len(), 3);
    assert_eq!(files(dir.path(), CURRENT).len(), 1);
    for file in files(dir.path(), ".jsonl") {
        assert!(file.metadata().unwrap().len() <= 4096);
    }
    assert_eq!(in_dir(dir.path()).len(), 6);
}

#[tokio::test]
async fn a_file_that_is_old_is_renamed_with_the_next_delivery() {
    let dir = TempDir::new().unwrap();
    let clock = Arc::new(HandClock::default());
    let settings = "path = \"out\"\nrotate_every = \"1h\"";
    let destination = opened_at("file", settings, dir.path(), Arc::clone(&clock) as _).unwrap();
    let out = dir.path().join("out");
    delivers(&destination, 1, "a").await;
    clock.advance(Duration::from_secs(3599));
    delivers(&destination, 2, "b").await;
    assert_eq!(files(&out, ".jsonl").len(), 1);
    clock.advance(Duration::from_secs(1));
    delivers(&destination, 3, "c").await;
    assert_eq!(files(&out, ".jsonl").len(), 2);
    assert_eq!(ids(&out).len(), 3);
}

#[tokio::test]
async fn two_workers_in_one_directory_write_files_of_their_own() {
    let dir = TempDir::new().unwrap();
    let settings = "path = \".\"";
    let first = opened("file", settings, dir.path()).unwrap();
    delivers(&first, 1, "a").await;
    // opening the second must not take the first one's file for a leftover
    let second = opened("file", settings, dir.path()).unwrap();
    delivers(&second, 2, "b").await;
    delivers(&first, 3, "c").await;
    assert_eq!(files(dir.path(), CURRENT).len(), 2);
    assert_eq!(ids(dir.path()).len(), 3);
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_kept_beside() {
    let dir = TempDir::new().unwrap();
    let left = dir.path().join("there-gone-1.current.jsonl");
    let long = "y".repeat(200_000);
    std::fs::write(&left, format!("{{\"whole\":1}}\n{{\"torn\":\"{long}")).unwrap();
    std::fs::write(dir.path().join("there-gone-2.current.jsonl"), "{\"torn\":").unwrap();
    std::fs::write(dir.path().join("there-gone-3.current.jsonl"), "").unwrap();
    std::fs::write(
        dir.path().join("there-gone-4.current.jsonl"),
        "{\"whole\":4}\n",
    )
    .unwrap();
    let _destination = opened("file", "path = \".\"", dir.path()).unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("there-gone-1.jsonl"), "{\"whole\":1}\n");
    assert_eq!(
        read("there-gone-1.jsonl.torn"),
        format!("{{\"torn\":\"{long}")
    );
    assert_eq!(read("there-gone-2.jsonl.torn"), "{\"torn\":");
    assert_eq!(read("there-gone-4.jsonl"), "{\"whole\":4}\n");
    assert_eq!(files(dir.path(), ".jsonl").len(), 2);
    assert_eq!(files(dir.path(), CURRENT).len(), 0);
}

#[tokio::test]
async fn a_file_that_somebody_removed_is_not_written_into() {
    let dir = TempDir::new().unwrap();
    let destination = opened("file", "path = \".\"", dir.path()).unwrap();
    delivers(&destination, 1, "a").await;
    std::fs::remove_file(&files(dir.path(), CURRENT)[0]).unwrap();
    delivers(&destination, 2, "b").await;
    assert_eq!(ids(dir.path()), ["000000000000feed-2"]);
}

#[tokio::test]
async fn a_stop_in_order_leaves_no_file_that_looks_unfinished() {
    let dir = TempDir::new().unwrap();
    let destination = opened("file", "path = \".\"", dir.path()).unwrap();
    delivers(&destination, 1, "a").await;
    assert_eq!(files(dir.path(), CURRENT).len(), 1);
    drop(destination);
    assert_eq!(files(dir.path(), CURRENT).len(), 0);
    assert_eq!(ids(dir.path()).len(), 1);
}

/// A file system of its own, as small as it is told.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn mount(size: &str) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .output();
        mounted
            .is_ok_and(|out| out.status.success())
            .then_some(Self(dir))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_leaves_no_torn_line_and_heals() {
    let Some(disk) = Tmpfs::mount("256k") else {
        eprintln!("SKIPPED a_full_disk_leaves_no_torn_line_and_heals: cannot mount a tmpfs");
        return;
    };
    let out = disk.0.path().join("out");
    let destination = opened("file", "path = \"out\"", disk.0.path()).unwrap();
    delivers(&destination, 1, &"a".repeat(60_000)).await;
    let filler = disk.0.path().join("filler");
    let mut filling = std::fs::File::create(&filler).unwrap();
    filling.write_all(&[0; 150_000]).unwrap();
    let batch = [item(2, vec![b'b'; 20_000]), item(3, vec![b'c'; 60_000])];
    for result in destination.deliver(&batch).await {
        assert_eq!(result.outcome, Outcome::Retry { after: None });
        assert!(result.report.error.unwrap().contains("No space left"));
    }
    // every line is whole, and the failed batch left nothing
    assert_eq!(ids(&out), ["000000000000feed-1"]);
    std::fs::remove_file(filler).unwrap();
    drop(filling);
    let outcomes = deliver(&destination, &batch).await;
    assert_eq!(outcomes, [Outcome::Delivered, Outcome::Delivered]);
    assert_eq!(ids(&out).len(), 3);
}

const DIR: &str = "CREEL_TEST_DIR";

/// Delivers until it is killed, and says what is delivered.
#[tokio::test]
#[ignore = "run by a_kill_loses_nothing_that_was_delivered"]
async fn delivers_until_it_is_killed() {
    let dir = std::env::var(DIR).unwrap();
    let clock = Arc::new(SystemClock::default());
    let settings = "path = \".\"\nrotate_size = \"256KiB\"";
    let destination = opened_at("file", settings, Path::new(&dir), clock).unwrap();
    for batch in 0_u64.. {
        let items: Vec<Item> = (0..20)
            .map(|n| item(batch * 20 + n + 1, vec![b'x'; 900]))
            .collect();
        if deliver(&destination, &items).await == vec![Outcome::Delivered; 20] {
            println!("delivered {}", batch * 20 + 20);
        }
    }
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_delivered() {
    let dir = TempDir::new().unwrap();
    for kill_after in [1, 17, 60] {
        let name = "file::delivers_until_it_is_killed";
        let mut child = child::start(name, &[(DIR, dir.path().to_str().unwrap())]);
        let mut said = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            // the harness prints a test's name before what it says, on the same line
            .filter_map(|line| {
                line.rsplit_once("delivered ")
                    .and_then(|(_, n)| n.parse().ok())
            });
        let mut delivered: u64 = said.by_ref().take(kill_after).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        delivered = said.last().unwrap_or(delivered);
        let _mended = opened("file", "path = \".\"", dir.path()).unwrap();
        let kept = ids(dir.path());
        for offset in 1..=delivered {
            let id = format!("000000000000feed-{offset}");
            assert!(kept.contains(&id), "{id} of {delivered} is lost");
        }
        for file in files(dir.path(), "") {
            std::fs::remove_file(file).unwrap();
        }
    }
}
