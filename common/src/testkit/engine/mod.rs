//! The conformance suite that every engine is run through.
//!
//! [`engine_conformance`] runs all of [`CHECKS`]; [`histories_agree`] plays random histories, with
//! crashes and reopenings, against a model.

mod model;

use std::sync::Arc;

use bytes::Bytes;

pub use self::model::histories_agree;
use crate::engine::{Block, Engine, EngineError, STATE_VALUE_BYTES_MAX, StateBatch};
use crate::ids::Offset;

/// Bounds for a storage under test.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// A volume is sealed when it has grown to this.
    pub volume_bytes: u64,
    /// The oldest kept attempts go above this.
    pub attempts_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            volume_bytes: 64 << 20,
            attempts_bytes: 16 << 20,
        }
    }
}

/// One log's storage, which can be opened again and again.
pub trait Storage {
    /// Opens it; all engines opened before have been dropped, closed or not.
    fn open(&mut self) -> Arc<dyn Engine>;
}

/// Makes an empty storage.
pub type Fresh<'a> = &'a dyn Fn(Sizes) -> Box<dyn Storage>;

/// A check and its name.
pub type Check = (&'static str, fn(Fresh<'_>));

/// Every check of the suite.
pub const CHECKS: &[Check] = &[
    ("a_new_log_is_empty", a_new_log_is_empty),
    ("what_was_appended_is_read", what_was_appended_is_read),
    (
        "a_block_in_the_middle_is_found_by_any_of_its_offsets",
        a_block_is_found_by_its_offsets,
    ),
    (
        "read_stops_at_its_bound_but_gives_one",
        read_stops_at_its_bound_but_gives_one,
    ),
    (
        "blocks_of_every_size_come_back",
        blocks_of_every_size_come_back,
    ),
    (
        "a_block_out_of_turn_is_refused",
        a_block_out_of_turn_is_refused,
    ),
    (
        "the_index_is_the_start_of_each_block",
        the_index_is_the_start_of_each_block,
    ),
    ("volumes_follow_each_other", volumes_follow_each_other),
    ("a_removed_volume_is_a_hole", a_removed_volume_is_a_hole),
    (
        "rewritten_volumes_hold_what_is_left",
        rewritten_volumes_hold_what_is_left,
    ),
    (
        "a_failed_rewrite_changes_nothing",
        a_failed_rewrite_changes_nothing,
    ),
    ("reopening_keeps_everything", reopening_keeps_everything),
    (
        "only_a_closed_log_opens_clean",
        only_a_closed_log_opens_clean,
    ),
    (
        "a_closed_log_takes_nothing_more",
        a_closed_log_takes_nothing_more,
    ),
    (
        "raising_skips_offsets_and_records_a_gap",
        raising_skips_offsets_and_records_a_gap,
    ),
    (
        "a_state_batch_applies_in_order",
        a_state_batch_applies_in_order,
    ),
    (
        "a_scan_is_ordered_and_bounded",
        a_scan_is_ordered_and_bounded,
    ),
    (
        "a_state_entry_too_large_changes_nothing",
        a_state_entry_too_large_changes_nothing,
    ),
    ("attempts_come_newest_first", attempts_come_newest_first),
    ("old_attempts_give_way", old_attempts_give_way),
    (
        "readers_see_whole_appends_only",
        readers_see_whole_appends_only,
    ),
];

/// Runs every check against fresh storages.
///
/// # Panics
/// When a check fails; its name has been printed before.
pub fn engine_conformance(fresh: Fresh<'_>) {
    for (name, check) in CHECKS {
        println!("engine conformance: {name}");
        check(fresh);
    }
}

/// A block with recognisable bytes; its index is its first quarter.
pub fn block(first: Offset, count: u32, bytes: usize) -> Block {
    let seed = first.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let content: Vec<u8> = (0..bytes as u64)
        .map(|i| (seed.wrapping_add(i.wrapping_mul(i | 1)) >> 13) as u8)
        .collect();
    Block {
        first,
        count,
        index_bytes: (bytes / 4) as u32,
        bytes: Bytes::from(content),
    }
}

/// Asserts that two lists of blocks are the same, byte for byte.
///
/// # Panics
/// When they are not.
pub fn assert_same_blocks(found: &[Block], wanted: &[Block]) {
    let spans = |blocks: &[Block]| -> Vec<(Offset, u32, u32, usize)> {
        let span = |b: &Block| (b.first, b.count, b.index_bytes, b.bytes.len());
        blocks.iter().map(span).collect()
    };
    assert_eq!(spans(found), spans(wanted));
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(
            found.bytes == wanted.bytes,
            "block {} differs",
            wanted.first
        );
    }
}

/// Appends `count` blocks of `bytes` each, one delivery in each, one append per block.
fn append_singly(engine: &dyn Engine, first: Offset, count: u64, bytes: usize) -> Vec<Block> {
    let blocks: Vec<Block> = (first..first + count).map(|o| block(o, 1, bytes)).collect();
    for block in &blocks {
        engine.append(std::slice::from_ref(block)).expect("append");
    }
    blocks
}

fn read_all(engine: &dyn Engine) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut from = 1;
    loop {
        let more = engine.read(from, 100_000).expect("read");
        let Some(last) = more.last() else {
            return blocks;
        };
        from = last.end();
        blocks.extend(more);
    }
}

fn a_new_log_is_empty(fresh: Fresh<'_>) {
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

fn what_was_appended_is_read(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    let blocks = [block(1, 3, 100), block(4, 1, 0), block(5, 700, 9000)];
    engine.append(&blocks[..2]).expect("append");
    engine.append(&blocks[2..]).expect("append");
    engine.append(&[]).expect("append nothing");
    assert_same_blocks(&engine.read(1, usize::MAX).expect("read"), &blocks);
    assert!(engine.read(705, usize::MAX).expect("read").is_empty());
}

fn a_block_is_found_by_its_offsets(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    let blocks = [block(1, 10, 50), block(11, 10, 50), block(21, 10, 50)];
    engine.append(&blocks).expect("append");
    for from in 11..=20 {
        assert_same_blocks(&engine.read(from, usize::MAX).expect("read"), &blocks[1..]);
    }
    assert_same_blocks(&engine.read(0, usize::MAX).expect("read"), &blocks);
}

fn read_stops_at_its_bound_but_gives_one(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    let blocks = append_singly(&*engine, 1, 5, 1000);
    assert_same_blocks(&engine.read(1, 3500).expect("read"), &blocks[..3]);
    assert_same_blocks(&engine.read(2, 0).expect("read"), &blocks[1..2]);
}

fn blocks_of_every_size_come_back(fresh: Fresh<'_>) {
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

fn a_block_out_of_turn_is_refused(fresh: Fresh<'_>) {
    for wrong in [block(5, 1, 10), block(3, 1, 10), block(4, 0, 10)] {
        let engine = fresh(Sizes::default()).open();
        engine.append(&[block(1, 3, 10)]).expect("append");
        let refused = engine.append(&[wrong]);
        assert!(matches!(refused, Err(EngineError::Failed(_))));
        assert_eq!(engine.read(1, usize::MAX).expect("read").len(), 1);
    }
}

fn the_index_is_the_start_of_each_block(fresh: Fresh<'_>) {
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

/// Small enough that a few dozen blocks of 10 kB fill several volumes of any engine.
const SMALL: Sizes = Sizes {
    volume_bytes: 40_000,
    attempts_bytes: 16 << 20,
};

fn volumes_follow_each_other(fresh: Fresh<'_>) {
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

fn a_removed_volume_is_a_hole(fresh: Fresh<'_>) {
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

fn rewritten_volumes_hold_what_is_left(fresh: Fresh<'_>) {
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

fn a_failed_rewrite_changes_nothing(fresh: Fresh<'_>) {
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

fn reopening_keeps_everything(fresh: Fresh<'_>) {
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

fn only_a_closed_log_opens_clean(fresh: Fresh<'_>) {
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

fn a_closed_log_takes_nothing_more(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    engine.close().expect("close");
    assert!(engine.append(&[block(1, 1, 10)]).is_err());
    let mut batch = StateBatch::default();
    batch.put("k", "v");
    assert!(engine.commit(&batch).is_err());
    assert!(engine.append_attempts((1, 1), b"x").is_err());
}

fn raising_skips_offsets_and_records_a_gap(fresh: Fresh<'_>) {
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

fn a_state_batch_applies_in_order(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    let mut batch = StateBatch::default();
    batch.put("a", "1");
    batch.remove("a");
    batch.put("b", "1");
    batch.put("b", "2");
    batch.remove("never there");
    batch.put("empty", "");
    batch.put(vec![0u8, 255], vec![7u8; 20_000]);
    engine.commit(&batch).expect("commit");
    engine.commit(&StateBatch::default()).expect("commit");
    assert_eq!(engine.get(b"a").expect("get"), None);
    assert_eq!(engine.get(b"b").expect("get"), Some(b"2".to_vec()));
    assert_eq!(engine.get(b"empty").expect("get"), Some(Vec::new()));
    assert_eq!(engine.get(&[0, 255]).expect("get"), Some(vec![7u8; 20_000]));
    let mut batch = StateBatch::default();
    batch.remove("b");
    engine.commit(&batch).expect("commit");
    assert_eq!(engine.get(b"b").expect("get"), None);
}

fn a_scan_is_ordered_and_bounded(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    let mut batch = StateBatch::default();
    for i in (0..300u16).rev() {
        batch.put(i.to_be_bytes(), i.to_le_bytes());
    }
    engine.commit(&batch).expect("commit");
    let (from, to) = (10u16.to_be_bytes(), 290u16.to_be_bytes());
    let keys = |limit| -> Vec<Vec<u8>> {
        let found = engine.scan(&from, &to, limit).expect("scan");
        found.into_iter().map(|(key, _)| key).collect()
    };
    let wanted: Vec<Vec<u8>> = (10..290u16).map(|i| i.to_be_bytes().to_vec()).collect();
    assert_eq!(keys(usize::MAX), wanted);
    assert_eq!(keys(5), wanted[..5]);
    assert!(keys(0).is_empty());
    assert!(engine.scan(&to, &from, 9).expect("scan").is_empty());
    assert!(engine.scan(&to, &to, 9).expect("scan").is_empty());
}

fn a_state_entry_too_large_changes_nothing(fresh: Fresh<'_>) {
    let engine = fresh(Sizes::default()).open();
    let mut batch = StateBatch::default();
    batch.put("first", "1");
    batch.put("k", vec![1u8; STATE_VALUE_BYTES_MAX]);
    let refused = engine.commit(&batch);
    assert!(matches!(refused, Err(EngineError::TooLarge(_))));
    assert_eq!(engine.get(b"first").expect("get"), None);
    let mut batch = StateBatch::default();
    batch.put("k", vec![1u8; STATE_VALUE_BYTES_MAX - 1]);
    engine.commit(&batch).expect("commit");
}

fn attempts_of(engine: &dyn Engine, about: Option<Offset>, limit: usize) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    let mut visit = |bytes: &[u8]| {
        seen.push(bytes.to_vec());
        seen.len() < limit
    };
    engine.attempts(about, &mut visit).expect("attempts");
    seen
}

fn attempts_come_newest_first(fresh: Fresh<'_>) {
    let mut storage = fresh(Sizes::default());
    let engine = storage.open();
    assert!(attempts_of(&*engine, None, 9).is_empty());
    engine.append_attempts((1, 5), b"one").expect("append");
    engine.append_attempts((4, 9), b"two").expect("append");
    engine.append_attempts((2, 2), b"").expect("append");
    let check = |engine: &dyn Engine| {
        let all: [&[u8]; 3] = [b"", b"two", b"one"];
        assert_eq!(attempts_of(engine, None, 9), all);
        assert_eq!(attempts_of(engine, None, 2), all[..2]);
        assert_eq!(attempts_of(engine, Some(5), 9), all[1..]);
        assert_eq!(attempts_of(engine, Some(2), 9), [all[0], all[2]]);
        assert!(attempts_of(engine, Some(10), 9).is_empty());
    };
    check(&*engine);
    engine.close().expect("close");
    drop(engine);
    check(&*storage.open());
}

fn old_attempts_give_way(fresh: Fresh<'_>) {
    let mut storage = fresh(Sizes {
        attempts_bytes: 200_000,
        ..Sizes::default()
    });
    let engine = storage.open();
    for i in 0..1000u64 {
        let bytes = vec![i as u8; 1000];
        engine.append_attempts((i, i), &bytes).expect("append");
    }
    let kept = attempts_of(&*engine, None, usize::MAX);
    assert!((50..=200).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept[0], vec![999u64 as u8; 1000]);
    assert_eq!(kept[kept.len() - 1][0], (1000 - kept.len()) as u8);
    engine.close().expect("close");
    drop(engine);
    let again = attempts_of(&*storage.open(), None, usize::MAX);
    assert!(again.len() <= kept.len() && again.len() >= 50);
    assert_eq!(again, kept[..again.len()]);
}

fn readers_see_whole_appends_only(fresh: Fresh<'_>) {
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
