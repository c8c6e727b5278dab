//! Volumes: they follow each other, go, and are rewritten.

use super::{Fresh, SMALL, Sizes, append_singly, assert_same_blocks, block, read_all};
use crate::engine::{Block, EngineError};
use crate::ids::Offset;

pub(super) fn volumes_follow_each_other(fresh: Fresh<'_>) {
    let mut storage = fresh(SMALL);
    let engine = storage.open();
    append_singly(&*engine, 1, 60, 10_000);
    let volumes = engine.volumes();
    assert!(volumes.len() >= 3, "{volumes:?}");
    for pair in volumes.windows(2) {
        assert_eq!(pair[0].end, pair[1].first);
        assert!(pair[0].number < pair[1].number);
        assert!(pair[0].sealed && pair[0].bytes >= 40_000);
    }
    assert_eq!(volumes[0].first, 1);
    let last = volumes.last().expect("one");
    assert!(!last.sealed);
    assert_eq!(last.end, 61);
    drop(engine);
    let engine = storage.open();
    let spans = |all: &[crate::engine::VolumeInfo]| -> Vec<(u64, Offset, Offset, bool)> {
        let span = |v: &crate::engine::VolumeInfo| (v.number, v.first, v.end, v.sealed);
        all.iter().map(span).collect()
    };
    assert_eq!(spans(&engine.volumes()), spans(&volumes));
}

pub(super) fn a_removed_volume_is_a_hole(fresh: Fresh<'_>) {
    let mut storage = fresh(SMALL);
    let engine = storage.open();
    let blocks = append_singly(&*engine, 1, 60, 10_000);
    let volumes = engine.volumes();
    assert!(volumes.len() >= 4);
    let newest = volumes.last().expect("one").number;
    assert!(engine.remove_volume(newest).is_err());
    // the oldest, and one from the middle
    for gone in [0, 2] {
        engine.remove_volume(volumes[gone].number).expect("remove");
    }
    assert!(engine.remove_volume(volumes[0].number).is_err());
    let left: Vec<Block> = blocks
        .into_iter()
        .filter(|b| {
            ![0, 2]
                .iter()
                .any(|&g| (volumes[g].first..volumes[g].end).contains(&b.first))
        })
        .collect();
    assert_same_blocks(&read_all(&*engine), &left);
    assert!(engine.index(volumes[0].number).is_err());
    engine.close().expect("close");
    drop(engine);
    let engine = storage.open();
    assert_same_blocks(&read_all(&*engine), &left);
    assert!(engine.opened().lost.is_empty(), "{:?}", engine.opened());
    assert!(engine.gaps().is_empty());
    assert_eq!(engine.opened().next, 61);
}

/// Hands out blocks one by one.
pub fn hand_out(blocks: &[Block]) -> impl FnMut() -> Result<Option<Block>, EngineError> + use<'_> {
    let mut left = blocks.iter();
    move || Ok(left.next().cloned())
}

pub(super) fn rewritten_volumes_hold_what_is_left(fresh: Fresh<'_>) {
    let mut storage = fresh(Sizes {
        volume_bytes: 2_200_000,
        ..Sizes::default()
    });
    let engine = storage.open();
    let blocks = append_singly(&*engine, 1, 130, 100_000);
    let volumes = engine.volumes();
    assert!(volumes.len() >= 6, "{volumes:?}");
    let is_left = |from: usize, to: usize, b: &Block| {
        let span = volumes[from].first..volumes[to].end;
        !span.contains(&b.first) || b.first.is_multiple_of(3)
    };
    // one alone, then it again with two neighbours, of which one has been rewritten too
    let mut left = blocks.clone();
    for (from, to) in [(2, 2), (4, 4), (2, 4)] {
        left.retain(|b| is_left(from, to, b));
        let span = volumes[from].first..volumes[to].end;
        let inside: Vec<Block> = left
            .iter()
            .filter(|b| span.contains(&b.first))
            .cloned()
            .collect();
        engine
            .rewrite_volumes(
                volumes[from].number,
                volumes[to].number,
                &mut hand_out(&inside),
            )
            .expect("rewrite");
        assert_same_blocks(&read_all(&*engine), &left);
        let now = engine.volumes();
        let rest = now.iter().find(|v| v.number == volumes[from].number);
        let rest = rest.expect("it has the number of the first");
        assert_eq!((rest.first, rest.end), (span.start, span.end));
        assert!(rest.rest && rest.sealed);
        let index = engine.index(rest.number).expect("index");
        let wanted: Vec<_> = inside.iter().map(Block::index_entry).collect();
        assert_eq!(index, wanted);
    }
    assert_eq!(engine.volumes().len(), volumes.len() - 2);
    append_singly(&*engine, 131, 1, 10);
    left.push(block(131, 1, 10));
    let after = engine.volumes();
    drop(engine);
    let engine = storage.open();
    assert!(engine.opened().lost.is_empty(), "{:?}", engine.opened());
    assert_eq!(engine.opened().next, 132);
    assert_same_blocks(&read_all(&*engine), &left);
    let spans = |all: &[crate::engine::VolumeInfo]| -> Vec<(u64, Offset, bool)> {
        all.iter().map(|v| (v.number, v.first, v.rest)).collect()
    };
    assert_eq!(spans(&engine.volumes()), spans(&after));
    // and it goes as any other
    engine.remove_volume(volumes[2].number).expect("remove");
    left.retain(|b| !(volumes[2].first..volumes[4].end).contains(&b.first));
    assert_same_blocks(&read_all(&*engine), &left);
    drop(engine);
    let engine = storage.open();
    assert!(engine.gaps().is_empty());
    assert_same_blocks(&read_all(&*engine), &left);
}

pub(super) fn a_failed_rewrite_changes_nothing(fresh: Fresh<'_>) {
    let mut storage = fresh(SMALL);
    let engine = storage.open();
    let blocks = append_singly(&*engine, 1, 60, 10_000);
    let volumes = engine.volumes();
    let (old, newest) = (&volumes[1], volumes.last().expect("one"));
    let mut given = false;
    let mut breaks = || match std::mem::replace(&mut given, true) {
        false => Ok(Some(block(old.first, 1, 100))),
        true => Err(EngineError::Damaged("as ordered".into())),
    };
    let failed = engine.rewrite_volumes(old.number, old.number, &mut breaks);
    assert!(matches!(failed, Err(EngineError::Damaged(_))), "{failed:?}");
    // not sealed, not there, out of its span
    let none: &[Block] = &[];
    let foreign = [block(volumes[2].first, 1, 10)];
    for (first, last, blocks) in [
        (newest.number, newest.number, none),
        (old.number, newest.number, none),
        (999, 999, none),
        (old.number, old.number, &foreign),
    ] {
        engine
            .rewrite_volumes(first, last, &mut hand_out(blocks))
            .expect_err("refused");
    }
    let spans = |all: &[crate::engine::VolumeInfo]| -> Vec<(u64, Offset, Offset)> {
        all.iter().map(|v| (v.number, v.first, v.end)).collect()
    };
    assert_eq!(spans(&engine.volumes()), spans(&volumes));
    assert_same_blocks(&read_all(&*engine), &blocks);
    drop(engine);
    let engine = storage.open();
    assert!(engine.opened().lost.is_empty());
    assert_same_blocks(&read_all(&*engine), &blocks);
}
