//! What is done beside the appends, every second and every ten.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use super::offsets::{Marks, RESERVED};
use super::room::Disk;
use super::shared::Shared;
use super::watch::{Call, Ticker};
use crate::engine::EngineError;

/// How often the high-water mark and the attempts are synced.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether the state store has grown.
const COMPACT_EVERY: Duration = Duration::from_secs(10);
/// Free space that is left alone by that.
const ROOM_TO_COMPACT: u64 = 64 << 20;
/// How often syncs under way are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The engine's own threads.
#[derive(Debug)]
pub(super) struct Threads {
    keeper: Mutex<Ticker>,
    compacter: Mutex<Ticker>,
    watcher: Mutex<Ticker>,
    call_keeper: Call,
}

impl Threads {
    /// Starts them.
    pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let call_keeper = Call::new();
        let kept = shared.clone();
        let keeper = Ticker::start("log keeper", HOUSEKEEPING_EVERY, &call_keeper, move || {
            kept.keep_house();
        })?;
        let compacted = shared.clone();
        let compacter = Ticker::start("log compacter", COMPACT_EVERY, &Call::new(), move || {
            compacted.compact();
        })?;
        let watched = shared.clone();
        let watcher = Ticker::start("log watch", WATCH_EVERY, &Call::new(), move || {
            watched.watch.check();
        })?;
        Ok(Self {
            keeper: Mutex::new(keeper),
            compacter: Mutex::new(compacter),
            watcher: Mutex::new(watcher),
            call_keeper,
        })
    }

    /// Has it looked now what is to be done.
    pub(super) fn call_keeper(&self) {
        self.call_keeper.now();
    }

    /// Ends those that change anything.
    pub(super) fn stop_keeping(&self) {
        self.keeper.lock().stop();
        self.compacter.lock().stop();
    }

    /// Ends the one that looks at syncs under way.
    pub(super) fn stop_watching(&self) {
        self.watcher.lock().stop();
    }
}

impl Shared {
    /// One round of what has to be done beside the appends.
    pub(super) fn keep_house(&self) {
        self.keep_copies();
        let rounds = [
            ("mark offsets", self.mark()),
            ("seal volumes", self.chain.seal_full()),
            ("prepare the next volume", self.prepare()),
            ("sync attempts", self.attempts.sync()),
        ];
        for (what, done) in rounds {
            // a failed sync has ended the process; all else is tried again
            if let Err(e) = done {
                tracing::error!(error = %e, "cannot {what}");
            }
        }
        self.ballast.keep();
    }

    /// Has the state store rewritten when it has grown to several times what is in it.
    pub(super) fn compact(&self) {
        let free = Disk::of(&self.settings.path).map_or(u64::MAX, |disk| disk.free);
        // the new one is smaller, and goes beside the old one for a while
        if !self.state.has_grown() || free < self.state.bytes() + ROOM_TO_COMPACT {
            return;
        }
        if let Err(error) = self
            .state
            .compact(&|| self.stopping.load(Ordering::Acquire))
        {
            tracing::error!(%error, "the state store could not be rewritten");
        }
    }

    /// Beside the reads that found the damage: a copy may take long.
    pub(super) fn keep_copies(&self) {
        let hurt = std::mem::take(&mut *self.hurt.lock());
        hurt.into_iter()
            .for_each(|number| self.chain.keep_copy(number));
    }

    /// Syncs the high-water mark if it has moved, and a higher ceiling when half of it is used.
    fn mark(&self) -> Result<(), EngineError> {
        let next = self.next.load(Ordering::Acquire);
        let mut offsets = self.offsets.lock();
        let marks = offsets.marks();
        if marks.high >= next || marks.clean {
            return Ok(());
        }
        let used_up = next + RESERVED / 2 > marks.ceiling;
        offsets.write(Marks {
            ceiling: if used_up { next + RESERVED } else { 0 },
            high: next,
            clean: false,
        })?;
        let ceiling = offsets.marks().ceiling;
        self.ceiling.fetch_max(ceiling, Ordering::AcqRel);
        Ok(())
    }

    /// Makes the next volume once the current one is half full.
    fn prepare(&self) -> Result<(), EngineError> {
        let current = self.writer.lock().current.clone();
        if current.db_bytes() < self.settings.volume_bytes / 2 || current.span().is_none() {
            return Ok(());
        }
        let mut prepared = self.prepared.lock();
        if prepared.is_none() {
            *prepared = Some(self.make_volume()?);
        }
        Ok(())
    }
}
