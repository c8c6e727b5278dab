//! Reading the log: recent blocks from memory, older ones from the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::engine::{Engine, EngineError};
use crate::ids::Offset;
use crate::log::block::Block;
use crate::log::spans::{Span, Spans};

/// How much is read from the engine at once.
const READ_BYTES: usize = 1 << 20;

/// The part of the log that has been committed, for reading.
pub struct Shelf {
    engine: Arc<dyn Engine>,
    height: AtomicU64,
    spans: RwLock<Spans>,
    recent: Mutex<Recent>,
    /// Every source that ever was in what is there: retention asks which of them have no route.
    sources: RwLock<BTreeSet<Arc<str>>>,
}

/// Blocks in memory, by first offset; the lowest go first.
struct Recent {
    blocks: BTreeMap<Offset, Arc<Block>>,
    bytes: usize,
    bytes_max: usize,
}

impl Recent {
    fn put(&mut self, block: Arc<Block>) {
        self.bytes += block.bytes();
        if let Some(old) = self.blocks.insert(block.first(), block) {
            self.bytes -= old.bytes();
        }
        while self.bytes > self.bytes_max && self.blocks.len() > 1 {
            if let Some((_, old)) = self.blocks.pop_first() {
                self.bytes -= old.bytes();
            }
        }
    }

    fn forget(&mut self, first: Offset, end: Offset) {
        let gone = self.blocks.extract_if(first..end, |_, _| true);
        self.bytes -= gone.map(|(_, block)| block.bytes()).sum::<usize>();
    }

    fn get(&self, offset: Offset) -> Option<Arc<Block>> {
        let (_, block) = self.blocks.range(..=offset).next_back()?;
        (offset < block.end()).then(|| block.clone())
    }
}

/// What a scan came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Where to go on.
    pub next: Offset,
    /// Offsets that could not be read: `.0 .. .1`.
    pub damaged: Option<(Offset, Offset)>,
}

impl Shelf {
    /// A shelf over an engine whose next offset is `height`, with the spans of what is there.
    pub fn new(
        engine: Arc<dyn Engine>,
        height: Offset,
        spans: Spans,
        sources: BTreeSet<Arc<str>>,
        recent_bytes_max: usize,
    ) -> Self {
        Self {
            engine,
            height: AtomicU64::new(height),
            spans: RwLock::new(spans),
            recent: Mutex::new(Recent {
                blocks: BTreeMap::new(),
                bytes: 0,
                bytes_max: recent_bytes_max,
            }),
            sources: RwLock::new(sources),
        }
    }

    /// The engine underneath.
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// One past the last committed offset: nothing at or above it is lent or shown.
    pub fn height(&self) -> Offset {
        self.height.load(Ordering::SeqCst)
    }

    /// The spans of what is there.
    pub fn spans(&self) -> parking_lot::RwLockReadGuard<'_, Spans> {
        self.spans.read()
    }

    /// Sources that are or were in the log.
    pub fn sources(&self) -> Vec<Arc<str>> {
        self.sources.read().iter().cloned().collect()
    }

    /// A source is in the log from now on.
    pub fn note_source(&self, source: &Arc<str>) {
        if !self.sources.read().contains(source) {
            self.sources.write().insert(source.clone());
        }
    }

    /// Blocks have been committed.
    pub fn committed(&self, blocks: Vec<(Span, Block)>) {
        let Some(height) = blocks.last().map(|(span, _)| span.end) else {
            return;
        };
        {
            let mut spans = self.spans.write();
            let mut recent = self.recent.lock();
            for (span, block) in blocks {
                spans.push(span);
                recent.put(Arc::new(block));
            }
        }
        self.height.store(height, Ordering::SeqCst);
    }

    /// A volume has gone.
    pub fn removed(&self, first: Offset, end: Offset) {
        self.spans.write().remove(first, end);
    }

    /// Of `first .. end` only `left` counts as there. Answers what was there.
    pub fn replaced(&self, first: Offset, end: Offset, left: Vec<Span>) -> Vec<Span> {
        let mut spans = self.spans.write();
        // blocks in memory hold what does not count any more
        self.recent.lock().forget(first, end);
        spans.replace(first, end, left)
    }

    /// Shows `visit` every record at or after `from` in spans that may hold a source (`bit`), in
    /// order, until it breaks or the end is reached.
    ///
    /// # Errors
    /// The engine's, but for damage, which ends the scan and is reported in the answer.
    pub fn scan(
        &self,
        from: Offset,
        bit: u64,
        visit: &mut dyn FnMut(Offset, &Block) -> ControlFlow<()>,
    ) -> Result<Scanned, EngineError> {
        let height = self.height();
        let mut at = from;
        loop {
            let Some(span) = self
                .spans()
                .next_with(at, bit)
                .filter(|span| span.first < height)
            else {
                return Ok(Scanned {
                    next: height.max(at),
                    damaged: None,
                });
            };
            at = span.first;
            let blocks = match self.blocks(at, span.end) {
                Ok(blocks) => blocks,
                Err(EngineError::Damaged(what)) => {
                    let end = self.readable_after(at, span.end);
                    tracing::error!(first = at, end, %what, "part of the log cannot be read");
                    return Ok(Scanned {
                        next: end,
                        damaged: Some((at, end)),
                    });
                }
                Err(error) => return Err(error),
            };
            // a volume may have gone since the span was looked up
            if blocks.is_empty() {
                at = span.end;
            }
            for block in blocks {
                for offset in block.first().max(at)..block.end().min(height) {
                    at = offset + 1;
                    if visit(offset, &block).is_break() {
                        return Ok(Scanned {
                            next: at,
                            damaged: None,
                        });
                    }
                }
            }
        }
    }

    /// The record at an offset; `None` when it is not there (any more).
    ///
    /// # Errors
    /// The engine's.
    pub fn record(&self, offset: Offset) -> Result<Option<Bytes>, EngineError> {
        if offset >= self.height() {
            return Ok(None);
        }
        let blocks = self.blocks(offset, offset + 1)?;
        Ok(blocks.iter().find_map(|block| block.record(offset)))
    }

    /// Blocks from `from` on that begin below `end`: one from memory, or some from the engine.
    fn blocks(&self, from: Offset, end: Offset) -> Result<Vec<Arc<Block>>, EngineError> {
        if let Some(block) = self.recent.lock().get(from) {
            return Ok(vec![block]);
        }
        let wanted = if end - from > 1 { READ_BYTES } else { 1 };
        let mut blocks = Vec::new();
        for stored in self.engine.read(from, wanted)? {
            if stored.first >= end {
                break;
            }
            let block = Block::open(&stored).map_err(|e| {
                EngineError::Damaged(format!("block at offset {}: {e}", stored.first))
            })?;
            blocks.push(Arc::new(block));
        }
        Ok(blocks)
    }

    fn readable_after(&self, damaged: Offset, end: Offset) -> Offset {
        (damaged + 1..end)
            .find(|&at| self.blocks(at, at + 1).is_ok_and(|b| !b.is_empty()))
            .unwrap_or(end)
    }
}
