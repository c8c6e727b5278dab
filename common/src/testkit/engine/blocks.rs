//! Blocks: what is appended is what is read.

use super::{Fresh, SMALL, Sizes, append_singly, assert_same_blocks, block, read_all};
use crate::engine::{Block, EngineError};

pub(super) fn what_was_appended_is_read(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    let blocks = [block(1, 3, 100), block(4, 1, 0), block(5, 700, 9000)];
    engine.append(&blocks[..2]).expect("append");
    engine.append(&blocks[2..]).expect("append");
    engine.append(&[]).expect("append nothing");
    assert_same_blocks(&engine.read(1, usize::MAX).expect("read"), &blocks);
    assert!(engine.read(705, usize::MAX).expect("read").is_empty());
}

pub(super) fn a_block_is_found_by_its_offsets(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    let blocks = [block(1, 10, 50), block(11, 10, 50), block(21, 10, 50)];
    engine.append(&blocks).expect("append");
    for from in 11..=20 {
        assert_same_blocks(&engine.read(from, usize::MAX).expect("read"), &blocks[1..]);
    }
    assert_same_blocks(&engine.read(0, usize::MAX).expect("read"), &blocks);
}

pub(super) fn read_stops_at_its_bound_but_gives_one(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    let blocks = append_singly(&*engine, 1, 5, 1000);
    assert_same_blocks(&engine.read(1, 3500).expect("read"), &blocks[..3]);
    assert_same_blocks(&engine.read(2, 0).expect("read"), &blocks[1..2]);
}

pub(super) fn blocks_of_every_size_come_back(fresh: Fresh<'_>) {
    let mut storage = fresh(Sizes::default());
    let engine = storage.open();
    let best = engine.block_bytes_best();
    let sizes = [
        0,
        1,
        best - 1,
        best,
        best + 1,
        2 * best,
        2 * best + 1,
        1_500_000,
        7,
    ];
    let blocks: Vec<Block> = sizes
        .iter()
        .zip(1..)
        .map(|(bytes, first)| block(first, 1, *bytes))
        .collect();
    engine.append(&blocks).expect("append");
    assert_same_blocks(&engine.read(1, usize::MAX).expect("read"), &blocks);
    drop(engine);
    let engine = storage.open();
    assert_same_blocks(&engine.read(1, usize::MAX).expect("read"), &blocks);
}

pub(super) fn a_block_out_of_turn_is_refused(fresh: Fresh<'_>) {
    for wrong in [block(5, 1, 10), block(3, 1, 10), block(4, 0, 10)] {
        let engine = fresh(Sizes::default()).open();
        engine.append(&[block(1, 3, 10)]).expect("append");
        let refused = engine.append(&[wrong]);
        assert!(matches!(refused, Err(EngineError::Failed(_))));
        assert_eq!(engine.read(1, usize::MAX).expect("read").len(), 1);
    }
}

pub(super) fn the_index_is_the_start_of_each_block(fresh: Fresh<'_>) {
    let mut storage = fresh(Sizes {
        volume_bytes: 40_000,
        ..Sizes::default()
    });
    let mut engine = storage.open();
    let blocks: Vec<Block> = (0..12).map(|i| block(1 + i * 3, 3, 10_000)).collect();
    for pair in blocks.chunks(2) {
        engine.append(pair).expect("append");
    }
    for _ in 0..2 {
        let volumes = engine.volumes();
        let index = volumes
            .iter()
            .flat_map(|v| engine.index(v.number).expect("index"));
        let wanted: Vec<_> = blocks.iter().map(Block::index_entry).collect();
        assert_eq!(index.collect::<Vec<_>>(), wanted);
        drop(engine);
        engine = storage.open();
    }
    assert!(engine.index(1_000_000).is_err());
}

pub(super) fn readers_see_whole_appends_only(fresh: Fresh<'_>) {
    let engine = fresh(SMALL).open();
    let done = std::sync::atomic::AtomicBool::new(false);
    let returned = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|s| {
        let reader = s.spawn(|| {
            let mut rounds = 0;
            loop {
                let last_round = done.load(std::sync::atomic::Ordering::SeqCst);
                let acknowledged = returned.load(std::sync::atomic::Ordering::SeqCst);
                let blocks = read_all(&*engine);
                let wanted: Vec<Block> = blocks.iter().map(|b| block(b.first, 1, 3000)).collect();
                assert_same_blocks(&blocks, &wanted);
                assert!(blocks.iter().map(|b| b.first).eq(1..=blocks.len() as u64));
                assert!(blocks.len() as u64 >= acknowledged);
                rounds += 1;
                if last_round {
                    return rounds;
                }
            }
        });
        for call in 0..40 {
            let first = 1 + call * 4;
            let blocks: Vec<Block> = (first..first + 4).map(|o| block(o, 1, 3000)).collect();
            engine.append(&blocks).expect("append");
            returned.store(first + 3, std::sync::atomic::Ordering::SeqCst);
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(reader.join().expect("reader") >= 1);
    });
    assert_eq!(read_all(&*engine).len(), 160);
}
