//! Sorted runs of keys on disk, merged in tiers.
//!
//! A run is one file, written once: pages of 4 KiB with a checksum each, then
//! the filter, then a footer. Keys are hashes, so a page is found by
//! interpolation: one or two reads a look-up.
//!
//! ```text
//! page    crc32 · 112 × (key 16 · digest 8 · offset 8 · received seconds u32), zeros to 4,096
//! filter
//! footer  "CRK1" · keys u64 · end offset u64 · filter bytes u64 · crc32 of filter and footer
//! ```

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::engine::Gap;
use crate::ids::Offset;
use crate::log::keys::filter::Filter;
use crate::log::keys::table::Frozen;
use crate::log::keys::{KeyMark, Seen, Verdict, judge};
use crate::time::Timestamp;

const PAGE: usize = 4096;
const ENTRY: usize = 36;
/// Entries in a page, after its checksum.
const PAGE_ENTRIES: u64 = ((PAGE - 4) / ENTRY) as u64;
const FOOTER: usize = 4 + 8 + 8 + 8 + 4;
const MAGIC: [u8; 4] = *b"CRK1";
/// This many runs of one tier are merged into one of the next.
const FAN_IN: usize = 4;

/// A run that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The disk.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Io(PathBuf, io::Error),
    /// Not as it was written.
    #[error("{path} is damaged: {what}", path = .0.display(), what = .1)]
    Damaged(PathBuf, &'static str),
}

type Key = (u128, Seen);

#[derive(Debug)]
struct Run {
    path: PathBuf,
    file: File,
    keys: u64,
    end: Offset,
    filter: Filter,
}

/// All runs of a log. Look-ups may come from any thread; one thread writes.
#[derive(Debug)]
pub struct Runs {
    directory: PathBuf,
    runs: RwLock<Arc<Vec<Arc<Run>>>>,
    written: AtomicU64,
    /// Deliveries that the disk lost: a sender that sends one of them again is no repeat.
    lost: Vec<Gap>,
    /// A run could not be used: what it held has to be read from the log again.
    incomplete: bool,
}

impl Runs {
    /// Opens the runs in a directory, made if need be. What is damaged or unfinished is removed:
    /// the keys it held are read from the log again, as far as the log still has them.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn open(directory: &Path, lost: Vec<Gap>) -> Result<Self, RunError> {
        let io = |error| RunError::Io(directory.to_owned(), error);
        std::fs::create_dir_all(directory).map_err(io)?;
        let (mut runs, mut incomplete) = (Vec::new(), false);
        for entry in std::fs::read_dir(directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            match Run::open(&path) {
                Ok(run) => runs.push(Arc::new(run)),
                Err(error @ RunError::Io(..)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "removing an unusable run of idempotency keys");
                    incomplete |= path.extension().is_some_and(|extension| extension == "run");
                    std::fs::remove_file(&path).map_err(io)?;
                }
            }
        }
        runs.sort_by_key(|run| run.end);
        Ok(Self {
            directory: directory.to_owned(),
            runs: RwLock::new(Arc::new(runs)),
            written: AtomicU64::new(0),
            lost,
            incomplete,
        })
    }

    /// What the disk is known to have lost by now.
    pub fn set_lost(&mut self, lost: Vec<Gap>) {
        self.lost = lost;
    }

    /// Keys from this offset on have to be read from the log's indexes after opening.
    pub fn recover_from(&self) -> Offset {
        if self.incomplete { 0 } else { self.end() }
    }

    /// All keys below this offset are in the runs, but for what a damaged run held.
    pub fn end(&self) -> Offset {
        self.runs.read().last().map_or(0, |run| run.end)
    }

    /// How often keys came to the runs: whoever judged at an earlier count judges again.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Keys in all runs.
    pub fn keys(&self) -> u64 {
        self.runs.read().iter().map(|run| run.keys).sum()
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
        let lost = |offset| {
            self.lost
                .iter()
                .any(|gap| (gap.first..=gap.last).contains(&offset))
        };
        seen.filter(|seen| !lost(seen.offset))
    }

    /// Writes a frozen table as a run, then merges runs that have become many. Keys received before
    /// `expired` are left out of merges.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn write(&self, frozen: &Frozen, expired: Timestamp) -> Result<(), RunError> {
        let mut keys: Vec<Key> = frozen
            .keys
            .iter()
            .map(|(&key, &seen)| (key, seen))
            .collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        let run = self.write_run(keys.len() as u64, frozen.end, keys.into_iter())?;
        let mut runs = (**self.runs.read()).clone();
        runs.push(run);
        {
            // seen together: whoever finds these keys covered knows that it has to ask again
            let mut current = self.runs.write();
            *current = Arc::new(runs);
            self.written.fetch_add(1, Ordering::AcqRel);
        }
        self.merge(expired)
    }

    fn merge(&self, expired: Timestamp) -> Result<(), RunError> {
        while let Some(at) = self.tier_to_merge() {
            let runs = self.runs.read().clone();
            let merging = &runs[at..];
            let keys = merging.iter().map(|run| run.keys).sum();
            let end = merging.last().map_or(0, |run| run.end);
            let merged = self.write_run(keys, end, Merge::of(merging, expired))?;
            let mut left = runs[..at].to_vec();
            left.push(merged);
            *self.runs.write() = Arc::new(left);
            for run in merging {
                std::fs::remove_file(&run.path).map_err(|e| RunError::Io(run.path.clone(), e))?;
            }
        }
        Ok(())
    }

    /// Where the newest runs of about one size begin, when they are many enough.
    fn tier_to_merge(&self) -> Option<usize> {
        let runs = self.runs.read().clone();
        let newest = runs.last()?.keys.max(1);
        let at = runs
            .iter()
            .rposition(|run| run.keys > newest * FAN_IN as u64)
            .map_or(0, |n| n + 1);
        (runs.len() - at >= FAN_IN).then_some(at)
    }

    fn path(&self, keys: u64, end: Offset) -> PathBuf {
        self.directory.join(format!("{end:020}-{keys}.run"))
    }

    fn write_run(
        &self,
        keys: u64,
        end: Offset,
        entries: impl Iterator<Item = Key>,
    ) -> Result<Arc<Run>, RunError> {
        let path = self.path(keys, end);
        let unfinished = path.with_extension("unfinished");
        let io = |error| RunError::Io(unfinished.clone(), error);
        let mut writer = RunWriter::new(File::create(&unfinished).map_err(io)?, keys);
        for entry in entries {
            writer.push(entry).map_err(io)?;
        }
        writer.finish(end).map_err(io)?;
        std::fs::rename(&unfinished, &path).map_err(io)?;
        File::open(&self.directory)
            .and_then(|dir| dir.sync_all())
            .map_err(io)?;
        Run::open(&path).map(Arc::new)
    }
}

fn find(runs: &[Arc<Run>], key: u128) -> Option<Seen> {
    let may = runs.iter().rev().filter(|run| run.filter.may_contain(key));
    may.filter_map(|run| {
        run.find(key).unwrap_or_else(|error| {
            tracing::error!(%error, "an idempotency key could not be looked up");
            None
        })
    })
    .next()
}

struct RunWriter {
    out: BufWriter<File>,
    page: Vec<u8>,
    filter: Filter,
    keys: u64,
}

impl RunWriter {
    fn new(file: File, keys: u64) -> Self {
        Self {
            out: BufWriter::with_capacity(1 << 20, file),
            page: vec![0; 4],
            filter: Filter::for_keys(keys),
            keys: 0,
        }
    }

    fn push(&mut self, (key, seen): Key) -> io::Result<()> {
        self.page.extend_from_slice(&key.to_le_bytes());
        self.page.extend_from_slice(&seen.digest.to_le_bytes());
        self.page.extend_from_slice(&seen.offset.to_le_bytes());
        let secs = u32::try_from(seen.at.millis() / 1000).unwrap_or(u32::MAX);
        self.page.extend_from_slice(&secs.to_le_bytes());
        self.filter.insert(key);
        self.keys += 1;
        if self.keys.is_multiple_of(PAGE_ENTRIES) {
            self.end_page()
        } else {
            Ok(())
        }
    }

    fn end_page(&mut self) -> io::Result<()> {
        self.page.resize(PAGE, 0);
        let crc = crc32fast::hash(&self.page[4..]);
        self.page[..4].copy_from_slice(&crc.to_le_bytes());
        self.out.write_all(&self.page)?;
        self.page.clear();
        self.page.resize(4, 0);
        Ok(())
    }

    fn finish(mut self, end: Offset) -> io::Result<()> {
        if self.page.len() > 4 {
            self.end_page()?;
        }
        let mut tail = self.filter.to_bytes();
        let filter_bytes = tail.len() as u64;
        tail.extend_from_slice(&MAGIC);
        for value in [self.keys, end, filter_bytes] {
            tail.extend_from_slice(&value.to_le_bytes());
        }
        let crc = crc32fast::hash(&tail);
        tail.extend_from_slice(&crc.to_le_bytes());
        self.out.write_all(&tail)?;
        self.out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()
    }
}

impl Run {
    fn open(path: &Path) -> Result<Self, RunError> {
        let io = |error| RunError::Io(path.to_owned(), error);
        let damaged = |what| RunError::Damaged(path.to_owned(), what);
        let file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let footer_at = bytes
            .checked_sub(FOOTER as u64)
            .ok_or(damaged("cut short"))?;
        let mut footer = [0; FOOTER];
        file.read_exact_at(&mut footer, footer_at).map_err(io)?;
        let word =
            |at: usize| u64::from_le_bytes(footer[at..at + 8].try_into().expect("eight bytes"));
        let (keys, end, filter_bytes) = (word(4), word(12), word(20));
        let pages = keys.div_ceil(PAGE_ENTRIES);
        let expected = pages
            .checked_mul(PAGE as u64)
            .and_then(|n| n.checked_add(filter_bytes));
        if footer[..4] != MAGIC || expected != Some(footer_at) {
            return Err(damaged("no footer"));
        }
        let mut tail = vec![0; filter_bytes as usize + FOOTER];
        file.read_exact_at(&mut tail, pages * PAGE as u64)
            .map_err(io)?;
        let (checked, crc) = tail.split_at(tail.len() - 4);
        if crc32fast::hash(checked).to_le_bytes() != crc {
            return Err(damaged("wrong checksum"));
        }
        let filter = Filter::from_bytes(&tail[..filter_bytes as usize]);
        let filter = filter.ok_or(damaged("no filter"))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            keys,
            end,
            filter,
        })
    }

    /// Interpolation search: keys are uniform, so a few pages are read however many there are.
    fn find(&self, key: u128) -> Result<Option<Seen>, RunError> {
        let (mut low, mut high) = (0, self.keys.div_ceil(PAGE_ENTRIES));
        let (mut low_key, mut high_key) = (0, u128::MAX);
        while low < high {
            let share =
                ((key - low_key) >> 64) as f64 / (((high_key - low_key) >> 64) as f64).max(1.0);
            let at = (low + (share * (high - low) as f64) as u64).clamp(low, high - 1);
            let page = self.page(at)?;
            let (Some((first, _)), Some((last, _))) = (page.first(), page.last()) else {
                return Ok(None);
            };
            if key < *first {
                (high, high_key) = (at, *first);
            } else if key > *last {
                (low, low_key) = (at + 1, *last);
            } else {
                let found = page.binary_search_by_key(&key, |(k, _)| *k);
                return Ok(found.ok().map(|n| page[n].1));
            }
        }
        Ok(None)
    }

    fn page(&self, number: u64) -> Result<Vec<Key>, RunError> {
        let mut page = [0; PAGE];
        let io = |error| RunError::Io(self.path.clone(), error);
        self.file
            .read_exact_at(&mut page, number * PAGE as u64)
            .map_err(io)?;
        if page[..4] != crc32fast::hash(&page[4..]).to_le_bytes() {
            return Err(RunError::Damaged(
                self.path.clone(),
                "a page has a wrong checksum",
            ));
        }
        let count = (self.keys - number * PAGE_ENTRIES).min(PAGE_ENTRIES) as usize;
        Ok(page[4..]
            .chunks_exact(ENTRY)
            .take(count)
            .map(entry)
            .collect())
    }
}

fn entry(bytes: &[u8]) -> Key {
    let (key, rest) = bytes
        .split_first_chunk::<16>()
        .expect("an entry has 36 bytes");
    let (digest, rest) = rest
        .split_first_chunk::<8>()
        .expect("an entry has 36 bytes");
    let (offset, rest) = rest
        .split_first_chunk::<8>()
        .expect("an entry has 36 bytes");
    let (secs, _) = rest
        .split_first_chunk::<4>()
        .expect("an entry has 36 bytes");
    let seen = Seen {
        digest: u64::from_le_bytes(*digest),
        offset: u64::from_le_bytes(*offset),
        at: Timestamp::from_secs(u64::from(u32::from_le_bytes(*secs))),
    };
    (u128::from_le_bytes(*key), seen)
}

/// Merges runs in order of key; of equal keys the newest run's stays.
struct Merge<'a> {
    heads: Vec<Head<'a>>,
    expired: Timestamp,
}

struct Head<'a> {
    run: &'a Run,
    page: std::vec::IntoIter<Key>,
    next_page: u64,
    head: Option<Key>,
}

impl Head<'_> {
    fn advance(&mut self) {
        self.head = self.page.next();
        while self.head.is_none() && self.next_page < self.run.keys.div_ceil(PAGE_ENTRIES) {
            // a damaged page loses its keys and nothing else
            let page = self.run.page(self.next_page).unwrap_or_else(|error| {
                tracing::error!(%error, "idempotency keys lost in a merge");
                Vec::new()
            });
            self.page = page.into_iter();
            self.next_page += 1;
            self.head = self.page.next();
        }
    }
}

impl<'a> Merge<'a> {
    fn of(runs: &'a [Arc<Run>], expired: Timestamp) -> Self {
        let head = |run: &'a Arc<Run>| {
            let mut head = Head {
                run,
                page: Vec::new().into_iter(),
                next_page: 0,
                head: None,
            };
            head.advance();
            head
        };
        Self {
            heads: runs.iter().map(head).collect(),
            expired,
        }
    }

    fn next_key(&mut self) -> Option<Key> {
        let smallest = self
            .heads
            .iter()
            .filter_map(|h| h.head.map(|(key, _)| key))
            .min()?;
        let mut newest = None;
        for head in &mut self.heads {
            if head.head.is_some_and(|(key, _)| key == smallest) {
                newest = head.head;
                head.advance();
            }
        }
        newest
    }
}

impl Iterator for Merge<'_> {
    type Item = Key;
    fn next(&mut self) -> Option<Key> {
        loop {
            let key = self.next_key()?;
            if key.1.at >= self.expired {
                return Some(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::keys::KeyTable;

    fn mark(n: u64) -> KeyMark {
        KeyMark::new("s", None, &n.to_string(), b"")
    }

    fn write(runs: &Runs, keys: std::ops::Range<u64>, expired: Timestamp) {
        let mut table = KeyTable::default();
        for n in keys.clone() {
            table.note(mark(n), Verdict::New, n, Timestamp::from_secs(n));
        }
        let frozen = table.freeze(keys.end, true).unwrap();
        runs.write(&frozen, expired).unwrap();
    }

    fn judge(runs: &Runs, n: u64) -> Verdict {
        runs.judge(mark(n), Timestamp(0))
    }

    #[test]
    fn every_key_is_found_again_through_merges_and_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::open(dir.path(), Vec::new()).unwrap();
        for n in 0..9 {
            write(&runs, n * 1000 + 1..n * 1000 + 1001, Timestamp(0));
        }
        let runs_left = std::fs::read_dir(dir.path()).unwrap().count();
        assert!(runs_left <= 4, "{runs_left} runs");
        for runs in [runs, Runs::open(dir.path(), Vec::new()).unwrap()] {
            assert_eq!(runs.end(), 9001);
            for n in 1..9001 {
                assert_eq!(judge(&runs, n), Verdict::Repeat(n));
            }
            assert_eq!(judge(&runs, 9001), Verdict::New);
        }
    }

    #[test]
    fn of_a_key_seen_twice_the_newest_counts() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::open(dir.path(), Vec::new()).unwrap();
        write(&runs, 1..100, Timestamp(0));
        let mut table = KeyTable::default();
        table.note(mark(5), Verdict::New, 500, Timestamp::from_secs(500));
        runs.write(&table.freeze(501, true).unwrap(), Timestamp(0))
            .unwrap();
        assert_eq!(judge(&runs, 5), Verdict::Repeat(500));
        assert_eq!(runs.judge(mark(5), Timestamp::from_secs(501)), Verdict::New);
    }

    #[test]
    fn a_delivery_that_was_lost_may_be_sent_again() {
        let dir = tempfile::tempdir().unwrap();
        write(
            &Runs::open(dir.path(), Vec::new()).unwrap(),
            1..10,
            Timestamp(0),
        );
        let gap = Gap {
            first: 4,
            last: 6,
            known_lost: true,
        };
        let runs = Runs::open(dir.path(), vec![gap]).unwrap();
        assert_eq!(judge(&runs, 3), Verdict::Repeat(3));
        assert_eq!(judge(&runs, 5), Verdict::New);
    }

    #[test]
    fn a_merge_leaves_expired_keys_out() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::open(dir.path(), Vec::new()).unwrap();
        for n in 0..4 {
            write(&runs, n * 100 + 1..n * 100 + 101, Timestamp::from_secs(250));
        }
        assert_eq!(judge(&runs, 10), Verdict::New);
        assert_eq!(judge(&runs, 300), Verdict::Repeat(300));
    }

    #[test]
    fn a_damaged_run_is_removed_and_a_damaged_page_denies_its_keys_only() {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::open(dir.path(), Vec::new()).unwrap();
        write(&runs, 1..1001, Timestamp(0));
        let path = std::fs::read_dir(dir.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let known = (1..1001)
            .filter(|&n| judge(&runs, n) == Verdict::Repeat(n))
            .count();
        assert_eq!(known, 1000 - PAGE_ENTRIES as usize);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Runs::open(dir.path(), Vec::new()).unwrap().end(), 0);
        assert!(!path.exists());
    }
}
