//! The conformance suite that every engine is run through.
//!
//! [`engine_conformance`] runs all of [`CHECKS`], which are in a file per subject;
//! [`histories_agree`] plays random histories, with crashes and reopenings, against a model.

mod attempts;
mod blocks;
mod model;
mod opening;
mod state;
mod volumes;

use std::sync::Arc;

use bytes::Bytes;

pub use self::model::histories_agree;
pub use self::volumes::hand_out;
use crate::engine::{Block, Engine};
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
    ("a_new_log_is_empty", opening::a_new_log_is_empty),
    (
        "what_was_appended_is_read",
        blocks::what_was_appended_is_read,
    ),
    (
        "a_block_in_the_middle_is_found_by_any_of_its_offsets",
        blocks::a_block_is_found_by_its_offsets,
    ),
    (
        "read_stops_at_its_bound_but_gives_one",
        blocks::read_stops_at_its_bound_but_gives_one,
    ),
    (
        "blocks_of_every_size_come_back",
        blocks::blocks_of_every_size_come_back,
    ),
    (
        "a_block_out_of_turn_is_refused",
        blocks::a_block_out_of_turn_is_refused,
    ),
    (
        "the_index_is_the_start_of_each_block",
        blocks::the_index_is_the_start_of_each_block,
    ),
    (
        "volumes_follow_each_other",
        volumes::volumes_follow_each_other,
    ),
    (
        "a_removed_volume_is_a_hole",
        volumes::a_removed_volume_is_a_hole,
    ),
    (
        "rewritten_volumes_hold_what_is_left",
        volumes::rewritten_volumes_hold_what_is_left,
    ),
    (
        "a_failed_rewrite_changes_nothing",
        volumes::a_failed_rewrite_changes_nothing,
    ),
    (
        "reopening_keeps_everything",
        opening::reopening_keeps_everything,
    ),
    (
        "only_a_closed_log_opens_clean",
        opening::only_a_closed_log_opens_clean,
    ),
    (
        "a_closed_log_takes_nothing_more",
        opening::a_closed_log_takes_nothing_more,
    ),
    (
        "raising_skips_offsets_and_records_a_gap",
        opening::raising_skips_offsets_and_records_a_gap,
    ),
    (
        "a_state_batch_applies_in_order",
        state::a_state_batch_applies_in_order,
    ),
    (
        "a_scan_is_ordered_and_bounded",
        state::a_scan_is_ordered_and_bounded,
    ),
    (
        "a_state_entry_too_large_changes_nothing",
        state::a_state_entry_too_large_changes_nothing,
    ),
    (
        "attempts_come_newest_first",
        attempts::attempts_come_newest_first,
    ),
    ("old_attempts_give_way", attempts::old_attempts_give_way),
    (
        "readers_see_whole_appends_only",
        blocks::readers_see_whole_appends_only,
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

/// Small enough that a few dozen blocks of 10 kB fill several volumes of any engine.
const SMALL: Sizes = Sizes {
    volume_bytes: 40_000,
    attempts_bytes: 16 << 20,
};
