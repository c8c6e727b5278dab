//! Processes that are killed, or end themselves.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;
use crate::testkit::engine::assert_same_blocks;

/// This test binary, told to run one ignored test in a process of its own.
fn child(test: &str, dir: &Path) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let name = format!("engine::sled::tests::crash::{test}");
    child
        .args(["--exact", "--ignored", "--nocapture", &name])
        .env("CREEL_TEST_DIR", dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    child
}

fn given_storage() -> PathBuf {
    PathBuf::from(std::env::var_os("CREEL_TEST_DIR").unwrap())
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let storage = SledStorage::new(4 << 20);
    let mut acknowledged = 0;
    for kill_after in [1, 7, 40, 90, 3, 60] {
        let mut child = child("child_appends_for_ever", &storage.path());
        let mut child = child.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acks = lines.filter_map(|l| l.unwrap().strip_prefix("ack ")?.parse::<Offset>().ok());
        for ack in acks.take(kill_after) {
            acknowledged = ack;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let engine = storage.reopen();
        assert!(engine.opened().lost.is_empty(), "{:?}", engine.opened());
        assert!(engine.opened().next > acknowledged);
        let found = engine.read(1, usize::MAX).unwrap();
        let wanted: Vec<Block> = (1..engine.opened().next)
            .map(|o| block(o, 1, 45_000))
            .collect();
        assert_same_blocks(&found, &wanted);
        let counted = engine.get(b"acknowledged").unwrap().unwrap();
        let counted = Offset::from_be_bytes(counted.try_into().unwrap());
        assert!(counted >= acknowledged, "{counted} {acknowledged}");
    }
    assert!(acknowledged > 150);
}

#[test]
#[ignore = "run by what_was_acknowledged_survives_a_kill"]
fn child_appends_for_ever() {
    let settings = SledSettings {
        volume_bytes: 100_000,
        ..SledSettings::new(given_storage())
    };
    let engine = SledEngine::open(settings, 1).unwrap();
    println!();
    for offset in engine.opened().next.. {
        engine.append(&[block(offset, 1, 45_000)]).unwrap();
        let mut batch = StateBatch::default();
        batch.put("acknowledged", offset.to_be_bytes());
        batch.put("other", vec![1; 300]);
        engine.commit(&batch).unwrap();
        println!("ack {offset}");
    }
}

#[test]
fn a_panic_on_a_thread_of_sled_ends_the_process() {
    let storage = SledStorage::new(1 << 20);
    let ended = child("child_panics_as_sled", &storage.path())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(durable::DISK_FAILED));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(
        said.contains("creel: a thread of the log's storage panicked"),
        "{said}"
    );
}

#[test]
#[ignore = "run by a_panic_on_a_thread_of_sled_ends_the_process"]
fn child_panics_as_sled() {
    let _engine = SledEngine::open(SledSettings::new(given_storage()), 1).unwrap();
    let named = std::thread::Builder::new().name("sled-io-3".into());
    let thread = named.spawn(|| panic!("as sled would")).unwrap();
    let _ = thread.join();
}
