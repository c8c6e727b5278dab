//! All runs of a log: looked up from any thread, written by one, merged by another.
//!
//! Runs lie in order of the offsets they cover, the newest last. They grow by merging, four of about
//! one size into one, up to an eighth of `keys_max`; from then on they stay as they are. So what is
//! too old, or too much, goes by deleting the first ones, and a merge is never large for long.

mod found;
#[cfg(test)]
mod tests;

use std::fs::DirBuilder;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use self::found::{Found, set_aside};
use crate::engine::Gap;
use crate::ids::Offset;
use crate::log::keys::merge::Merge;
use crate::log::keys::page::Key;
use crate::log::keys::run::{Name, Run, RunError, RunWriter};
use crate::log::keys::table::{Frozen, TABLE_KEYS_MAX};
use crate::log::keys::{KeyMark, Seen, Verdict, judge};
use crate::time::Timestamp;

/// This many runs of about one size are merged into one.
const FAN_IN: usize = 4;
/// At most this many at once: a page of each is in memory.
const FAN_IN_MAX: usize = 16;
/// The largest runs hold at most about this part of all keys: as much goes at once.
const PARTS_MIN: u64 = 8;
/// Whether a merge shall stop is asked after so many keys.
const STOP_EVERY: u64 = 1 << 12;
/// Bytes that a key takes on disk, in pages, fences and filter.
const KEY_BYTES: u64 = 39;

/// All runs of a log.
#[derive(Debug)]
pub struct Runs {
    directory: PathBuf,
    keys_max: u64,
    runs: RwLock<Arc<Vec<Arc<Run>>>>,
    written: AtomicU64,
    written_bytes: AtomicU64,
    highest: AtomicU64,
    /// Deliveries that the disk lost: a sender that sends one of them again is no repeat.
    lost: RwLock<Arc<[Gap]>>,
    /// Offsets whose keys a damaged or missing run held: first and end.
    missing: Vec<(Offset, Offset)>,
    stopped: AtomicBool,
    wake: (Mutex<bool>, Condvar),
}

/// Keys in runs, and since when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stock {
    /// How many.
    pub keys: u64,
    /// When the oldest was received.
    pub oldest: Option<Timestamp>,
}

/// Makes a directory, and those above it, for this user only. Fine if it is there.
fn make_private(directory: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)
}

impl Runs {
    /// Opens the runs in a directory, made if need be. Of what is damaged, or of an earlier format,
    /// all sound pages are written anew; the file itself goes to `aside`.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn open(
        directory: &Path,
        aside: &Path,
        keys_max: u64,
        lost: &[Gap],
    ) -> Result<Self, RunError> {
        let io = |error| RunError::Io(directory.to_owned(), error);
        make_private(directory).map_err(io)?;
        let found = Found::read(directory)?;
        let mut runs = Self {
            directory: directory.to_owned(),
            keys_max,
            runs: RwLock::new(Arc::new(found.sound)),
            written: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            highest: AtomicU64::new(found.highest),
            lost: RwLock::new(Arc::from(lost)),
            missing: Vec::new(),
            stopped: AtomicBool::new(false),
            wake: (Mutex::new(false), Condvar::new()),
        };
        for (path, name, error) in found.damaged {
            runs.salvage(&path, name, &error, aside)?;
        }
        let holes = runs.holes();
        runs.missing.extend(holes);
        Ok(runs)
    }

    /// What the disk is known to have lost by now.
    pub fn set_lost(&self, lost: &[Gap]) {
        if **self.lost.read() != *lost {
            *self.lost.write() = Arc::from(lost);
        }
    }

    /// Whether the disk lost a delivery: then its key counts as not seen.
    pub fn is_lost(&self, offset: Offset) -> bool {
        let lost = self.lost.read();
        lost.iter()
            .any(|gap| (gap.first..=gap.last).contains(&offset))
    }

    /// Offsets below [`Runs::end`] whose keys have to be read from the log again: first and end.
    pub fn missing(&self) -> &[(Offset, Offset)] {
        &self.missing
    }

    /// All keys below this offset are in the runs, but for [`Runs::missing`].
    pub fn end(&self) -> Offset {
        self.runs.read().last().map_or(0, |run| run.name.end)
    }

    /// How often keys came to the runs: whoever judged at an earlier count judges again.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Bytes written since opening, merges included.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Most keys that are kept; the oldest go first.
    pub fn keys_max(&self) -> u64 {
        self.keys_max
    }

    /// How many runs there are.
    pub fn count(&self) -> usize {
        self.runs.read().len()
    }

    /// Keys in all runs.
    pub fn stock(&self) -> Stock {
        let runs = self.runs.read();
        let filled = || runs.iter().filter(|run| run.name.keys > 0);
        Stock {
            keys: filled().map(|run| run.name.keys).sum(),
            oldest: filled().map(|run| run.oldest).min(),
        }
    }

    /// Judges a mark by the runs alone. A page that cannot be read counts as one without the key:
    /// better a repeat stored than a delivery refused.
    pub fn judge(&self, mark: KeyMark, since: Timestamp) -> Verdict {
        let runs = self.runs.read().clone();
        let seen = |key| Ok::<_, std::convert::Infallible>(self.kept(find(&runs, key)));
        let verdict = judge(mark, since, seen);
        verdict.unwrap_or_else(|never| match never {})
    }

    /// Where a key was seen, newest first, as far as the runs know.
    pub fn get(&self, key: u128) -> Option<Seen> {
        self.kept(find(&self.runs.read().clone(), key))
    }

    fn kept(&self, seen: Option<Seen>) -> Option<Seen> {
        seen.filter(|seen| !self.is_lost(seen.offset))
    }

    /// Writes a frozen table as a run.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn write(&self, frozen: &Frozen) -> Result<(), RunError> {
        let mut keys: Vec<Key> = frozen
            .keys
            .iter()
            .map(|(&key, &seen)| (key, seen))
            .collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        let before = |run: &Arc<Run>| run.name.end <= frozen.end;
        let from = {
            let runs = self.runs.read();
            let before = runs.iter().rev().find(|run| before(run));
            before.map_or(0, |run| run.name.end)
        };
        let name = Name {
            from,
            end: frozen.end,
            keys: keys.len() as u64,
            number: self.new_number(),
        };
        if let Some(run) = self.write_run(name, Vec::new(), &mut keys.into_iter())? {
            let mut current = self.runs.write();
            let mut runs = (**current).clone();
            runs.insert(runs.partition_point(before), run);
            // seen together: whoever finds these keys covered knows that it has to ask again
            *current = Arc::new(runs);
            self.written.fetch_add(1, Ordering::AcqRel);
        }
        self.wake();
        Ok(())
    }

    /// Merges the first runs that have become many of one size, if there are any and `fits` says
    /// that there is room for so many bytes. Keys received before `expired` are left out. Answers
    /// whether it did.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn merge_next(
        &self,
        expired: Timestamp,
        fits: impl Fn(u64) -> bool,
    ) -> Result<bool, RunError> {
        let runs = self.runs.read().clone();
        let Some(merging) = to_merge(&runs, self.run_keys_max()).map(|range| &runs[range]) else {
            return Ok(false);
        };
        let keys = merging.iter().map(|run| run.name.keys).sum();
        if !fits(keys * KEY_BYTES) {
            return Ok(false);
        }
        let name = Name {
            from: merging.iter().map(|run| run.name.from).min().unwrap_or(0),
            end: merging.iter().map(|run| run.name.end).max().unwrap_or(0),
            keys,
            number: self.new_number(),
        };
        let numbers = merging.iter().map(|run| run.name.number).collect();
        let mut merge = Merge::of(merging.iter().map(|run| run.pages()), expired);
        let merged = self.write_run(name, numbers, &mut merge)?;
        if merge.lost_pages() > 0 {
            let pages = merge.lost_pages();
            tracing::error!(pages, "pages of idempotency keys were lost in a merge");
        }
        let Some(merged) = merged else {
            return Ok(false);
        };
        self.replace(merging, Some(merged))?;
        Ok(true)
    }

    /// Removes the first runs while all in them was received before `expired`, or while there are
    /// more keys than may be. The last one stays: it says what is covered. Answers how many keys
    /// went that were not expired.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn drop_first(&self, expired: Timestamp) -> Result<u64, RunError> {
        let mut too_early = 0;
        loop {
            let runs = self.runs.read().clone();
            let [first, _, ..] = &runs[..] else { break };
            let is_expired = first.newest < expired;
            if !is_expired && self.stock().keys <= self.keys_max {
                break;
            }
            if !is_expired {
                too_early += first.name.keys;
            }
            self.replace(&runs[..1], None)?;
        }
        Ok(too_early)
    }

    /// Waits until a run was written, or for so long. False when it is over.
    pub fn wait(&self, at_most: Duration) -> bool {
        let (woken, condition) = &self.wake;
        let mut woken = woken.lock();
        if !*woken && !self.is_stopped() {
            condition.wait_for(&mut woken, at_most);
        }
        *woken = false;
        !self.is_stopped()
    }

    /// Nothing more is merged, and a merge under way is given up.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        *self.wake.0.lock() = true;
        self.wake.1.notify_all();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn new_number(&self) -> u64 {
        self.highest.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The size that no merge goes on from: tables times a power of four.
    fn run_keys_max(&self) -> u64 {
        let mut keys = TABLE_KEYS_MAX as u64;
        while keys * FAN_IN as u64 * PARTS_MIN <= self.keys_max {
            keys *= FAN_IN as u64;
        }
        keys
    }

    /// Puts a run in the place of others, whose files go.
    fn replace(&self, old: &[Arc<Run>], new: Option<Arc<Run>>) -> Result<(), RunError> {
        {
            let mut current = self.runs.write();
            let is_old = |run: &Arc<Run>| old.iter().any(|old| Arc::ptr_eq(old, run));
            let at = current.iter().position(is_old).unwrap_or(current.len());
            let mut left: Vec<_> = current.iter().filter(|run| !is_old(run)).cloned().collect();
            left.splice(at..at, new);
            *current = Arc::new(left);
        }
        for run in old {
            let path = run.pages().path();
            std::fs::remove_file(path).map_err(|e| RunError::Io(path.to_owned(), e))?;
        }
        Ok(())
    }

    /// `None` when it was told to stop.
    fn write_run(
        &self,
        name: Name,
        merged: Vec<u64>,
        entries: &mut dyn Iterator<Item = Key>,
    ) -> Result<Option<Arc<Run>>, RunError> {
        let unfinished = self.directory.join(format!("{}.unfinished", name.number));
        let written = self.write_pages(&unfinished, name, merged, entries);
        if !matches!(written, Ok(Some(_))) {
            // what cannot be cleared now is at the next opening
            let _ = std::fs::remove_file(&unfinished);
        }
        written
    }

    /// `None` when it was to stop.
    fn write_pages(
        &self,
        unfinished: &Path,
        name: Name,
        merged: Vec<u64>,
        entries: &mut dyn Iterator<Item = Key>,
    ) -> Result<Option<Arc<Run>>, RunError> {
        let io = |error| RunError::Io(unfinished.to_owned(), error);
        let is_merge = !merged.is_empty();
        let mut writer = RunWriter::create(unfinished, name.keys).map_err(io)?;
        for (entry, nth) in entries.zip(0u64..) {
            if is_merge && nth.is_multiple_of(STOP_EVERY) && self.is_stopped() {
                return Ok(None);
            }
            writer.push(entry).map_err(io)?;
        }
        let run = writer.finish(unfinished, name, merged).map_err(io)?;
        let bytes = std::fs::metadata(run.pages().path()).map_or(0, |file| file.len());
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(Some(Arc::new(run)))
    }

    /// Writes the sound pages of a run anew.
    fn salvage(
        &mut self,
        path: &Path,
        name: Name,
        error: &RunError,
        aside: &Path,
    ) -> Result<(), RunError> {
        let pages = Run::salvage(path, name)?;
        let mut merge = Merge::of(std::iter::once(&pages), Timestamp(0));
        let new = Name {
            keys: pages.keys(),
            number: self.new_number(),
            ..name
        };
        let replaced = (name.number > 0).then_some(name.number);
        let run = self.write_run(new, replaced.into_iter().collect(), &mut merge)?;
        let kept = run.as_ref().map_or(0, |run| run.name.keys);
        let is_old = matches!(error, RunError::Earlier(_));
        if !is_old || kept < name.keys {
            let of = name.keys;
            tracing::error!(%error, kept, of, "idempotency keys are damaged: written anew");
        }
        if kept < name.keys {
            self.missing.push((name.from, name.end));
        }
        let mut runs = (**self.runs.read()).clone();
        runs.extend(run);
        runs.sort_by_key(|run| (run.name.end, run.name.number));
        *self.runs.write() = Arc::new(runs);
        let gone = match is_old {
            true => std::fs::remove_file(path),
            false => set_aside(path, aside),
        };
        gone.map_err(|error| RunError::Io(path.to_owned(), error))
    }

    /// What lies between runs that no run covers.
    fn holes(&self) -> Vec<(Offset, Offset)> {
        let runs = self.runs.read();
        let mut holes = Vec::new();
        let mut end = runs.first().map_or(0, |run| run.name.end);
        for run in runs.iter() {
            if run.name.from > end {
                holes.push((end, run.name.from));
            }
            end = end.max(run.name.end);
        }
        holes
    }
}

/// The newest runs of about one size, when they are many enough, oldest first.
fn to_merge(runs: &[Arc<Run>], run_keys_max: u64) -> Option<Range<usize>> {
    let newest = runs.last()?.name.keys.max(1);
    // one that was merged from as many of the newest's size is of the next
    let larger = newest.saturating_mul(FAN_IN as u64 - 1);
    let is_larger = |run: &Arc<Run>| run.name.keys > larger || run.name.keys * 2 > run_keys_max;
    let from = runs.iter().rposition(is_larger).map_or(0, |n| n + 1);
    let to = runs.len().min(from + FAN_IN_MAX);
    (to - from >= FAN_IN).then_some(from..to)
}

fn find(runs: &[Arc<Run>], key: u128) -> Option<Seen> {
    let may = runs.iter().rev().filter(|run| run.may_contain(key));
    may.filter_map(|run| {
        run.find(key).unwrap_or_else(|error| {
            tracing::error!(%error, "an idempotency key could not be looked up");
            None
        })
    })
    .next()
}
