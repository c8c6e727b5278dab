//! Visits everything in the log, in order, around what is damaged.

use creel_common::delivery::Delivery;
use creel_common::engine::{Engine, EngineError};
use creel_common::ids::Offset;
use creel_common::log::block::Block;
use creel_common::log::codec;
use serde::Serialize;

/// Bytes read from the log at once.
const READ_BYTES: usize = 8 << 20;

/// Damaged offsets, both ends in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Range {
    /// The first of them.
    pub first: Offset,
    /// The last of them.
    pub last: Offset,
    /// What is wrong with them.
    pub reason: String,
}

/// What is found.
pub enum Piece {
    /// A delivery.
    Delivery(Offset, Delivery),
    /// Something that cannot be read.
    Damage(Range),
}

/// Visits everything from `from` on, in order.
///
/// # Errors
/// What `visit` answers, or an engine that fails altogether.
pub fn read(
    engine: &dyn Engine,
    mut from: Offset,
    visit: &mut dyn FnMut(Piece) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let next = engine.opened().next;
    while from < next {
        let blocks = match engine.read(from, READ_BYTES) {
            Ok(blocks) => blocks,
            Err(EngineError::Damaged(reason)) => {
                let after = block_after(engine, from).unwrap_or(next);
                visit(damage(from, after, reason))?;
                from = after;
                continue;
            }
            Err(error) => return Err(anyhow::anyhow!("the log cannot be read: {error}")),
        };
        if blocks.is_empty() {
            return Ok(());
        }
        for stored in &blocks {
            let end = stored.first + Offset::from(stored.count);
            match Block::open(stored) {
                Ok(block) => visit_block(&block, from, visit)?,
                Err(error) => visit(damage(stored.first.max(from), end, error.to_string()))?,
            }
            from = from.max(end);
        }
    }
    Ok(())
}

fn damage(first: Offset, end: Offset, reason: String) -> Piece {
    Piece::Damage(Range {
        first,
        last: end - 1,
        reason,
    })
}

fn visit_block(
    block: &Block,
    from: Offset,
    visit: &mut dyn FnMut(Piece) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for offset in block.first().max(from)..block.end() {
        let delivery = block
            .record(offset)
            .ok_or_else(|| "the block has no such record".to_owned())
            .and_then(|record| codec::decode(&record).map_err(|error| error.to_string()));
        visit(match delivery {
            Ok(delivery) => Piece::Delivery(offset, delivery),
            Err(reason) => damage(offset, offset + 1, reason),
        })?;
    }
    Ok(())
}

/// Where the first block after `offset` begins, as far as the indexes can be read.
fn block_after(engine: &dyn Engine, offset: Offset) -> Option<Offset> {
    engine
        .volumes()
        .iter()
        .filter(|volume| volume.end > offset)
        .find_map(|volume| match engine.index(volume.number) {
            Ok(entries) => entries
                .iter()
                .map(|e| e.first)
                .find(|&first| first > offset),
            Err(_) => (volume.first > offset).then_some(volume.first),
        })
}
