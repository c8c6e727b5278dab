//! Cutting what is left of a volume out of its blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::{self, Engine, EngineError};
use crate::ids::Offset;
use crate::log::account::{BySource, Kept};
use crate::log::block::{self, Block, Entry, Index};
use crate::log::codec;

use super::Volumes;

/// What is written must stay below this part of what goes.
const PART: u64 = 2;
/// Free space that is left alone, however little is written.
const ROOM: u64 = 8 << 20;

/// Replaces volumes by what is left of them; answers how much of each source that is.
///
/// # Errors
/// The engine's; [`EngineError::Damaged`] when something that is left cannot be read,
/// [`EngineError::TooLarge`] when it would take too much of the disk, and [`EngineError::Busy`] once
/// `stops` says so. The volumes are as they were.
pub fn carry(
    engine: &dyn Engine,
    volumes: Volumes,
    left: &[Offset],
    stops: &dyn Fn() -> bool,
) -> Result<BySource, EngineError> {
    let mut cutter = Cutter {
        engine,
        left,
        source: None,
        kept: BTreeMap::new(),
        stops,
        bytes: 0,
        bytes_max: volumes.bytes / PART,
    };
    if volumes.first != volumes.last {
        // they become one for its own sake
        cutter.bytes_max = volumes.bytes + volumes.bytes / PART;
    }
    if let Some(space) = engine.space()
        && space.free < cutter.bytes_max.saturating_add(ROOM)
    {
        return Err(EngineError::TooLarge(format!(
            "{} bytes are free; up to {} may be needed",
            space.free,
            cutter.bytes_max + ROOM
        )));
    }
    engine.rewrite_volumes(volumes.first, volumes.last, &mut || cutter.next())?;
    Ok(cutter.kept.into_iter().collect())
}

/// Hands out what is left, as blocks.
struct Cutter<'a> {
    engine: &'a dyn Engine,
    /// Still to be handed out, in order.
    left: &'a [Offset],
    /// The block that is being cut.
    source: Option<Source>,
    /// Handed out so far.
    kept: BTreeMap<Arc<str>, Kept>,
    stops: &'a dyn Fn() -> bool,
    bytes: u64,
    bytes_max: u64,
}

struct Source {
    block: Block,
    index: Index,
}

impl Cutter<'_> {
    fn next(&mut self) -> Result<Option<engine::Block>, EngineError> {
        while let Some(&first) = self.left.first() {
            if (self.stops)() {
                return Err(EngineError::Busy("the log is closing".to_owned()));
            }
            if !self.find(first)? {
                // it was lost before: the gap is recorded
                self.left = &self.left[1..];
                continue;
            }
            let block = self.cut(first)?;
            self.bytes += block.bytes.len() as u64;
            if self.bytes > self.bytes_max {
                return Err(EngineError::TooLarge(format!(
                    "what is left is more than {} bytes",
                    self.bytes_max
                )));
            }
            return Ok(Some(block));
        }
        Ok(None)
    }

    /// Makes the block that holds an offset the one being cut; whether there is one.
    fn find(&mut self, offset: Offset) -> Result<bool, EngineError> {
        let holds = |s: &Source| s.block.first() <= offset && offset < s.block.end();
        if self.source.as_ref().is_some_and(holds) {
            return Ok(true);
        }
        let stored = self.engine.read(offset, 1)?.into_iter().next();
        let Some(stored) = stored.filter(|b| b.first <= offset && offset < b.end()) else {
            return Ok(false);
        };
        let damaged = |e: block::BlockError| {
            EngineError::Damaged(format!("block at offset {}: {e}", stored.first))
        };
        let index = stored.bytes.get(..stored.index_bytes as usize);
        self.source = Some(Source {
            block: Block::open(&stored).map_err(damaged)?,
            index: Index::decode(index.unwrap_or_default()).map_err(damaged)?,
        });
        Ok(true)
    }

    /// Cuts out what is left from `first` on without a hole.
    fn cut(&mut self, first: Offset) -> Result<engine::Block, EngineError> {
        let Some(source) = &self.source else {
            return Err(EngineError::Failed("no block to cut".to_owned()));
        };
        let wanted = (first..source.block.end()).zip(self.left);
        let count = wanted.take_while(|(offset, left)| offset == *left).count();
        let end = first + count as u64;
        self.left = &self.left[count..];
        let entries: Vec<Entry> = (first..end)
            .map(|offset| source.entry(offset))
            .collect::<Result<_, _>>()?;
        for entry in &entries {
            *self.kept.entry(entry.source.clone()).or_default() += Kept {
                deliveries: 1,
                bytes: entry.record.len() as u64,
                estimated_bytes: 0,
            };
        }
        Ok(block::encode(first, &entries))
    }
}

impl Source {
    fn entry(&self, offset: Offset) -> Result<Entry, EngineError> {
        let damaged = |why: &str| EngineError::Damaged(format!("delivery {offset}: {why}"));
        let record = self
            .block
            .peek(offset)
            .ok_or_else(|| damaged("not there"))?;
        let envelope = codec::envelope(record).map_err(|e| damaged(&e.to_string()))?;
        let key = self.index.keys.iter().find(|(at, _)| *at == offset);
        Ok(Entry {
            source: envelope.source.into(),
            received_at: envelope.received_at,
            key: key.map(|(_, key)| *key),
            record: record.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::{MemoryEngine, MemorySettings};
    use crate::log::keys::KeyMark;
    use crate::testkit::sample;
    use crate::time::Timestamp;

    fn entry(offset: Offset, body: usize) -> Entry {
        let source = if offset.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        };
        let at = Timestamp(1000 + offset);
        let delivery = sample::delivery(source, vec![offset as u8; body], at);
        Entry {
            record: codec::encode(&delivery).unwrap(),
            source: source.into(),
            received_at: at,
            key: Some(KeyMark {
                key: u128::from(offset),
                digest: 5,
            }),
        }
    }

    /// Volumes of four blocks of ten deliveries each.
    fn engine() -> MemoryEngine {
        let settings = MemorySettings {
            volume_bytes: 40 * 480,
            ..MemorySettings::default()
        };
        let engine = MemoryEngine::new(settings, 1);
        for first in (1..=150).step_by(10) {
            let entries: Vec<Entry> = (first..first + 10).map(|o| entry(o, 400)).collect();
            engine.append(&[block::encode(first, &entries)]).unwrap();
        }
        engine
    }

    fn volumes(engine: &MemoryEngine, first: usize, last: usize) -> Volumes {
        let all = engine.volumes();
        Volumes {
            first: all[first].number,
            last: all[last].number,
            span: (all[first].first, all[last].end),
            bytes: all[first..=last].iter().map(|v| v.bytes).sum(),
        }
    }

    #[test]
    fn what_is_left_keeps_its_offset_bytes_source_time_and_key() {
        let engine = engine();
        let volume = volumes(&engine, 0, 0);
        let left = [1, 2, 3, 12, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30];
        let before: Vec<Vec<u8>> = left.iter().map(|&o| entry(o, 400).record).collect();
        let kept = carry(&engine, volume, &left, &|| false).unwrap();
        let counts: Vec<_> = kept
            .iter()
            .map(|(s, kept)| (&**s, kept.deliveries))
            .collect();
        assert_eq!(counts, [("even", 8), ("odd", 7)]);
        let bytes: u64 = kept.iter().map(|(_, kept)| kept.bytes).sum();
        assert_eq!(bytes, before.iter().map(|r| r.len() as u64).sum::<u64>());
        let mut found = Vec::new();
        let entries = engine.index(volume.first).unwrap();
        let spans: Vec<_> = entries.iter().map(|e| (e.first, e.count)).collect();
        assert_eq!(spans, [(1, 3), (12, 1), (20, 1), (21, 10)]);
        for entry in entries {
            let index = Index::decode(&entry.bytes).unwrap();
            let stored = engine.read(entry.first, 1).unwrap().remove(0);
            let block = Block::open(&stored).unwrap();
            for (place, offset) in (block.first()..block.end()).enumerate() {
                found.push((offset, block.record(offset).unwrap().to_vec()));
                assert_eq!(
                    index.keys[place],
                    (
                        offset,
                        KeyMark {
                            key: u128::from(offset),
                            digest: 5
                        }
                    )
                );
            }
            assert_eq!(index.received_min, Timestamp(1000 + block.first()));
            assert_eq!(index.received_max, Timestamp(1000 + block.end() - 1));
            let sources = if entry.count > 1 { 2 } else { 1 };
            assert_eq!(index.sources.len(), sources);
        }
        let wanted: Vec<_> = left.into_iter().zip(before).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn damage_and_too_much_leave_the_volume_as_it_is() {
        let engine = engine();
        let volume = volumes(&engine, 0, 0);
        let before = engine.read(1, usize::MAX).unwrap().len();
        let all: Vec<Offset> = (volume.span.0..volume.span.1).collect();
        let refused = carry(&engine, volume, &all, &|| false);
        assert!(
            matches!(refused, Err(EngineError::TooLarge(_))),
            "{refused:?}"
        );
        let stopped = carry(&engine, volume, &[1], &|| true);
        assert!(matches!(stopped, Err(EngineError::Busy(_))), "{stopped:?}");
        engine.damage(5);
        let refused = carry(&engine, volume, &[1, 5, 30], &|| false);
        assert!(
            matches!(refused, Err(EngineError::Damaged(_))),
            "{refused:?}"
        );
        // neighbours may become one without getting smaller
        carry(
            &engine,
            volumes(&engine, 1, 2),
            &(41..=120).collect::<Vec<_>>(),
            &|| false,
        )
        .unwrap();
        assert_eq!(engine.reopen().read(1, usize::MAX).unwrap().len(), before);
    }
}
