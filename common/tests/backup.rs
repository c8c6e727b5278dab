//! A log that is backed up, restored and compared.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use creel_common::attempt::Report;
use creel_common::config::Config;
use creel_common::engine::Engine;
use creel_common::engine::backup::{
    BackupCall, BackupError, BackupReport, Stage, Unwatched, Watch,
};
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::engine::sled::backup::{RestoreCall, restore, verify};
use creel_common::engine::sled::{SledEngine, SledSettings};
use creel_common::ids::Offset;
use creel_common::log::local::LocalLog;
use creel_common::log::{Actor, Find, Intake, Operate, Settled, Standing, Work};
use creel_common::outcome::Outcome;
use creel_common::testkit::account::account;
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::log::{config, request_for, surroundings};
use creel_common::testkit::sample;
use creel_common::time::Clock;
use tempfile::TempDir;

const ROUTES: &str = "[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"r\"\n\
     retry = { max_attempts = 3, initial = \"1h\", max = \"1h\" }\nbreaker = { failures = 0 }\n\
     [[routes]]\nsource = \"other\"\ndestination = \"d\"\nname = \"paused\"\n";

/// A log in a directory of its own, beside the directory of its backups.
struct Subject {
    dir: TempDir,
    engine: Arc<SledEngine>,
    log: Arc<LocalLog>,
    clock: Arc<ManualClock>,
}

fn open(
    path: &Path,
    clock: &Arc<ManualClock>,
    volume_bytes: u64,
) -> (Arc<SledEngine>, Arc<LocalLog>) {
    let settings = SledSettings {
        volume_bytes,
        ..SledSettings::new(path)
    };
    let engine = Arc::new(SledEngine::open(settings, rand_bits(path)).unwrap());
    let config: Config = config(ROUTES);
    let log = LocalLog::open(engine.clone(), &config, surroundings(clock, 1)).unwrap();
    (engine, log)
}

/// Another log for another path.
fn rand_bits(path: &Path) -> u64 {
    u64::from(crc32fast::hash(path.to_string_lossy().as_bytes()))
}

impl Subject {
    fn new(volume_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let (engine, log) = open(&dir.path().join("data"), &clock, volume_bytes);
        Self {
            dir,
            engine,
            log,
            clock,
        }
    }

    fn backups(&self) -> PathBuf {
        self.dir.path().join("backups")
    }

    fn back_up(&self) -> BackupReport {
        let report = self.try_back_up(&self.backups(), &Unwatched).unwrap();
        let verified = report.verified.as_ref().unwrap();
        assert!(verified.damage.is_empty(), "{verified:?}");
        report
    }

    fn try_back_up(&self, dir: &Path, watch: &dyn Watch) -> Result<BackupReport, BackupError> {
        self.engine.backup(&BackupCall {
            dir,
            at: self.clock.wall(),
            keep_free: 0,
            verify: true,
            watch,
        })
    }

    /// Restores the newest backup beside the log.
    fn restore(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        restore(&self.call(&path)).unwrap();
        path
    }

    fn call<'a>(&self, path: &'a Path) -> RestoreCall<'a> {
        // lives as long as the test
        let backup: &'static Path = Box::leak(self.backups().into_boxed_path());
        RestoreCall {
            backup,
            dir: path,
            dice: 77,
            now: self.clock.wall(),
            partial: false,
            watch: &Unwatched,
        }
    }

    fn open_restored(&self, path: &Path) -> (Arc<SledEngine>, Arc<LocalLog>) {
        open(path, &self.clock, 1 << 30)
    }

    async fn append(&self, source: &str, body: impl Into<bytes::Bytes>) -> Offset {
        let delivery = sample::delivery(source, body, self.clock.wall());
        self.log.append(delivery).await.unwrap().id.offset
    }

    async fn fill(&self, count: usize) {
        for number in 0..count {
            let source = if number % 7 == 0 { "other" } else { "s" };
            let bytes = [10, 700, 40_000, 300_000][number % 4];
            self.append(source, vec![number as u8; bytes]).await;
        }
    }
}

async fn settle(log: &LocalLog, name: &str, max_items: u32) -> usize {
    let mut count = 0;
    for lease in log.lease(request_for(name, "r", max_items)).await.unwrap() {
        let settled = lease.items.iter().map(|item| Settled {
            offset: item.offset,
            outcome: outcome(item.offset),
            report: Report::default(),
        });
        count += lease.items.len();
        log.settle(lease.id, settled.collect()).await.unwrap();
    }
    count
}

fn outcome(offset: Offset) -> Outcome {
    match offset % 5 {
        0 => Outcome::Reject,
        1 => Outcome::Retry { after: None },
        _ => Outcome::Delivered,
    }
}

async fn all_bodies(log: &LocalLog, below: Offset) -> Vec<(Offset, bytes::Bytes)> {
    let mut found = Vec::new();
    let mut from = None;
    loop {
        let find = Find {
            from,
            bodies: true,
            limit: 100,
            ..Find::default()
        };
        let page = log.find(find).await.unwrap();
        let items = page
            .items
            .into_iter()
            .map(|f| (f.id.offset, f.delivery.body));
        found.extend(items.filter(|(offset, _)| *offset < below));
        from = page.next;
        if from.is_none() {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_log_holds_byte_for_byte_what_was_backed_up_under_another_name() {
    let subject = Subject::new(1 << 20);
    let first = sample::keyed("s", "one", "one", subject.clock.wall());
    subject.log.append(first.clone()).await.unwrap();
    subject.fill(40).await;
    let actor = Actor {
        who: "somebody".to_owned(),
        why: Some("a window".to_owned()),
    };
    subject.log.pause("paused", actor).await.unwrap();
    settle(&subject.log, "1", 25).await;
    // what retention does to a volume
    assert!(subject.engine.volumes().len() > 3);
    subject.engine.remove_volume(2).unwrap();
    let report = subject.back_up();
    assert_eq!((report.number, report.next), (1, 42));
    assert!(report.lost.is_empty(), "{report:?}");
    let checked = verify(&subject.backups(), &Unwatched).unwrap();
    assert!(checked.damage.is_empty(), "{checked:?}");
    let path = subject.restore("restored");
    let (engine, log) = subject.open_restored(&path);
    // the shelf of the log still has what is in the removed volume
    let wanted = account(&*log).await;
    subject.log.clone().close().await.unwrap();
    let (path, clock) = (subject.dir.path().join("data"), &subject.clock);
    drop((subject.engine, subject.log));
    let (original, original_log) = open(&path, clock, 1 << 20);
    assert_eq!(account(&*original_log).await, wanted);
    assert!(
        wanted.contains("dead 5 on r") && wanted.contains("waiting until"),
        "{wanted}"
    );
    let opened = engine.opened();
    assert!(opened.clean && opened.lost.is_empty(), "{opened:?}");
    assert_ne!(opened.log, original.opened().log);
    assert!(opened.next > report.next + 1_000_000_000, "{opened:?}");
    let known_lost = engine.gaps().iter().any(|gap| gap.known_lost);
    assert!(!known_lost, "{:?}", engine.gaps());
    // a repeat is one still, and gets the first offset under the new name
    let again = log.append(first).await.unwrap();
    assert!(again.duplicate);
    assert_eq!((again.id.log, again.id.offset), (opened.log, 1));
    let new = sample::keyed("s", "new", "new", clock.wall());
    assert_eq!(log.append(new).await.unwrap().id.offset, opened.next);
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_under_load_is_of_one_moment() {
    let subject = Arc::new(Subject::new(2 << 20));
    let stop = Arc::new(AtomicBool::new(false));
    let (sending, settling) = (subject.clone(), subject.clone());
    let stopped = stop.clone();
    let sender = tokio::spawn(async move {
        while !stopped.load(Ordering::Acquire) {
            let appends = (0..20).map(|n| sending.append("s", vec![n; 3000]));
            futures_util::future::join_all(appends).await;
        }
    });
    let stopped = stop.clone();
    let worker = tokio::spawn(async move {
        let mut turn = 0;
        while !stopped.load(Ordering::Acquire) {
            turn += 1;
            settle(&settling.log, &turn.to_string(), 64).await;
        }
    });
    let mut reports: Vec<BackupReport> = Vec::new();
    while reports.len() < 4 || reports[0].next + 2000 > reports.last().unwrap().next {
        let subject = subject.clone();
        reports.push(
            tokio::task::spawn_blocking(move || subject.back_up())
                .await
                .unwrap(),
        );
    }
    stop.store(true, Ordering::Release);
    sender.await.unwrap();
    worker.await.unwrap();
    let report = reports.pop().unwrap();
    assert!(report.blocks_written < report.next, "{report:?}");
    let path = subject.restore("restored");
    let (engine, log) = subject.open_restored(&path);
    assert!(engine.opened().lost.is_empty(), "{:?}", engine.opened());
    let wanted = all_bodies(&subject.log, report.next).await;
    assert_eq!(wanted.len() as u64, report.next - 1);
    assert!(
        all_bodies(&log, Offset::MAX).await == wanted,
        "bodies differ"
    );
    let floor = log.routes().await.unwrap()[1].floor;
    assert!(floor > 100, "the cursor was copied: {floor}");
    assert!(floor <= report.next, "{floor} is ahead of {}", report.next);
    // every delivery below the cursor is where its outcome has put it
    let mut counts = (0, 0);
    for offset in (1..floor).step_by(13) {
        let id = creel_common::ids::DeliveryId {
            log: log.id(),
            offset,
        };
        let found = log.show(id).await.unwrap();
        let (_, standing) = &found.standings[0];
        let as_settled = match outcome(offset) {
            Outcome::Reject => matches!(standing, Standing::Dead { .. }),
            Outcome::Retry { .. } => matches!(standing, Standing::Waiting { .. }),
            _ => matches!(standing, Standing::Settled),
        };
        assert!(as_settled, "{offset}: {standing:?}");
        match standing {
            Standing::Dead { .. } => counts.0 += 1,
            Standing::Waiting { .. } => counts.1 += 1,
            _ => {}
        }
    }
    assert!(counts.0 > 0 && counts.1 > 0, "{counts:?}");
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_backup_copies_only_what_is_new() {
    let subject = Subject::new(1 << 20);
    subject.fill(40).await;
    let first = subject.back_up();
    let again = subject.back_up();
    assert_eq!((again.number, again.blocks_written), (2, 0));
    // the state store, which is small
    assert_eq!(again.files_written, 1, "{again:?}");
    assert!(
        again.bytes_written < 10_000 && again.files == first.files,
        "{again:?}"
    );
    subject.fill(8).await;
    let more = subject.back_up();
    assert_eq!(more.blocks_written, 8);
    let body_bytes = 2 * (10 + 700 + 40_000 + 300_000);
    assert!(more.bytes_written < body_bytes + 20_000, "{more:?}");
    // a volume that goes is removed from the backup with the next one
    subject.engine.remove_volume(1).unwrap();
    let less = subject.back_up();
    assert_eq!(less.volumes, more.volumes - 1);
    assert!(less.bytes < more.bytes, "{less:?}");
    let parts = std::fs::read_dir(subject.backups().join("parts")).unwrap();
    assert_eq!(parts.count() as u64, less.files);
}

/// Takes deliveries in and has them settled while the state store is being copied.
struct Settles {
    log: Arc<LocalLog>,
    done: AtomicBool,
    runtime: tokio::runtime::Handle,
    clock: Arc<ManualClock>,
}

impl Watch for Settles {
    fn went(&self, stage: Stage, done: u64, _: u64) {
        if stage == Stage::State && done > 0 && !self.done.swap(true, Ordering::SeqCst) {
            self.runtime.block_on(async {
                for _ in 0..10 {
                    let delivery = sample::delivery("s", "meanwhile", self.clock.wall());
                    self.log.append(delivery).await.unwrap();
                }
                assert_eq!(settle(&self.log, "meanwhile", 20).await, 15);
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_settled_while_the_state_is_copied_is_in_the_backup_with_its_delivery() {
    let subject = Arc::new(Subject::new(1 << 20));
    for _ in 0..5 {
        subject.append("s", "before").await;
    }
    let watch = Settles {
        log: subject.log.clone(),
        done: AtomicBool::new(false),
        runtime: tokio::runtime::Handle::current(),
        clock: subject.clock.clone(),
    };
    let copied = subject.clone();
    let backup = move || copied.try_back_up(&copied.backups(), &watch).unwrap();
    let report = tokio::task::spawn_blocking(backup).await.unwrap();
    assert_eq!(report.next, 16, "no cursor is ahead of the deliveries");
    let path = subject.restore("restored");
    let (_, log) = subject.open_restored(&path);
    assert_eq!(log.routes().await.unwrap()[1].floor, 16);
    assert_eq!(account(&*log).await, account(&*subject.log).await);
}

/// Removes a volume once volumes are being copied.
struct Removes<'a>(&'a SledEngine, AtomicBool);

impl Watch for Removes<'_> {
    fn went(&self, stage: Stage, _: u64, _: u64) {
        if stage == Stage::Volumes && !self.1.swap(true, Ordering::SeqCst) {
            self.0.remove_volume(3).unwrap();
            let numbers: Vec<u64> = self.0.volumes().iter().map(|v| v.number).collect();
            assert!(numbers.contains(&3), "it is held: {numbers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_retention_removes_meanwhile_is_in_the_backup_and_goes_afterwards() {
    let subject = Subject::new(1 << 20);
    subject.fill(30).await;
    let span = subject.engine.volumes()[2].clone();
    let watch = Removes(&subject.engine, AtomicBool::new(false));
    subject.try_back_up(&subject.backups(), &watch).unwrap();
    let numbers: Vec<u64> = subject.engine.volumes().iter().map(|v| v.number).collect();
    assert!(!numbers.contains(&3), "{numbers:?}");
    let path = subject.restore("restored");
    let (_, log) = subject.open_restored(&path);
    let offsets: Vec<Offset> = all_bodies(&log, Offset::MAX)
        .await
        .iter()
        .map(|b| b.0)
        .collect();
    assert!(offsets.contains(&span.first), "{span:?}: {offsets:?}");
    assert_eq!(offsets.len(), 30);
}

/// Gives up once volumes are being copied.
struct GivesUp(AtomicBool);

impl Watch for GivesUp {
    fn went(&self, stage: Stage, _: u64, _: u64) {
        self.0.fetch_or(stage == Stage::Volumes, Ordering::SeqCst);
    }
    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_backup_leaves_the_one_before_and_is_tidied_up_by_the_next() {
    let subject = Subject::new(1 << 20);
    subject.fill(10).await;
    let gives_up = || GivesUp(AtomicBool::new(false));
    let cancelled = subject.try_back_up(&subject.backups(), &gives_up());
    assert!(matches!(cancelled, Err(BackupError::Cancelled)));
    let none = verify(&subject.backups(), &Unwatched);
    assert!(matches!(none, Err(BackupError::Unfit(_))), "{none:?}");
    let first = subject.back_up();
    subject.fill(10).await;
    let cancelled = subject.try_back_up(&subject.backups(), &gives_up());
    assert!(matches!(cancelled, Err(BackupError::Cancelled)));
    let checked = verify(&subject.backups(), &Unwatched).unwrap();
    assert_eq!((checked.number, checked.next), (1, first.next));
    assert!(checked.damage.is_empty(), "{checked:?}");
    let second = subject.back_up();
    assert_eq!((second.number, second.next), (2, first.next + 10));
    let parts = std::fs::read_dir(subject.backups().join("parts")).unwrap();
    assert_eq!(parts.count() as u64, second.files);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_named_refused_by_a_restore_and_costs_a_partial_one_only_itself() {
    let subject = Subject::new(1 << 20);
    subject.fill(20).await;
    settle(&subject.log, "1", 10).await;
    subject.back_up();
    let parts = subject.backups().join("parts");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&parts)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 4, "{files:?}");
    for file in &files {
        let whole = std::fs::read(file).unwrap();
        let name = format!("parts/{}", file.file_name().unwrap().to_str().unwrap());
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(file, &bytes).unwrap();
            let damage = verify(&subject.backups(), &Unwatched).unwrap().damage;
            assert!(
                damage.iter().any(|d| d.file == name),
                "{name} at {at}: {damage:?}"
            );
            let has_offsets = damage[0].offsets.is_some();
            assert_eq!(has_offsets, name.contains("volume"), "{damage:?}");
        }
        std::fs::write(file, &whole[..whole.len() - 1]).unwrap();
        assert!(
            !verify(&subject.backups(), &Unwatched)
                .unwrap()
                .damage
                .is_empty()
        );
        std::fs::remove_file(file).unwrap();
        assert!(
            !verify(&subject.backups(), &Unwatched)
                .unwrap()
                .damage
                .is_empty()
        );
        std::fs::write(file, &whole).unwrap();
    }
    let volume = files
        .iter()
        .find(|f| f.to_string_lossy().contains("volume"))
        .unwrap();
    let mut bytes = std::fs::read(volume).unwrap();
    // in the content of the first block of the first volume
    bytes[60] ^= 1;
    std::fs::write(volume, &bytes).unwrap();
    let path = subject.dir.path().join("refused");
    let refused = restore(&subject.call(&path));
    assert!(
        matches!(refused, Err(BackupError::Damaged(_))),
        "{refused:?}"
    );
    let no_log = SledEngine::open(SledSettings::new(&path), 1).unwrap_err();
    assert!(
        no_log.to_string().contains("interrupted restore"),
        "{no_log}"
    );
    let path = subject.dir.path().join("partial");
    let call = RestoreCall {
        partial: true,
        ..subject.call(&path)
    };
    let report = restore(&call).unwrap();
    assert_eq!(report.damage[0].offsets, Some((1, 1)));
    assert_eq!(report.deliveries, 19);
    let (engine, log) = subject.open_restored(&path);
    let gap = engine.gaps()[0];
    assert_eq!((gap.first, gap.last, gap.known_lost), (1, 1, true));
    assert_eq!(all_bodies(&log, Offset::MAX).await.len(), 19);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_that_are_not_for_it_are_refused_and_left_alone() {
    let subject = Subject::new(1 << 20);
    subject.fill(3).await;
    let data = subject.dir.path().join("data");
    let other = subject.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("letters"), b"to keep").unwrap();
    let file = subject.dir.path().join("file");
    std::fs::write(&file, b"to keep").unwrap();
    for (dir, said) in [
        (data.join("backup"), "inside the log"),
        (data.clone(), "inside the log"),
        (other.clone(), "other files"),
        (file, "no directory"),
        (PathBuf::from("backup"), "absolute"),
    ] {
        let refused = subject.try_back_up(&dir, &Unwatched).unwrap_err();
        assert!(matches!(refused, BackupError::Unfit(_)), "{refused:?}");
        assert!(refused.to_string().contains(said), "{refused}");
    }
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);
    subject.back_up();
    let stranger = Subject::new(1 << 20);
    let refused = stranger
        .try_back_up(&subject.backups(), &Unwatched)
        .unwrap_err();
    assert!(
        refused.to_string().contains("another directory"),
        "{refused}"
    );
    for dir in [other, data, subject.backups().join("restored")] {
        let refused = restore(&subject.call(&dir)).unwrap_err();
        assert!(matches!(refused, BackupError::Unfit(_)), "{refused:?}");
    }
    // no room is taken from the log
    let call = BackupCall {
        dir: &subject.backups(),
        at: subject.clock.wall(),
        keep_free: u64::MAX,
        verify: false,
        watch: &Unwatched,
    };
    let refused = subject.engine.backup(&call).unwrap_err();
    assert!(refused.to_string().contains("another disk"), "{refused}");
    let memory = MemoryEngine::new(MemorySettings::default(), 1);
    let refused = memory.backup(&call).unwrap_err();
    assert!(matches!(refused, BackupError::Unsupported(_)));
}

/// Asks for another backup while one is under way.
struct AsksAgain<'a>(&'a Subject);

impl Watch for AsksAgain<'_> {
    fn begun(&self) {
        let dir = self.0.dir.path().join("elsewhere");
        let second = self.0.try_back_up(&dir, &Unwatched);
        assert!(matches!(second, Err(BackupError::Busy(_))), "{second:?}");
        // nor may anybody read what is being changed
        let reading = verify(&self.0.backups(), &Unwatched);
        assert!(matches!(reading, Err(BackupError::Busy(_))), "{reading:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_one_backup_at_a_time() {
    let subject = Subject::new(1 << 20);
    subject.fill(3).await;
    subject
        .try_back_up(&subject.backups(), &AsksAgain(&subject))
        .unwrap();
}
