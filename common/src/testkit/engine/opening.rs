//! Openings: of a new log, of one that was closed or not, and above offsets that are passed over.

use super::{Fresh, SMALL, Sizes, append_singly, assert_same_blocks, block, read_all};
use crate::engine::StateBatch;

pub(super) fn a_new_log_is_empty(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    let opened = engine.opened();
    assert!(opened.created && opened.clean && opened.lost.is_empty());
    assert_eq!(opened.next, 1);
    assert!(engine.read(1, 1000).expect("read").is_empty());
    let volumes = engine.volumes();
    assert_eq!(volumes.len(), 1);
    assert_eq!((volumes[0].first, volumes[0].end), (1, 1));
    assert!(!volumes[0].sealed);
    assert!(engine.gaps().is_empty());
    assert!(engine.block_bytes_best() >= 4096);
    let index = engine.index(volumes[0].number).expect("index");
    assert!(index.is_empty());
}

pub(super) fn reopening_keeps_everything(fresh: Fresh<'_>) {
    let mut storage = fresh(SMALL);
    let mut wanted = Vec::new();
    let mut log = None;
    for round in 0..6u64 {
        let engine = storage.open();
        assert_eq!(engine.opened().next, 1 + round * 7);
        assert_eq!(engine.opened().created, round == 0);
        assert!(engine.opened().lost.is_empty());
        assert_eq!(*log.get_or_insert(engine.opened().log), engine.opened().log);
        assert_same_blocks(&read_all(&*engine), &wanted);
        for earlier in 0..round {
            let value = engine.get(&earlier.to_be_bytes()).expect("get");
            assert_eq!(value.as_deref(), Some(&b"kept"[..]));
        }
        wanted.extend(append_singly(&*engine, 1 + round * 7, 7, 9_000));
        let mut batch = StateBatch::default();
        batch.put(round.to_be_bytes(), "kept");
        engine.commit(&batch).expect("commit");
        if round % 2 == 0 {
            engine.close().expect("close");
        }
    }
}

pub(super) fn only_a_closed_log_opens_clean(fresh: Fresh<'_>) {
    let mut storage = fresh(Sizes::default());
    let engine = storage.open();
    append_singly(&*engine, 1, 1, 10);
    drop(engine);
    let engine = storage.open();
    assert!(!engine.opened().clean);
    engine.close().expect("close");
    drop(engine);
    let engine = storage.open();
    assert!(engine.opened().clean);
    drop(engine);
    assert!(!storage.open().opened().clean);
}

pub(super) fn a_closed_log_takes_nothing_more(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    engine.close().expect("close");
    assert!(engine.append(&[block(1, 1, 10)]).is_err());
    let mut batch = StateBatch::default();
    batch.put("k", "v");
    assert!(engine.commit(&batch).is_err());
    assert!(engine.append_attempts((1, 1), b"x").is_err());
}

pub(super) fn raising_skips_offsets_and_records_a_gap(fresh: Fresh<'_>) {
    let mut storage = fresh(Sizes::default());
    let engine = storage.open();
    append_singly(&*engine, 1, 4, 10);
    drop(engine);
    let engine = storage.open();
    assert_eq!(engine.raise_next(3).expect("raise"), 5);
    assert_eq!(engine.raise_next(5).expect("raise"), 5);
    assert!(engine.gaps().is_empty());
    let next = engine.raise_next(40).expect("raise");
    assert!(next >= 40);
    let gaps = engine.gaps();
    assert_eq!(
        gaps.first().map(|g| (g.first, g.known_lost)),
        Some((5, true))
    );
    assert_eq!(gaps.last().map(|g| g.last), Some(next - 1));
    drop(engine);
    let engine = storage.open();
    assert_eq!(engine.opened().next, next);
    assert!(engine.opened().lost.is_empty());
    assert_eq!(engine.gaps(), gaps);
    append_singly(&*engine, next, 1, 10);
    let found = engine.read(5, usize::MAX).expect("read");
    assert_same_blocks(&found, &[block(next, 1, 10)]);
    drop(engine);
    assert_eq!(storage.open().opened().next, next + 1);
}
