//! What is lost is found and told, and hinders nothing else.

use std::os::unix::fs::FileExt;

use super::super::offsets::{OffsetsFile, RESERVED};
use super::super::spans::Spans;
use super::*;
use crate::testkit::engine::assert_same_blocks;

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
