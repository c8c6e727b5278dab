//! Volumes that are rewritten, cut short anywhere, and beside readers and backups.

use super::*;
use crate::engine::backup::Unwatched;
use crate::testkit::engine::{assert_same_blocks, hand_out};
use crate::time::Timestamp;

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
