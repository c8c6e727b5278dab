//! `creel backup` and `creel restore`, with the real executable and senders that go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{creel, json};
use crate::harness::{
    Exported, Hand, Load, Marker, Receiver, Role, Site, Sizes, eventually, export, verify,
};

const ROUTE: &str = "[destinations.out]\ntype = \"stdout\"\n\n\
     [[routes]]\nsource = \"github\"\ndestination = \"out\"\nname = \"out\"\n\
     retry = { max_attempts = 5, initial = \"1h\", max = \"2h\" }\n";
const STOPS_WITHIN: Duration = Duration::from_secs(30);

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// Bodies by marker, whatever the log's name.
fn by_marker(exported: &BTreeMap<String, Exported>) -> BTreeMap<Marker, Vec<u8>> {
    let marker = |one: &Exported| Marker::first_in(&one.body).expect("a marker");
    let bodies = exported.values();
    bodies.map(|one| (marker(one), one.body.clone())).collect()
}

/// The site of a log that is restored from `backups`.
async fn restored(site: &Site, backups: &Path, name: &str) -> (Site, Value) {
    let disk = site.path(name);
    let other = site.with_disk(name, &disk);
    let data = text(other.data());
    let report = json(site, &["restore", &text(backups), &data]).await;
    (other, report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_under_load_is_backed_up_and_restored_byte_for_byte() {
    let site = Site::new("volume = \"4MiB\"", ROUTE);
    let backups = site.path("backups");
    let mut receiver = Receiver::start(&site).await;
    let load = Load::new(8, Sizes::Between(100, 60_000));
    let before = load.push(receiver.public, 300).await;
    let hand = Hand::new(receiver.api(&site, Role::Worker));
    let leased = hand.lease("out", 20, Duration::from_secs(5)).await.unwrap();
    let offset = |nth: usize| leased.items[nth].offset;
    assert_eq!(hand.settle(&leased, &[offset(0)], "reject").await, 204);
    assert_eq!(hand.settle(&leased, &[offset(1)], "retry").await, 204);
    assert_eq!(hand.settle(&leased, &[offset(2)], "delivered").await, 204);
    // senders go on while it is backed up
    let stop = CancellationToken::new();
    let senders = tokio::spawn({
        let (load, stop, to) = (load.clone(), stop.clone(), receiver.public);
        async move { load.run(to, None, &stop).await }
    });
    let report = json(&site, &["backup", &text(&backups), "--verify"]).await;
    stop.cancel();
    let tally = senders.await.unwrap();
    assert!(tally.refused.is_empty() && !tally.acked.is_empty());
    assert_eq!(report["verified"]["damage"], json!([]), "{report}");
    let next = report["next"].as_u64().unwrap();
    assert!(next > 300, "{report}");
    let incremental = json(&site, &["backup", &text(&backups)]).await;
    assert_eq!(incremental["number"], 2);
    // a block holds one delivery at least: nothing of the first backup is copied again
    let since = incremental["next"].as_u64().unwrap() - next;
    let blocks = incremental["blocks_written"].as_u64().unwrap();
    assert!(blocks <= since, "{report} {incremental}");
    let dead = json(&site, &["dead", "list"]).await;
    receiver.terminate(STOPS_WITHIN).await;

    let checked = creel(&site, &["backup", "verify", &text(&backups)]).await;
    assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
    let (other, restore) = restored(&site, &backups, "other").await;
    let original = verify(&site).await.expect("a sound log");
    let copy = verify(&other).await.expect("a sound log");
    assert_ne!(original.log_id, copy.log_id);
    assert!(copy.next > original.next + 1_000_000_000, "{restore}");
    assert!(copy.gaps.iter().all(|gap| gap["known_lost"] == false));
    let wanted = by_marker(&export(&site).await.unwrap());
    let found = by_marker(&export(&other).await.unwrap());
    // senders had stopped before the second backup
    assert_eq!(
        found.len() as u64,
        incremental["next"].as_u64().unwrap() - 1
    );
    assert!(found == wanted, "bodies differ");
    for acked in before.iter().chain(&tally.acked) {
        assert_eq!(found[&acked.marker], load.body(acked.marker));
    }

    // it takes up where it was: dead, waiting and settled; and knows what it has
    let mut receiver = Receiver::start(&other).await;
    let reader = receiver.api(&other, Role::Read);
    let standing = async |offset: u64| {
        let path = format!("/v1/deliveries/{}-{offset}", copy.log_id);
        let shown = reader.get(&path).await.json();
        let state = shown["standings"][0]["standing"]["state"].as_str();
        state.unwrap_or_else(|| panic!("{shown}")).to_owned()
    };
    let still_dead = json(&other, &["dead", "list"]).await;
    let offsets = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|item| {
                item["id"]
                    .as_str()
                    .unwrap()
                    .split_once('-')
                    .unwrap()
                    .1
                    .to_owned()
            })
            .collect()
    };
    assert_eq!(offsets(&still_dead), [offset(0).to_string()]);
    assert_eq!(offsets(&dead), offsets(&still_dead));
    let states = [standing(offset(1)).await, standing(offset(2)).await];
    assert_eq!(states, ["waiting", "settled"]);
    let again = Load::new(1, Sizes::Between(100, 60_000))
        .push(receiver.public, 5)
        .await;
    for acked in &again {
        let (log, offset) = acked.id.split_once('-').unwrap();
        assert_eq!(log, copy.log_id);
        assert!(
            offset.parse::<u64>().unwrap() < next,
            "a repeat: {}",
            acked.id
        );
    }
    receiver.terminate(STOPS_WITHIN).await;
}

/// Waits until the backup that runs has written something, or has ended.
async fn until_it_copies(receiver: &Receiver, site: &Site) -> Value {
    let api = receiver.api(site, Role::Read);
    eventually(
        "a backup that copies",
        Duration::from_secs(30),
        async || {
            let status = api.get("/v1/backup").await.json();
            let copies = status["stage"] == "volumes" && status["done"].as_u64() > Some(0);
            (copies || status["running"] == false).then_some(status)
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_the_middle_of_a_backup_leaves_the_last_one_valid() {
    let site = Site::new("volume = \"16MiB\"", ROUTE);
    let backups = site.path("backups");
    let mut receiver = Receiver::start(&site).await;
    let load = Load::new(8, Sizes::Fixed(200_000));
    load.push(receiver.public, 20).await;
    let first = json(&site, &["backup", &text(&backups)]).await;
    load.push(receiver.public, 400).await;
    // while deliveries come in, it takes its time
    let stop = CancellationToken::new();
    let senders = tokio::spawn({
        let (load, stop, to) = (load.over(2), stop.clone(), receiver.public);
        async move { load.run(to, None, &stop).await }
    });
    let operator = receiver.api(&site, Role::Operate);
    let order = json!({ "dir": text(&backups) });
    let begun = operator.post("/v1/backup", &order).await;
    assert_eq!(begun.status, 202, "{:?}", begun.body);
    let status = until_it_copies(&receiver, &site).await;
    assert_eq!(status["running"], true, "too quick to be killed: {status}");
    let second = operator.post("/v1/backup", &order).await;
    assert_eq!(
        (second.status, &second.json()["kind"]),
        (409, &json!("busy"))
    );
    receiver.kill().await;
    stop.cancel();
    senders.await.unwrap();

    let checked = json(&site, &["backup", "verify", &text(&backups)]).await;
    assert_eq!(
        (&checked["number"], &checked["next"]),
        (&json!(1), &first["next"])
    );
    assert_eq!(checked["damage"], json!([]));
    let parts = |of: &Path| fs::read_dir(of.join("parts")).unwrap().count() as u64;
    assert!(
        parts(&backups) > checked["files"].as_u64().unwrap(),
        "it was in the middle"
    );
    // with no receiver the command does it itself, over what was left behind
    let here = json(&site, &["backup", &text(&backups), "--verify"]).await;
    assert_eq!(here["number"], 2);
    assert_eq!(parts(&backups), here["files"].as_u64().unwrap());
    assert_eq!(here["verified"]["damage"], json!([]));
    assert!(here["next"].as_u64().unwrap() > 420);
    let (other, _) = restored(&site, &backups, "other").await;
    let wanted = by_marker(&export(&site).await.unwrap());
    assert!(by_marker(&export(&other).await.unwrap()) == wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_directories_and_damage_have_clear_endings() {
    let site = Site::new("", ROUTE);
    let mut receiver = Receiver::start(&site).await;
    Load::new(2, Sizes::Fixed(30_000))
        .push(receiver.public, 10)
        .await;
    let inside = text(&site.data().join("backup"));
    let other = site.path("letters");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("to-keep"), b"x").unwrap();
    for (dir, said) in [(inside, "inside the log"), (text(&other), "other files")] {
        let refused = creel(&site, &["backup", &dir]).await;
        assert_eq!(refused.code(), Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    receiver.allow_errors("");
    // a relative path is one of the command's, not of the receiver's
    let report = json(&site, &["backup", "here"]).await;
    let backups = site.path("here");
    assert_eq!(report["next"], 11);
    receiver.terminate(STOPS_WITHIN).await;
    let volume = fs::read_dir(backups.join("parts"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let volume: PathBuf = volume
        .into_iter()
        .find(|path| path.to_string_lossy().contains("volume"))
        .unwrap();
    let mut bytes = fs::read(&volume).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&volume, bytes).unwrap();
    let exit = creel(&site, &["backup", "verify", &text(&backups)]).await;
    assert_eq!(exit.code(), Some(1));
    let file = volume.file_name().unwrap().to_str().unwrap();
    assert!(
        exit.stdout.contains(file) && exit.stdout.contains("offsets"),
        "{}",
        exit.stdout
    );
    let into = text(&site.path("restored"));
    let exit = creel(&site, &["restore", &text(&backups), &into]).await;
    assert_eq!(exit.code(), Some(1), "{}", exit.stderr);
    assert!(exit.stderr.contains("--partial"), "{}", exit.stderr);
    let not_empty = creel(&site, &["restore", &text(&backups), &into]).await;
    assert_eq!(not_empty.code(), Some(2));
    // what is there is said to be no log
    let half = site.with_disk("half", &site.path("nowhere"));
    fs::create_dir_all(half.data().parent().unwrap()).unwrap();
    fs::rename(&into, half.data()).unwrap();
    let refused = creel(&half, &["receiver"]).await;
    assert_eq!(refused.code(), Some(2));
    assert!(
        refused.stderr.contains("interrupted restore"),
        "{}",
        refused.stderr
    );
    let none = creel(&site, &["backup", "verify", &text(&other)]).await;
    assert_eq!(none.code(), Some(2), "{}", none.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_an_older_format_is_upgraded_and_one_of_a_newer_refused_untouched() {
    let site = Site::new("", "");
    let mut receiver = Receiver::start(&site).await;
    Load::new(2, Sizes::Fixed(300))
        .push(receiver.public, 10)
        .await;
    receiver.terminate(STOPS_WITHIN).await;
    let file = site.data().join("creel.log");
    let of_version = |version: &str| {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text
            .lines()
            .map(|line| match line.starts_with("version: ") {
                true => format!("version: {version}\n"),
                false => format!("{line}\n"),
            });
        fs::write(&file, lines.collect::<String>()).unwrap();
    };
    of_version("2");
    let upgraded = json(&site, &["log", "upgrade"]).await;
    assert_eq!((&upgraded["from"], &upgraded["to"]), (&json!(2), &json!(3)));
    assert_eq!(
        (&upgraded["deliveries"], &upgraded["sound"]),
        (&json!(10), &json!(true))
    );
    assert_eq!(json(&site, &["log", "upgrade"]).await["from"], 3);
    of_version("4");
    let before = contents(site.data());
    let backup = text(&site.path("backup"));
    for command in [
        &["receiver"][..],
        &["log", "verify"],
        &["log", "export"],
        &["log", "upgrade"],
        &["backup", &backup],
    ] {
        let refused = creel(&site, command).await;
        assert_eq!(refused.code(), Some(2), "{command:?}: {}", refused.stderr);
        assert!(refused.stderr.contains("format 4"), "{}", refused.stderr);
        assert!(contents(site.data()) == before, "{command:?} touched it");
    }
    assert!(!Path::new(&backup).exists());
}

/// Every file below a directory, with its bytes and the time it was last changed.
fn contents(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(contents(&entry.path()));
        } else {
            let changed = entry.metadata().unwrap().modified().unwrap();
            found.insert(entry.path(), (fs::read(entry.path()).unwrap(), changed));
        }
    }
    found
}
