//! Random damage to any file of a log: never a wrong body, never a hang, never an offset twice, and
//! after a clean stop every loss is reported.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use creel_common::log::keys::{KeyMark, KeyTable, Runs, Verdict};
use creel_common::time::Timestamp;
use rand::RngExt;
use rand::rngs::StdRng;

use super::audit::offset_of;
use super::{alone, scale};
use crate::harness::{Hand, Load, Receiver, Role, Seed, Site, Sizes, salvage, verify};
use crate::trace::Acked;

/// A command over a damaged log that takes longer hangs.
const WITHIN: Duration = Duration::from_secs(20);
const ROUTE: &str = "[destinations.out]\ntype = \"stdout\"\n\
                     [[routes]]\nsource = \"github\"\ndestination = \"out\"\nname = \"r\"\n";

/// A log with everything in it, nobody running.
struct Log {
    site: Site,
    load: Load,
    acked: Vec<Acked>,
    /// It was closed in order: all is known that there was.
    clean: bool,
}

impl Log {
    async fn filled(clean: bool) -> Self {
        let site = Site::new("volume = \"4MiB\"", ROUTE);
        let mut receiver = Receiver::start(&site).await;
        let load = Load::new(16, Sizes::Between(200, 8000));
        let acked = load.push(receiver.public, 1500).await;
        // attempts, cursors, waiting entries and dead letters
        let hand = Hand::new(receiver.api(&site, Role::Worker));
        for outcome in ["delivered", "retry", "reject"] {
            let lease = hand.lease("r", 50, WITHIN).await.expect("something to do");
            let offsets: Vec<u64> = lease.items.iter().map(|item| item.offset).collect();
            assert_eq!(hand.settle(&lease, &offsets, outcome).await, 204);
        }
        if clean {
            let exit = receiver.terminate(WITHIN).await;
            assert_eq!(exit.code(), Some(0), "a clean stop");
        } else {
            receiver.kill().await;
        }
        let log = Self {
            site,
            load,
            acked,
            clean,
        };
        log.write_runs();
        log
    }

    /// Runs of idempotency keys, which a log of this size has none of.
    fn write_runs(&self) {
        let keys = self.site.data().join("files/keys");
        let runs = Runs::open(&keys, &keys, 1 << 20, &[]).unwrap();
        for run in 0..3 {
            let mut table = KeyTable::default();
            for n in 0..1000 {
                let mark = KeyMark::new("github", None, &format!("{run}-{n}"), b"");
                table.note(mark, Verdict::New, 0, Timestamp::from_secs(1));
            }
            runs.write(&table.freeze(1, true).unwrap()).unwrap();
        }
    }

    fn highest(&self) -> u64 {
        let offsets = self.acked.iter().map(|one| offset_of(&one.id));
        offsets.max().expect("some")
    }
}

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    TornTail,
    BitFlip,
    Truncated,
    ZeroedPage,
    Deleted,
    Swapped,
}

const KINDS: [Kind; 6] = [
    Kind::TornTail,
    Kind::BitFlip,
    Kind::Truncated,
    Kind::ZeroedPage,
    Kind::Deleted,
    Kind::Swapped,
];

/// Which files: each is damaged as often as the others.
const PARTS: [&str; 11] = [
    "v/db",
    "v/db",
    "v/index",
    "v/conf",
    "v/snap",
    "offsets",
    "spans",
    "state/",
    "attempts/",
    "files/keys/",
    "v/db",
];

fn belongs(path: &str, part: &str) -> bool {
    match part.split_once('/') {
        Some(("v", name)) => {
            path.starts_with("v/") && path.rsplit('/').next().unwrap_or("").starts_with(name)
        }
        _ => path.starts_with(part),
    }
}

/// One damage, as it is told.
struct Damage {
    nth: usize,
    what: String,
    part: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damage {}: {}", self.nth, self.what)
    }
}

/// Damages one file of the part whose turn it is; any, where that part has none.
fn spoil(data: &Path, nth: usize, rng: &mut StdRng) -> Damage {
    let mut files = Vec::new();
    find_files(data, data, &mut files);
    let part = PARTS[nth % PARTS.len()];
    let of_part: Vec<&PathBuf> = files
        .iter()
        .filter(|path| belongs(&path.to_string_lossy(), part))
        .collect();
    let candidates = if of_part.is_empty() {
        files.iter().collect()
    } else {
        of_part
    };
    let file = candidates[rng.random_range(0..candidates.len())];
    let kind = KINDS[rng.random_range(0..KINDS.len())];
    let path = data.join(file);
    let what = match kind {
        Kind::Swapped => {
            let other = candidates[rng.random_range(0..candidates.len())];
            let (one, two) = (
                fs::read(&path).unwrap(),
                fs::read(data.join(other)).unwrap(),
            );
            fs::write(&path, two).unwrap();
            fs::write(data.join(other), one).unwrap();
            format!("swapped with {}", other.display())
        }
        Kind::Deleted => {
            fs::remove_file(&path).unwrap();
            "deleted".to_owned()
        }
        kind => change(&path, kind, rng),
    };
    Damage {
        nth,
        what: format!("{}: {what}", file.display()),
        part,
    }
}

fn change(path: &Path, kind: Kind, rng: &mut StdRng) -> String {
    let mut bytes = fs::read(path).unwrap();
    // sled's file is longer than what is in it
    let used = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(1, |at| at + 1);
    let at = rng.random_range(0..used);
    match kind {
        Kind::BitFlip if !bytes.is_empty() => {
            bytes[at] ^= 1 << rng.random_range(0..8);
            fs::write(path, bytes).unwrap();
            format!("a bit flipped at {at}")
        }
        Kind::ZeroedPage => {
            let page = at / 4096 * 4096;
            let end = bytes.len().min(page + 4096);
            bytes[page.min(end)..end].fill(0);
            fs::write(path, bytes).unwrap();
            format!("a page zeroed at {page}")
        }
        kind => {
            // a tail is torn a little, a file truncated anywhere
            let torn = rng.random_range(1..=used.min(5000));
            let left = if kind == Kind::TornTail {
                used - torn
            } else {
                at
            };
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(left as u64).unwrap();
            format!("{left} bytes left of {used}")
        }
    }
}

/// Every file but those that are not the log's content, below `data`.
fn find_files(data: &Path, dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            find_files(data, &path, found);
            continue;
        }
        let name = path.strip_prefix(data).expect("below").to_owned();
        if !["lock", "creel.log"]
            .iter()
            .any(|other| name == Path::new(other))
        {
            found.push(name);
        }
    }
    found.sort();
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// The log was not opened, and why was said.
    Refused,
    /// It was opened without so many deliveries.
    Lost(usize),
}

/// Damages a copy of the log and looks what is made of it.
async fn damage(log: &Log, nth: usize, rng: &mut StdRng) -> (Damage, Found) {
    let name = format!("damaged-{}-{nth}", log.clean);
    let disk = log.site.path(&name);
    copy(log.site.disk(), &disk);
    let site = log.site.with_disk(&name, &disk);
    let damage = spoil(site.data(), nth, rng);
    // a receiver first, or after it, or none: it must not matter who finds it
    let mut more = Vec::new();
    if nth.is_multiple_of(4) {
        more = offsets_go_on(log, &site, &damage).await;
    }
    let found = judge(log, &site, &more, &damage).await;
    if nth % 4 == 1 && found != Found::Refused {
        offsets_go_on(log, &site, &damage).await;
    }
    fs::remove_dir_all(disk).unwrap();
    (damage, found)
}

async fn judge(log: &Log, site: &Site, more: &[Acked], damage: &Damage) -> Found {
    let verified = match verify(site).await {
        Ok(verified) => verified,
        Err(exit) => {
            let told = !exit.stderr.trim().is_empty();
            let code = exit.code();
            assert!(
                matches!(code, Some(1 | 2 | 74)) && told,
                "{damage}: {:?}: {}",
                exit.status,
                exit.stderr
            );
            return Found::Refused;
        }
    };
    assert!(
        verified.exit.took < WITHIN,
        "{damage}: {:?}",
        verified.exit.took
    );
    assert!(
        verified.next > log.highest(),
        "{damage}: offsets go on at {}",
        verified.next
    );
    let (kept, _) = salvage(site).await;
    let mut lost = Vec::new();
    for one in log.acked.iter().chain(more) {
        match kept.get(&one.id) {
            Some(found) => assert!(
                found.body == log.load.body(one.marker),
                "{damage}: a wrong body"
            ),
            None => lost.push(offset_of(&one.id)),
        }
    }
    let mut unreported = lost.iter().filter(|offset| !verified.reports(**offset));
    let first_unreported = unreported.next();
    assert!(
        first_unreported.is_none() || !log.clean,
        "{damage}: {} lost, {first_unreported:?} and others not reported: {verified:?}",
        lost.len()
    );
    assert!(
        lost.is_empty() || verified.exit.code() == Some(1) || !log.clean,
        "{damage}: a loss and exit code {:?}",
        verified.exit.code()
    );
    Found::Lost(lost.len())
}

/// A receiver on it gives no offset a second time, says what it lost, or says why it does not start.
async fn offsets_go_on(log: &Log, site: &Site, damage: &Damage) -> Vec<Acked> {
    let mut receiver = match Receiver::bind(site, None).await {
        Ok(receiver) => receiver,
        Err(failed) => {
            let told = !failed.0.stderr.trim().is_empty();
            assert!(told, "{damage}: no start without a word");
            return Vec::new();
        }
    };
    receiver.allow_errors("");
    receiver.until_ready(site).await;
    let more = log.load.push(receiver.public, 5).await;
    for one in &more {
        assert!(
            offset_of(&one.id) > log.highest(),
            "{damage}: offset of {} was given twice",
            one.id
        );
    }
    receiver.terminate(WITHIN).await;
    more
}

async fn many(clean: bool, damages: usize, rng: &mut StdRng) {
    let log = Log::filled(clean).await;
    let mut parts: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    for nth in 0..damages {
        let (damage, found) = damage(&log, nth, rng).await;
        println!("{damage}: {found:?}");
        let (times, refused, lost) = parts.entry(damage.part).or_default();
        *times += 1;
        match found {
            Found::Refused => *refused += 1,
            Found::Lost(deliveries) => *lost += deliveries,
        }
    }
    for (part, (times, refused, lost)) in &parts {
        println!("  {part}: {times} times, {refused} refused, {lost} deliveries lost");
        // volumes are mended or set aside; only what nothing can go on without may refuse
        assert!(
            *refused == 0 || *part == "state/",
            "{part}: {refused} refused"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_clean_stop_every_loss_is_reported_and_no_body_is_ever_wrong() {
    let _alone = alone().await;
    let mut rng = Seed::of("damage").rng();
    let damages = scale(33, 200);
    many(true, damages, &mut rng).await;
    println!("damage after a clean stop, {damages} times, all losses reported: PASS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_no_body_is_ever_wrong_and_no_offset_is_used_twice() {
    let _alone = alone().await;
    let mut rng = Seed::of("damage after a crash").rng();
    let damages = scale(11, 66);
    many(false, damages, &mut rng).await;
    println!("damage after a crash, {damages} times: PASS");
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
