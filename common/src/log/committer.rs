//! The committer: one thread that makes deliveries durable, many at a time.
//!
//! It takes what is waiting ([`lines`](super::lines)), puts it into blocks, has the engine sync once,
//! and only then answers. While one sync is under way the next commit gathers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;
use tokio::sync::{oneshot, watch};

use crate::engine::{self, Engine, EngineError};
use crate::ids::{DeliveryId, LogId, Offset};
use crate::log::block::{self, Block, Entry};
use crate::log::gate::Gate;
use crate::log::keeper::Keeper;
use crate::log::keys::{Frozen, Horizon, KeyTable, Runs, Seen, Verdict, judge};
use crate::log::lines::Lines;
use crate::log::shelf::Shelf;
use crate::log::spans::{Span, source_bit};
use crate::log::{AppendError, Appended, Observer};
use crate::time::Timestamp;

/// The runs have to be asked again.
pub const ASK_RUNS: u64 = u64::MAX;

/// One delivery that waits to become durable.
pub struct Pending {
    /// What goes into the block.
    pub entry: Entry,
    /// A key seen before this time no longer makes a repeat.
    pub since: Timestamp,
    /// [`Runs::written`] when the runs said they do not know the key; [`ASK_RUNS`] otherwise.
    pub runs_asked: u64,
    /// Gets the answer.
    pub reply: oneshot::Sender<Result<Appended, AppendError>>,
}

/// Everything the thread needs.
pub struct Committer {
    /// Storage.
    pub engine: Arc<dyn Engine>,
    /// Where committed blocks are shown.
    pub shelf: Arc<Shelf>,
    /// The keys in memory.
    pub table: KeyTable,
    /// The keys on disk, where there is a disk.
    pub runs: Option<Arc<Runs>>,
    /// Counts new keys.
    pub horizon: Arc<Horizon>,
    /// Writes frozen tables.
    pub keeper: Keeper,
    /// Space and stop.
    pub gate: Arc<Gate>,
    /// Is told of commits.
    pub observer: Arc<dyn Observer>,
    /// Shows whoever looks that the thread lives: told each time it comes round.
    pub turns: watch::Sender<()>,
    /// Rung after each commit.
    pub bell: Box<dyn Fn() + Send>,
    /// Told once, when the engine failed.
    pub on_failure: Arc<dyn Fn(&EngineError) + Send + Sync>,
}

/// Takes and drops what still comes, until the other end is gone: who asked is told that the log
/// has stopped. A delivery that passed the gate a moment before it closed would else lie in the
/// inbox for ever, and its sender would wait for an answer.
fn refuse(inbox: &Receiver<Pending>) {
    while let Ok(pending) = inbox.recv() {
        drop(pending);
    }
}

impl Committer {
    /// Commits until the other end of `inbox` is gone or the engine fails.
    pub fn run(mut self, inbox: &Receiver<Pending>) {
        let log = self.engine.opened().log;
        let mut next = self.shelf.height();
        let mut lines = Lines::default();
        while let Some(gathered) = lines.gather(inbox) {
            if let Err(error) = self.commit(log, &mut next, gathered) {
                self.gate.stop();
                (self.on_failure)(&error);
                drop(lines);
                refuse(inbox);
                return;
            }
            self.keep_keys(next);
            self.turns.send_replace(());
        }
    }

    fn commit(
        &mut self,
        log: LogId,
        next: &mut Offset,
        gathered: Vec<Pending>,
    ) -> Result<(), EngineError> {
        let mut batch = Batch {
            log,
            next: *next,
            entries: Vec::new(),
            answers: Vec::new(),
        };
        for pending in gathered {
            self.admit(pending, &mut batch);
        }
        if !batch.entries.is_empty() {
            self.store(*next, &batch.entries)?;
            *next = batch.next;
            (self.bell)();
        }
        for (reply, appended) in batch.answers {
            // the sender may have hung up; its delivery is kept all the same
            let _ = reply.send(Ok(appended));
        }
        Ok(())
    }

    /// Gives a delivery its offset, or finds it to be a repeat.
    fn admit(&mut self, pending: Pending, batch: &mut Batch) {
        let Pending {
            entry,
            since,
            runs_asked,
            reply,
        } = pending;
        let verdict = self.judge(&entry, since, runs_asked);
        if let Verdict::Repeat(offset) = verdict {
            self.observer.duplicate(&entry.source);
            batch.answers.push((reply, batch.appended(offset, true)));
            return;
        }
        if verdict == Verdict::Conflict {
            self.observer.key_conflict(&entry.source);
        }
        let offset = batch.next;
        if let Some(mark) = entry.key {
            self.table.note(mark, verdict, offset, entry.received_at);
            self.horizon.note();
        }
        batch.next += 1;
        batch.answers.push((reply, batch.appended(offset, false)));
        batch.entries.push(entry);
    }

    fn judge(&self, entry: &Entry, since: Timestamp, runs_asked: u64) -> Verdict {
        let Some(mark) = entry.key else {
            return Verdict::New;
        };
        let Some(runs) = &self.runs else {
            return self.table.judge(mark, since);
        };
        // the runs know the key, or have got keys from memory since they were asked
        let ask_runs = runs.written() != runs_asked;
        let is_kept = |seen: &Seen| !runs.is_lost(seen.offset);
        let seen = |key| {
            let in_table = self.table.get(key).filter(is_kept);
            let in_runs = || ask_runs.then(|| runs.get(key)).flatten();
            Ok::<_, Infallible>(in_table.or_else(in_runs))
        };
        judge(mark, since, seen).unwrap_or_else(|never| match never {})
    }

    fn store(&self, first: Offset, entries: &[Entry]) -> Result<(), EngineError> {
        let best = self.engine.block_bytes_best();
        let mut blocks = Vec::new();
        let mut spans = Vec::new();
        let mut shares = Vec::new();
        let mut at = first;
        for part in parts(entries, best) {
            blocks.push(block::encode(at, part));
            spans.push(span(at, part));
            shares.push((at, block::shares(part)));
            at += part.len() as u64;
        }
        let began = Instant::now();
        self.engine.append(&blocks)?;
        let bytes = blocks.iter().map(|block| block.bytes.len()).sum();
        self.observer
            .committed(entries.len(), bytes, began.elapsed());
        for entry in entries {
            self.shelf.note_source(&entry.source);
        }
        self.shelf
            .committed(spans.into_iter().zip(blocks.iter().map(opened)).collect());
        self.gate.wrote(shares, bytes);
        Ok(())
    }

    /// Has a full table written, or a small one that retention waits for.
    fn keep_keys(&mut self, next: Offset) {
        let Some(runs) = &self.runs else { return };
        self.table.drop_covered(runs.end());
        let frozen: Option<Arc<Frozen>> = self.table.freeze(next, self.keeper.wants_keys());
        if let Some(frozen) = frozen {
            self.keeper.write_keys(frozen);
        }
        self.keeper.keys_covered(if self.table.is_empty() {
            next
        } else {
            runs.end()
        });
    }
}

struct Batch {
    log: LogId,
    next: Offset,
    entries: Vec<Entry>,
    answers: Vec<(oneshot::Sender<Result<Appended, AppendError>>, Appended)>,
}

impl Batch {
    fn appended(&self, offset: Offset, duplicate: bool) -> Appended {
        Appended {
            id: DeliveryId {
                log: self.log,
                offset,
            },
            duplicate,
        }
    }
}

/// Cuts entries into parts that make blocks of about `best` bytes; one that is larger is alone.
fn parts(entries: &[Entry], best: usize) -> Vec<&[Entry]> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, entry) in entries.iter().enumerate() {
        // what a delivery adds to a block besides its record: its length and its key
        let more = entry.record.len() + 40;
        if at > start && bytes + more > best.saturating_sub(BLOCK_HEAD) {
            parts.push(&entries[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += more;
    }
    parts.push(&entries[start..]);
    parts
}

/// Room for a block's own head with a few source names.
const BLOCK_HEAD: usize = 256;

fn span(first: Offset, entries: &[Entry]) -> Span {
    let received = entries.iter().map(|entry| entry.received_at);
    Span {
        first,
        end: first + entries.len() as u64,
        count: entries.len() as u64,
        sources: entries
            .iter()
            .fold(0, |mask, entry| mask | source_bit(&entry.source)),
        received_min: received.clone().min().unwrap_or_default(),
        received_max: received.max().unwrap_or_default(),
    }
}

fn opened(block: &engine::Block) -> Block {
    Block::trusted(block).expect("a block that was just encoded has its shape")
}
