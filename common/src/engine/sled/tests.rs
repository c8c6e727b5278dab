//! What only the sled engine has to prove: its files, its owners, what it does about damage.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::{Command, Stdio};

use super::format;
use super::*;
use crate::engine::backup::Unwatched;
use crate::testkit::engine::{
    Sizes, Storage, assert_same_blocks, block, engine_conformance, hand_out, histories_agree,
};
use crate::time::Timestamp;

/// A directory that is opened again and again.
struct SledStorage {
    dir: tempfile::TempDir,
    sizes: Sizes,
}

impl SledStorage {
    fn new(volume_bytes: u64) -> Self {
        let sizes = Sizes {
            volume_bytes,
            ..Sizes::default()
        };
        let dir = tempfile::tempdir().unwrap();
        Self { dir, sizes }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn try_open(&self) -> Result<SledEngine, EngineError> {
        let settings = SledSettings {
            volume_bytes: self.sizes.volume_bytes,
            attempts_bytes: self.sizes.attempts_bytes,
            ..SledSettings::new(self.path())
        };
        SledEngine::open(settings, 7)
    }

    fn reopen(&self) -> SledEngine {
        self.try_open().unwrap()
    }

    fn volume(&self, number: u64) -> PathBuf {
        self.path()
            .join("v")
            .join(VolumeName::new(number).to_string())
    }
}

impl Storage for SledStorage {
    fn open(&mut self) -> Arc<dyn Engine> {
        Arc::new(self.reopen())
    }
}

fn fresh(sizes: Sizes) -> Box<dyn Storage> {
    let dir = tempfile::tempdir().unwrap();
    Box::new(SledStorage { dir, sizes })
}

/// Appends blocks of one delivery and 10 kB, one by one.
fn append(engine: &SledEngine, first: Offset, end: Offset) {
    for offset in first..end {
        engine.append(&[block(offset, 1, 10_000)]).unwrap();
    }
}

/// Every file below a directory and its content.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert(path, Vec::new());
        } else {
            let content = fs::read(&path).unwrap();
            found.insert(path, content);
        }
    }
    found
}

fn spans(gaps: &[Gap]) -> Vec<(Offset, Offset, bool)> {
    let span = |g: &Gap| (g.first, g.last, g.known_lost);
    gaps.iter().map(span).collect()
}

#[test]
fn sled_conforms() {
    engine_conformance(&fresh);
}

#[test]
fn random_histories_agree_with_the_model() {
    histories_agree(&fresh, 12);
}

#[test]
fn a_second_owner_is_refused_and_the_first_goes_on() {
    let storage = SledStorage::new(1 << 20);
    let engine = storage.reopen();
    append(&engine, 1, 3);
    let refused = storage.try_open();
    assert!(
        matches!(refused, Err(EngineError::Locked(_))),
        "{refused:?}"
    );
    append(&engine, 3, 5);
    assert_eq!(engine.read(1, usize::MAX).unwrap().len(), 4);
    drop(engine);
    assert_eq!(storage.reopen().opened().next, 5);
}

#[test]
fn another_format_is_refused_and_nothing_is_touched() {
    let storage = SledStorage::new(1 << 20);
    storage.reopen().close().unwrap();
    let path = storage.path().join("creel.log");
    let text = fs::read_to_string(&path).unwrap();
    let written = format!("version: {}", format::VERSION);
    for other in [format::VERSION + 1, format::OLDEST_READ - 1] {
        fs::write(&path, text.replace(&written, &format!("version: {other}"))).unwrap();
        let before = tree(&storage.path());
        let refused = storage.try_open().unwrap_err();
        let said = refused.to_string();
        assert!(matches!(refused, EngineError::Format { .. }), "{said}");
        assert!(said.contains(&format!("has format {other}")), "{said}");
        assert!(said.contains("reads 2 to 3"), "{said}");
        assert!(tree(&storage.path()) == before);
    }
}

#[test]
fn a_directory_of_something_else_is_refused_and_nothing_is_touched() {
    let storage = SledStorage::new(1 << 20);
    fs::create_dir(storage.path()).unwrap();
    fs::write(storage.path().join("photo.jpg"), b"x").unwrap();
    let before = tree(&storage.path());
    let refused = storage.try_open().unwrap_err().to_string();
    assert!(refused.contains("photo.jpg"), "{refused}");
    assert!(tree(&storage.path()) == before);
}

#[test]
fn a_path_that_is_no_directory_is_refused_with_its_name() {
    let storage = SledStorage::new(1 << 20);
    fs::write(storage.path(), b"").unwrap();
    let refused = storage.try_open().unwrap_err();
    assert!(matches!(refused, EngineError::Unusable(_)));
    assert!(refused.to_string().contains("data"), "{refused}");
}

#[test]
fn an_interrupted_first_start_begins_again() {
    let storage = SledStorage::new(1 << 20);
    files::make_dir(&storage.path()).unwrap();
    for leftover in ["lock", "offsets", "offsets.new", "creel.new", "ballast"] {
        fs::write(storage.path().join(leftover), b"").unwrap();
    }
    files::make_dir(&storage.path().join("proof/blobs")).unwrap();
    let engine = storage.reopen();
    assert!(engine.opened().created && engine.opened().lost.is_empty());
    append(&engine, 1, 2);
}

#[test]
fn the_ballast_is_the_logs_own_and_comes_back_after_it_was_deleted() {
    let storage = SledStorage::new(1 << 20);
    let settings = SledSettings {
        ballast_bytes: 3 << 20,
        ..SledSettings::new(storage.path())
    };
    let engine = SledEngine::open(settings, 7).unwrap();
    let space = engine.space().unwrap();
    assert_eq!(space.ballast, 3 << 20);
    assert!(space.used > space.ballast);
    let ballast = storage.path().join("ballast");
    fs::remove_file(&ballast).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while !ballast.exists() {
        assert!(std::time::Instant::now() < until, "it does not come back");
        std::thread::yield_now();
    }
    drop(engine);
    // nothing is set: what is there goes
    assert_eq!(storage.reopen().space().unwrap().ballast, 0);
    assert!(!ballast.exists());
}

#[test]
fn only_this_user_may_read_it() {
    let storage = SledStorage::new(40_000);
    fs::create_dir(storage.path()).unwrap();
    fs::set_permissions(storage.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let engine = storage.reopen();
    append(&engine, 1, 20);
    engine.append_attempts((1, 1), b"x").unwrap();
    engine.close().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&storage.path()), 0o700);
    for path in tree(&storage.path()).keys().filter(|p| p.is_file()) {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
}

#[test]
fn what_a_killed_opening_or_a_power_cut_leaves_does_not_hinder() {
    let storage = SledStorage::new(1 << 20);
    let engine = storage.reopen();
    append(&engine, 1, 10);
    let mut batch = StateBatch::default();
    batch.put("k", "v");
    engine.commit(&batch).unwrap();
    drop(engine);
    for dir in [storage.volume(1), storage.path().join("state")] {
        fs::write(dir.join("snap.00000000000000AB.generating"), b"half").unwrap();
        fs::write(dir.join("conf"), b"").unwrap();
    }
    let half_made = storage.path().join("v/making-0000000002");
    fs::create_dir(&half_made).unwrap();
    fs::write(half_made.join("conf"), b"x").unwrap();
    let engine = storage.reopen();
    assert!(engine.opened().lost.is_empty());
    assert_eq!(engine.read(1, usize::MAX).unwrap().len(), 9);
    assert_eq!(engine.get(b"k").unwrap().unwrap(), b"v");
    assert!(!half_made.exists());
}

#[test]
fn a_tail_lost_after_a_clean_close_is_reported_and_no_offset_is_used_twice() {
    let storage = SledStorage::new(1 << 30);
    let engine = storage.reopen();
    append(&engine, 1, 301);
    engine.close().unwrap();
    drop(engine);
    let db = fs::File::options()
        .write(true)
        .open(storage.volume(1).join("db"))
        .unwrap();
    let bytes = db.metadata().unwrap().len();
    db.set_len(bytes - 1_000_000).unwrap();
    let engine = storage.reopen();
    let opened = engine.opened();
    let kept = engine.read(1, usize::MAX).unwrap();
    let end = kept.last().map_or(1, Block::end);
    assert!(opened.clean && end < 301, "{end}");
    assert!(opened.next > RESERVED);
    let wanted = [(end, 300, true), (301, opened.next - 1, false)];
    assert_eq!(spans(&opened.lost), wanted);
    assert_eq!(spans(&engine.gaps()), wanted);
    let next = opened.next;
    append(&engine, next, next + 3);
    engine.close().unwrap();
    drop(engine);
    let engine = storage.reopen();
    assert!(engine.opened().lost.is_empty());
    assert_eq!(engine.opened().next, next + 3);
    assert_eq!(spans(&engine.gaps()), wanted);
    assert_eq!(engine.read(end, usize::MAX).unwrap()[0].first, next);
}

#[test]
fn appends_go_on_beyond_the_reserve() {
    let storage = SledStorage::new(1 << 30);
    let engine = storage.reopen();
    let mut next = 1;
    for _ in 0..4 {
        engine.append(&[block(next, 70_000, 100)]).unwrap();
        next += 70_000;
    }
    drop(engine);
    let marks = OffsetsFile::open(&storage.path()).unwrap().unwrap().marks();
    assert!(marks.ceiling > next, "{marks:?}");
    assert_eq!(storage.reopen().opened().next, next);
}

#[test]
fn without_its_record_of_offsets_the_log_goes_on_well_above() {
    let storage = SledStorage::new(1 << 30);
    let engine = storage.reopen();
    append(&engine, 1, 5);
    engine.close().unwrap();
    drop(engine);
    fs::write(storage.path().join("offsets"), b"gone").unwrap();
    let engine = storage.reopen();
    assert_eq!(engine.opened().next, 5 + RESERVED);
    assert_eq!(spans(&engine.opened().lost), [(5, 4 + RESERVED, false)]);
    assert!(!engine.opened().clean);
    assert_eq!(engine.read(1, usize::MAX).unwrap().len(), 4);
}

#[test]
fn a_removal_cut_short_is_finished_off() {
    let storage = SledStorage::new(40_000);
    let engine = storage.reopen();
    append(&engine, 1, 40);
    engine.close().unwrap();
    let volumes = engine.volumes();
    assert!(volumes.len() >= 4);
    drop(engine);
    // one recorded but not yet renamed, one renamed but not yet deleted
    let mut spans = Spans::open(&storage.path()).unwrap();
    for gone in &volumes[..2] {
        spans.add_removed(gone.first, gone.end).unwrap();
    }
    let half = storage.path().join("v/removing-0000000002");
    fs::rename(storage.volume(2), &half).unwrap();
    fs::remove_file(half.join("conf")).unwrap();
    let engine = storage.reopen();
    assert!(engine.opened().lost.is_empty());
    assert!(!half.exists() && !storage.volume(1).exists());
    let left: Vec<Block> = (volumes[2].first..40)
        .map(|o| block(o, 1, 10_000))
        .collect();
    assert_same_blocks(&engine.read(1, usize::MAX).unwrap(), &left);
}

#[test]
fn a_volume_that_vanished_is_a_known_loss() {
    let storage = SledStorage::new(40_000);
    let engine = storage.reopen();
    append(&engine, 1, 40);
    engine.close().unwrap();
    let gone = engine.volumes()[1].clone();
    drop(engine);
    fs::remove_dir_all(storage.volume(gone.number)).unwrap();
    let engine = storage.reopen();
    assert_eq!(
        spans(&engine.opened().lost),
        [(gone.first, gone.end - 1, true)]
    );
    assert_eq!(engine.opened().next, 40);
    drop(engine);
    assert!(storage.reopen().opened().lost.is_empty());
}

#[test]
fn sealed_volumes_are_not_opened_until_they_are_read() {
    let storage = SledStorage::new(40_000);
    let engine = storage.reopen();
    append(&engine, 1, 60);
    engine.close().unwrap();
    drop(engine);
    let engine = storage.reopen();
    let volumes = engine.volumes();
    let is_open = |number: u64| {
        let db = storage.volume(number).join("db");
        let fds = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let mut files = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
        files.any(|file| file == db)
    };
    let sealed: Vec<u64> = volumes
        .iter()
        .filter(|v| v.sealed)
        .map(|v| v.number)
        .collect();
    assert!(sealed.len() >= 5);
    assert!(!sealed.iter().any(|n| is_open(*n)));
    engine.index(sealed[0]).unwrap();
    assert!(!is_open(sealed[0]));
    for from in volumes.iter().map(|v| v.first) {
        engine.read(from, 0).unwrap();
    }
    let open = sealed.iter().filter(|n| is_open(**n)).count();
    assert!((1..=2).contains(&open), "{open}");
}

#[test]
fn a_damaged_sealed_volume_gives_no_wrong_bytes_and_hinders_nothing_else() {
    let storage = SledStorage::new(40_000);
    let engine = storage.reopen();
    append(&engine, 1, 40);
    engine.close().unwrap();
    let hurt = engine.volumes()[1].clone();
    drop(engine);
    let db = fs::File::options()
        .read(true)
        .write(true)
        .open(storage.volume(hurt.number).join("db"))
        .unwrap();
    let bytes = db.metadata().unwrap().len();
    for at in (0..bytes).step_by(3000) {
        db.write_all_at(&[0x5a; 40], at).unwrap();
    }
    let engine = storage.reopen();
    append(&engine, 40, 42);
    let damaged = engine.read(hurt.first, usize::MAX);
    assert!(
        matches!(damaged, Err(EngineError::Damaged(_))),
        "{damaged:?}"
    );
    let gaps = engine.gaps();
    assert!(gaps.iter().any(|g| g.first == hurt.first && g.known_lost));
    let before: Vec<Block> = (1..hurt.first).map(|o| block(o, 1, 10_000)).collect();
    assert_same_blocks(&engine.read(1, usize::MAX).unwrap(), &before);
    let after: Vec<Block> = (hurt.end..42).map(|o| block(o, 1, 10_000)).collect();
    assert_same_blocks(&engine.read(hurt.end, usize::MAX).unwrap(), &after);
    assert!(!engine.index(hurt.number).unwrap().is_empty());
    drop(engine);
    assert_eq!(storage.reopen().gaps(), gaps);
}

#[test]
fn a_sealed_volume_cut_short_is_reported_at_the_opening() {
    let storage = SledStorage::new(40_000);
    let engine = storage.reopen();
    append(&engine, 1, 40);
    engine.close().unwrap();
    let hurt = engine.volumes()[1].clone();
    drop(engine);
    fs::write(storage.volume(hurt.number).join("db"), b"").unwrap();
    let engine = storage.reopen();
    let lost = &engine.opened().lost;
    assert_eq!(lost.first().unwrap().first, hurt.first);
    assert_eq!(lost.last().unwrap().last, hurt.end - 1);
    assert!(lost.iter().all(|g| g.known_lost));
    assert_eq!(engine.opened().next, 40);
    drop(engine);
    assert!(storage.reopen().opened().lost.is_empty());
}

fn swap(one: &Path, two: &Path) {
    let aside = one.with_extension("swap");
    fs::rename(one, &aside).unwrap();
    fs::rename(two, one).unwrap();
    fs::rename(aside, two).unwrap();
}

fn sized(offset: Offset) -> Block {
    block(offset, 1, 30_000 + offset as usize * 37)
}

/// All offsets of a log, as they are read.
fn offsets_read(engine: &SledEngine) -> Vec<Offset> {
    let blocks = engine.read(1, usize::MAX).unwrap();
    blocks.iter().map(|b| b.first).collect()
}

#[test]
fn files_put_in_each_others_place_lose_nothing() {
    for name in [index::FILE, "db"] {
        for other in 1..3 {
            let storage = SledStorage::new(4 << 20);
            let engine = storage.reopen();
            // volumes of different sizes, as they are but for the smallest
            for first in (1..400).step_by(7) {
                let blocks: Vec<Block> = (first..first + 7).map(sized).collect();
                engine.append(&blocks).unwrap();
            }
            engine.close().unwrap();
            let volumes = engine.volumes();
            assert!(volumes.len() > 2);
            drop(engine);
            // two sealed ones; and a sealed one with the newest
            let numbers = [volumes[0].number, volumes[volumes.len() - other].number];
            let [one, two] = numbers.map(|number| storage.volume(number).join(name));
            swap(&one, &two);
            for _ in 0..2 {
                let engine = storage.reopen();
                let what = format!("{name} of {numbers:?}: {:?}", engine.gaps());
                assert!(engine.gaps().is_empty(), "{what}");
                let wanted: Vec<Block> = (1..400).map(sized).collect();
                assert_same_blocks(&engine.read(1, usize::MAX).unwrap(), &wanted);
                assert_eq!(
                    offsets_read(&engine),
                    (1..400).collect::<Vec<_>>(),
                    "{what}"
                );
                assert_eq!(engine.opened().next, 400, "{what}");
                engine.close().unwrap();
            }
        }
    }
}

#[test]
fn a_sealed_volume_keeps_its_size_when_it_is_read() {
    let storage = SledStorage::new(40_000);
    let engine = storage.reopen();
    append(&engine, 1, 40);
    engine.close().unwrap();
    drop(engine);
    for _ in 0..2 {
        let engine = storage.reopen();
        offsets_read(&engine);
        engine.close().unwrap();
        for volume in engine.volumes().iter().filter(|volume| volume.sealed) {
            let path = storage.volume(volume.number);
            let footer = index::read_footer(&path).unwrap().unwrap();
            let bytes = fs::metadata(path.join("db")).unwrap().len();
            assert_eq!(bytes, footer.db_bytes, "volume {}", volume.number);
        }
        // none was looked into, so none was copied
        assert!(!storage.path().join("damaged").exists());
    }
}

#[test]
fn damaged_indexes_of_sealed_volumes_are_rebuilt() {
    let storage = SledStorage::new(40_000);
    let engine = storage.reopen();
    append(&engine, 1, 40);
    engine.close().unwrap();
    let volumes = engine.volumes();
    drop(engine);
    let index = |n: usize| storage.volume(volumes[n].number).join(index::FILE);
    let wanted: Vec<Vec<u8>> = (0..3).map(|n| fs::read(index(n)).unwrap()).collect();
    fs::remove_file(index(0)).unwrap();
    fs::write(index(1), &wanted[1][..wanted[1].len() / 2]).unwrap();
    let mut flipped = wanted[2].clone();
    flipped[40] ^= 1;
    fs::write(index(2), flipped).unwrap();
    let engine = storage.reopen();
    assert!(engine.opened().lost.is_empty());
    for volume in &volumes {
        let entries = engine.index(volume.number).unwrap();
        let blocks: Vec<Block> = (volume.first..volume.end)
            .map(|o| block(o, 1, 10_000))
            .collect();
        let wanted: Vec<IndexEntry> = blocks.iter().map(Block::index_entry).collect();
        assert_eq!(entries, wanted);
    }
    assert!(engine.gaps().is_empty());
    for (n, wanted) in wanted.iter().enumerate().take(2) {
        let frames = wanted.len() - 40;
        assert!(fs::read(index(n)).unwrap()[..frames] == wanted[..frames]);
    }
}

/// Appends blocks of one delivery and 100 kB, one by one: about twenty fill the smallest volume.
fn append_large(engine: &SledEngine, first: Offset, end: Offset) {
    for offset in first..end {
        engine.append(&[block(offset, 1, 100_000)]).unwrap();
    }
}

/// Rewrites the second of several volumes so that every second block is left; answers what is left
/// of the whole log, and where the new volume is.
fn rewritten(storage: &SledStorage) -> (Vec<Block>, PathBuf) {
    let engine = storage.reopen();
    append_large(&engine, 1, 90);
    let old = engine.volumes()[1].clone();
    assert!(old.end - old.first > 1, "{old:?}");
    let is_left = |o: &Offset| !(old.first..old.end).contains(o) || o % 2 == old.first % 2;
    let all: Vec<Block> = (1..90)
        .filter(is_left)
        .map(|o| block(o, 1, 100_000))
        .collect();
    let inside = |b: &&Block| (old.first..old.end).contains(&b.first);
    let inside: Vec<Block> = all.iter().filter(inside).cloned().collect();
    engine
        .rewrite_volumes(old.number, old.number, &mut hand_out(&inside))
        .unwrap();
    engine.close().unwrap();
    drop(engine);
    storage.reopen().close().unwrap();
    // it is as it was when it was sealed: nothing has to be looked at
    assert!(!storage.path().join("damaged").exists());
    let name = VolumeName::new(old.number);
    let name = VolumeName::rest(name, name).to_string();
    (all, storage.path().join("v").join(name))
}

#[test]
fn a_rewrite_cut_short_anywhere_leaves_the_old_volume_or_the_new_one() {
    let storage = SledStorage::new(2_200_000);
    let (left, rest) = rewritten(&storage);
    // not yet renamed: what was being made goes
    let making = storage.path().join("v/making-rest");
    fs::create_dir(&making).unwrap();
    files::copy_dir(&rest, &making.join(rest.file_name().unwrap())).unwrap();
    // renamed, and the old one still there
    let old = storage.volume(2);
    files::copy_dir(&storage.volume(1), &old).unwrap();
    files::copy_dir(
        &storage.volume(1),
        &storage.path().join("v/removing-0000000002"),
    )
    .unwrap();
    let engine = storage.reopen();
    assert!(engine.opened().lost.is_empty() && engine.opened().clean);
    assert!(!making.exists() && !old.exists());
    assert_same_blocks(&engine.read(1, usize::MAX).unwrap(), &left);
}

#[test]
fn a_rewritten_volume_whose_index_is_damaged_misses_nothing() {
    let storage = SledStorage::new(2_200_000);
    let (left, rest) = rewritten(&storage);
    fs::remove_file(rest.join(index::FILE)).unwrap();
    let engine = storage.reopen();
    assert!(engine.opened().lost.is_empty(), "{:?}", engine.opened());
    assert_same_blocks(&engine.read(1, usize::MAX).unwrap(), &left);
    append_large(&engine, 90, 91);
    let info = engine.volumes()[1].clone();
    assert!(info.rest && info.sealed, "never the one to append to");
}

#[test]
fn a_rewritten_volume_that_is_the_only_one_left_is_not_appended_to() {
    let storage = SledStorage::new(2_200_000);
    let (_, rest) = rewritten(&storage);
    for entry in fs::read_dir(storage.path().join("v")).unwrap() {
        let path = entry.unwrap().path();
        if path != rest {
            fs::remove_dir_all(path).unwrap();
        }
    }
    fs::remove_file(rest.join(index::FILE)).unwrap();
    let engine = storage.reopen();
    assert!(engine.opened().next >= 90);
    append_large(&engine, engine.opened().next, engine.opened().next + 1);
    let volumes = engine.volumes();
    assert_eq!(volumes.len(), 2);
    assert!(volumes[0].rest && !volumes[1].rest && volumes[1].number > 2);
}

#[test]
fn what_is_lost_of_a_rewritten_volume_is_reported() {
    let storage = SledStorage::new(2_200_000);
    let (_, rest) = rewritten(&storage);
    let info = storage.reopen().volumes()[1].clone();
    fs::write(rest.join("db"), b"").unwrap();
    let engine = storage.reopen();
    let lost = spans(&engine.opened().lost);
    assert!(!lost.is_empty());
    let within = |&(first, last, known): &(Offset, Offset, bool)| {
        info.first <= first && last < info.end && known
    };
    assert!(lost.iter().all(within), "{lost:?}");
    assert_eq!(
        engine.read(1, usize::MAX).unwrap().len() as u64,
        info.first - 1
    );
}

#[test]
fn a_backup_holds_what_is_left_and_misses_nothing_else() {
    let storage = SledStorage::new(2_200_000);
    let (left, _) = rewritten(&storage);
    let engine = storage.reopen();
    let backups = storage.dir.path().join("backups");
    let call = BackupCall {
        dir: &backups,
        at: Timestamp(1),
        keep_free: 0,
        verify: true,
        watch: &Unwatched,
    };
    for _ in 0..2 {
        let report = engine.backup(&call).unwrap();
        assert_eq!(report.lost, []);
        assert!(report.verified.unwrap().damage.is_empty());
    }
    let restored = storage.dir.path().join("restored");
    let report = backup::restore(&backup::RestoreCall {
        backup: &backups,
        dir: &restored,
        dice: 9,
        now: Timestamp(1),
        partial: false,
        watch: &Unwatched,
    });
    assert_eq!(report.unwrap().lost, []);
    let engine = SledEngine::open(SledSettings::new(&restored), 1).unwrap();
    assert!(engine.opened().lost.is_empty(), "{:?}", engine.opened());
    assert!(engine.gaps().iter().all(|gap| !gap.known_lost));
    assert_eq!(engine.volumes().iter().filter(|v| v.rest).count(), 1);
    assert_same_blocks(&engine.read(1, usize::MAX).unwrap(), &left);
}

#[test]
fn a_volume_that_a_backup_needs_is_not_rewritten() {
    let storage = SledStorage::new(2_200_000);
    let engine = storage.reopen();
    append_large(&engine, 1, 90);
    let number = engine.volumes()[1].number;
    let rewrite = || engine.rewrite_volumes(number, number, &mut || Ok(None));
    engine.shared.pins.lock().hold_all();
    let refused = rewrite();
    assert!(matches!(refused, Err(EngineError::Busy(_))), "{refused:?}");
    // a backup that begins while it is under way
    engine.shared.pins.lock().release_all();
    let mut begins = || {
        engine.shared.pins.lock().hold_only([number]);
        Ok(None)
    };
    let refused = engine.rewrite_volumes(number, number, &mut begins);
    assert!(matches!(refused, Err(EngineError::Busy(_))), "{refused:?}");
    let all: Vec<Block> = (1..90).map(|o| block(o, 1, 100_000)).collect();
    assert_same_blocks(&engine.read(1, usize::MAX).unwrap(), &all);
    assert!(!storage.path().join("v/making-rest").exists());
    engine.shared.pins.lock().release_all();
    rewrite().unwrap();
}

#[test]
fn readers_miss_nothing_while_volumes_are_rewritten() {
    let storage = SledStorage::new(2_200_000);
    let engine = storage.reopen();
    append_large(&engine, 1, 200);
    engine.shared.keep_house();
    let unsealed = engine.volumes().iter().filter(|v| !v.sealed).count();
    let kept: Vec<Offset> = (1..200).filter(|o| o % 3 == 0).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                for &offset in &kept {
                    let found = engine.read(offset, 1).unwrap();
                    assert_same_blocks(&found[..1], &[block(offset, 1, 100_000)]);
                }
            }
        });
        let rewrite = |run: &[VolumeInfo]| {
            let (first, last) = (&run[0], &run[run.len() - 1]);
            let left = kept.iter().filter(|&&o| first.first <= o && o < last.end);
            let left: Vec<Block> = left.map(|&o| block(o, 1, 100_000)).collect();
            engine.rewrite_volumes(first.number, last.number, &mut hand_out(&left))
        };
        // singly, then in pairs, then all in one
        let rewritten = [1, 2, usize::MAX].map(|size| {
            let sealed = engine.volumes().into_iter().filter(|v| v.sealed);
            let sealed: Vec<VolumeInfo> = sealed.collect();
            sealed.chunks(size).try_for_each(rewrite)
        });
        done.store(true, Ordering::SeqCst);
        reader.join().unwrap();
        assert!(rewritten.iter().all(Result::is_ok), "{rewritten:?}");
    });
    assert_eq!(engine.volumes().len(), unsealed + 1);
}

#[test]
fn state_never_becomes_a_file_that_sled_does_not_sync() {
    let storage = SledStorage::new(1 << 30);
    let engine = storage.reopen();
    let largest = super::super::STATE_VALUE_BYTES_MAX - 2;
    for round in 0..6u16 {
        for i in 0..60u16 {
            let mut batch = StateBatch::default();
            batch.put(i.to_be_bytes(), vec![round as u8; largest]);
            batch.remove(((i * 7 + round) % 60).to_be_bytes());
            engine.commit(&batch).unwrap();
        }
    }
    engine.close().unwrap();
    drop(engine);
    drop(storage.reopen());
    let blobs = fs::read_dir(storage.path().join("state/blobs")).unwrap();
    assert_eq!(blobs.count(), 0);
}

/// This test binary, told to run one ignored test in a process of its own.
fn child(test: &str, dir: &Path) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let name = format!("engine::sled::tests::{test}");
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
