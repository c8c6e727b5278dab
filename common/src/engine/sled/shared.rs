//! What the engine's calls and its own threads share: appending, reading, ending.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::attempts::Attempts;
use super::chain::{self, Chain};
use super::name::VolumeName;
use super::offsets::{Marks, OffsetsFile, RESERVED};
use super::pins::Pins;
use super::recovery::gap;
use super::room::Ballast;
use super::spans::Spans;
use super::state::State;
use super::volume::Volume;
use super::watch::{Lane, Watch};
use super::{SledSettings, database, index};
use crate::engine::{Block, EngineError, Gap, Opened};
use crate::ids::Offset;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: SledSettings,
    pub(super) opened: Opened,
    pub(super) files: PathBuf,
    pub(super) chain: Chain,
    /// Held while a volume is removed.
    pub(super) pins: Pins,
    /// Held while a backup is taken.
    pub(super) backing_up: Mutex<()>,
    pub(super) writer: Mutex<Writer>,
    /// The next volume, made ahead; held while it is being made.
    pub(super) prepared: Mutex<Option<Arc<Volume>>>,
    /// The next offset, of what is durable.
    pub(super) next: AtomicU64,
    /// No offset at or above this may be used yet.
    pub(super) ceiling: AtomicU64,
    pub(super) offsets: Mutex<OffsetsFile>,
    pub(super) spans: Mutex<Spans>,
    pub(super) state: State,
    pub(super) attempts: Attempts,
    pub(super) ballast: Ballast,
    pub(super) watch: Watch,
    pub(super) taking: Mutex<Taking>,
    /// What takes long gives up.
    pub(super) stopping: AtomicBool,
    /// Volumes in which damage was found, of which a copy is to be kept.
    pub(super) hurt: Mutex<BTreeSet<u64>>,
}

/// Whether the log takes more.
#[derive(Debug)]
pub(super) enum Taking {
    Open,
    Closed,
    /// After the first error, which is final.
    Failed(String),
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) current: Arc<Volume>,
    pub(super) scratch: Vec<u8>,
}

impl Shared {
    /// Syncs a ceiling well above `from`, and the high-water mark.
    pub(super) fn reserve(&self, from: Offset) -> Result<(), EngineError> {
        let mut offsets = self.offsets.lock();
        offsets.write(Marks {
            ceiling: from + RESERVED,
            high: self.next.load(Ordering::Acquire),
            clean: false,
        })?;
        let ceiling = offsets.marks().ceiling;
        self.ceiling.store(ceiling, Ordering::Release);
        Ok(())
    }

    /// The next offset, of what is durable.
    pub(super) fn next(&self) -> Offset {
        self.next.load(Ordering::Acquire)
    }

    /// No offset at or above this may have been used.
    pub(super) fn ceiling(&self) -> Offset {
        self.ceiling.load(Ordering::Acquire)
    }

    pub(super) fn refuse_stopped(&self) -> Result<(), EngineError> {
        match &*self.taking.lock() {
            Taking::Open => Ok(()),
            Taking::Closed => Err(EngineError::Failed("the log is closed".to_owned())),
            Taking::Failed(why) => Err(EngineError::Failed(why.clone())),
        }
    }

    /// Runs what writes; its first error or panic is final.
    pub(super) fn write_or_stop(
        &self,
        write: impl FnOnce() -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let written = catch_unwind(AssertUnwindSafe(write))
            .unwrap_or_else(|p| Err(EngineError::Failed(database::panic_text(&*p))));
        if let Err(e) = &written {
            *self.taking.lock() = Taking::Failed(e.to_string());
        }
        written
    }

    /// Whether a volume was begun.
    pub(super) fn append(
        &self,
        writer: &mut Writer,
        blocks: &[Block],
    ) -> Result<bool, EngineError> {
        let _watched = self.watch.begin(Lane::Append);
        let mut next = self.next.load(Ordering::Acquire);
        for block in blocks {
            block.check(next)?;
            next = block.end();
        }
        if next > self.ceiling.load(Ordering::Acquire) {
            self.reserve(next)?;
        }
        let rotated = self.rotate(writer)?;
        let mut refs = Vec::with_capacity(blocks.len());
        for block in blocks {
            refs.push(writer.current.insert(block, &mut writer.scratch)?);
        }
        writer.current.flush()?;
        writer.current.publish(blocks, &refs);
        self.next.store(next, Ordering::Release);
        Ok(rotated)
    }

    /// Begins the next volume when the current one is full.
    pub(super) fn rotate(&self, writer: &mut Writer) -> Result<bool, EngineError> {
        let is_empty = writer.current.span().is_none();
        if is_empty || writer.current.db_bytes() < self.settings.volume_bytes {
            return Ok(false);
        }
        // held until the number is given out: one prepared meanwhile would come before this one
        let mut prepared = self.prepared.lock();
        let volume = match prepared.take() {
            Some(volume) => volume,
            None => self.make_volume()?,
        };
        drop(prepared);
        self.chain.push(volume.clone());
        writer.current = volume;
        Ok(true)
    }

    pub(super) fn make_volume(&self) -> Result<Arc<Volume>, EngineError> {
        let name = VolumeName::new(self.chain.new_number());
        chain::make_volume(self.chain.dir(), name).map(Arc::new)
    }

    /// Blocks of one volume from `from` on; `false` when more of it did not fit.
    pub(super) fn read_volume(
        &self,
        number: u64,
        from: Offset,
        bytes_max: usize,
        found: &mut Vec<Block>,
    ) -> Result<bool, EngineError> {
        let taken: usize = found.iter().map(|b| b.bytes.len()).sum();
        let volume = self.chain.volume(number).inspect_err(|e| {
            self.note_damage(number, e, self.chain.span(number));
        })?;
        let (mut refs, all) = volume.refs_from(from, bytes_max.saturating_sub(taken));
        if refs.is_empty() && found.is_empty() {
            refs.extend(volume.ref_at(from));
        }
        let whole = all || refs.last().map(index::BlockRef::end) == volume.span().map(|s| s.1);
        for block in refs {
            let read = volume.read_block(block).inspect_err(|e| {
                self.note_damage(number, e, Some((block.first, block.end())));
            });
            found.push(read?);
        }
        Ok(whole)
    }

    pub(super) fn read_chain(
        &self,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Block>, EngineError> {
        let mut found = Vec::new();
        for number in self.chain.from(from) {
            match self.read_volume(number, from, bytes_max, &mut found) {
                Ok(true) => {}
                Ok(false) => break,
                // removed meanwhile
                Err(_) if self.chain.span(number).is_none() => {}
                Err(e) if found.is_empty() => return Err(e),
                Err(_) => break,
            }
        }
        Ok(found)
    }

    /// Records offsets that turned out to be unreadable.
    pub(super) fn note_damage(
        &self,
        number: u64,
        error: &EngineError,
        span: Option<(Offset, Offset)>,
    ) {
        let (EngineError::Damaged(_), Some((first, end))) = (error, span) else {
            return;
        };
        self.hurt.lock().insert(number);
        tracing::error!(%error, first, end, "lost");
        self.note_lost(&[(first, end)]);
    }

    /// Records what reading found missing in volumes.
    pub(super) fn note_missing(&self) {
        let missing = self.chain.take_missing();
        if !missing.is_empty() {
            tracing::error!(?missing, "lost");
            self.note_lost(&missing);
        }
    }

    /// Records that a volume goes. That takes a little room, and gives back much: on a full disk the
    /// ballast is what it is for.
    pub(super) fn record_removed(&self, span: (Offset, Offset)) -> Result<(), EngineError> {
        let record = || self.spans.lock().add_removed(span.0, span.1);
        match record() {
            Err(_) if self.ballast.give_away() => record(),
            recorded => recorded,
        }
    }

    pub(super) fn note_lost(&self, spans: &[(Offset, Offset)]) {
        let gaps: Vec<Gap> = spans
            .iter()
            .map(|&(first, end)| gap(first, end, true))
            .collect();
        if let Err(e) = self.spans.lock().add_gaps(&gaps) {
            tracing::error!(error = %e, "cannot record what is lost");
        }
    }

    pub(super) fn raise(&self, at_least: Offset) -> Result<(), EngineError> {
        let next = self.next.load(Ordering::Acquire);
        if at_least <= next {
            return Ok(());
        }
        let target = at_least.max(self.ceiling.load(Ordering::Acquire));
        let mut gaps = vec![gap(next, at_least, true)];
        if at_least < target {
            gaps.push(gap(at_least, target, false));
        }
        self.spans.lock().add_gaps(&gaps)?;
        self.next.store(target, Ordering::Release);
        self.reserve(target)
    }

    /// Syncs everything and marks the shutdown clean.
    pub(super) fn finish(&self) -> Result<(), EngineError> {
        let writer = self.writer.lock();
        self.refuse_stopped()?;
        *self.taking.lock() = Taking::Closed;
        let _watched = self.watch.begin(Lane::Append);
        writer.current.flush()?;
        self.state.flush()?;
        self.chain.seal_full()?;
        self.attempts.sync()?;
        self.offsets.lock().write(Marks {
            ceiling: 0,
            high: self.next.load(Ordering::Acquire),
            clean: true,
        })
    }
}
