//! One run: a file of sorted keys, written once.
//!
//! ```text
//! page    crc32 · 112 × (key 16 · digest 8 · offset 8 · received seconds u32), zeros to 4,096
//! fences  for each page the high half of its first key, u64
//! filter
//! merged  the numbers of the runs that it replaces, u64
//! footer  "CRK2" · keys u64 · oldest, newest received seconds u64 · filter bytes u64 ·
//!         how many merged u64 · crc32 of all from the fences on
//! ```
//!
//! Fences and filter stay in memory, 16.6 bits a key, and are read at opening without being made
//! again; a look-up reads at most one page. What the file covers is in its name, so that its pages
//! can still be used when its end is damaged: `<from>-<end>-<keys>-<number>.run`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::ids::Offset;
use crate::log::keys::Seen;
use crate::log::keys::filter::Filter;
use crate::log::keys::page::{Key, PAGE_BYTES, PAGE_ENTRIES, PageWriter, Pages};
use crate::time::Timestamp;

const FOOTER_BYTES: usize = 4 + 5 * 8 + 4;
const MAGIC: [u8; 4] = *b"CRK2";
/// The format before had this, followed by 28 bytes.
const MAGIC_BEFORE: [u8; 4] = *b"CRK1";
/// How a run's file name ends.
pub const EXTENSION: &str = "run";
/// Written bytes are synced this often, so that the sync at the end, for which commits of the log
/// would wait in the file system's journal, has little left to do.
const SYNC_EVERY_BYTES: usize = 8 << 20;

/// A run that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The disk.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Io(PathBuf, io::Error),
    /// Not as it was written.
    #[error("{path} is damaged: {what}", path = .0.display(), what = .1)]
    Damaged(PathBuf, &'static str),
    /// Of the format before this one: its pages are the same.
    #[error("{path} is of an earlier format", path = .0.display())]
    Earlier(PathBuf),
}

/// What a run's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// The keys of these offsets are in it, but for those left out because they were old.
    pub from: Offset,
    /// One past the last of them.
    pub end: Offset,
    /// How many keys.
    pub keys: u64,
    /// Its number; grows, never used twice.
    pub number: u64,
}

impl Name {
    /// The file's name.
    pub fn text(&self) -> String {
        let Self {
            from,
            end,
            keys,
            number,
        } = self;
        format!("{from:020}-{end:020}-{keys}-{number}.{EXTENSION}")
    }

    /// Reads a file's name. Before runs had numbers it was `<end>-<keys>.run`.
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
        let parts: Option<Vec<u64>> = stem.split('-').map(|part| part.parse().ok()).collect();
        match parts?[..] {
            [from, end, keys, number] => Some(Self {
                from,
                end,
                keys,
                number,
            }),
            [end, keys] => Some(Self {
                from: 0,
                end,
                keys,
                number: 0,
            }),
            _ => None,
        }
    }
}

/// An open run.
#[derive(Debug)]
pub struct Run {
    /// What it covers.
    pub name: Name,
    /// When the oldest key in it was received, in whole seconds.
    pub oldest: Timestamp,
    /// When the newest was.
    pub newest: Timestamp,
    /// Numbers of the runs that it replaces.
    pub merged: Vec<u64>,
    pages: Pages,
    fences: Vec<u64>,
    filter: Filter,
}

impl Run {
    /// Opens a run; only what stays in memory is read.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn open(path: &Path, name: Name) -> Result<Self, RunError> {
        let io = |error| RunError::Io(path.to_owned(), error);
        let damaged = |what| RunError::Damaged(path.to_owned(), what);
        let mut file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let footer_at = bytes.checked_sub(FOOTER_BYTES as u64);
        let footer_at = footer_at.ok_or_else(|| damaged("cut short"))?;
        let mut footer = [0; FOOTER_BYTES];
        file.read_exact_at(&mut footer, footer_at).map_err(io)?;
        if footer[FOOTER_BYTES - 32..FOOTER_BYTES - 28] == MAGIC_BEFORE {
            return Err(RunError::Earlier(path.to_owned()));
        }
        let footer = Footer::decode(&footer).ok_or_else(|| damaged("no footer"))?;
        let tail_at = footer.tail_at(footer_at);
        let tail_at = tail_at.ok_or_else(|| damaged("its parts do not fill it"))?;
        file.seek(SeekFrom::Start(tail_at)).map_err(io)?;
        let mut words = Words::new(BufReader::with_capacity(1 << 16, &file));
        let fences = words.read(footer.pages()).map_err(io)?;
        let filter = words.read(footer.filter_bytes / 8).map_err(io)?;
        let merged = words.read(footer.merged).map_err(io)?;
        if words.crc_with(&footer.checked()) != footer.crc {
            return Err(damaged("wrong checksum"));
        }
        let filter = Filter::from_words(filter).ok_or_else(|| damaged("no filter"))?;
        Ok(Self {
            name: Name {
                keys: footer.keys,
                ..name
            },
            oldest: Timestamp::from_secs(footer.oldest),
            newest: Timestamp::from_secs(footer.newest),
            merged,
            pages: Pages::new(path, file, footer.keys),
            fences,
            filter,
        })
    }

    /// The pages of a run whose end cannot be used, as many as its name and its size allow.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn salvage(path: &Path, name: Name) -> Result<Pages, RunError> {
        let io = |error| RunError::Io(path.to_owned(), error);
        let file = File::open(path).map_err(io)?;
        let whole_pages = file.metadata().map_err(io)?.len() / PAGE_BYTES as u64;
        let keys = name.keys.min(whole_pages.saturating_mul(PAGE_ENTRIES));
        Ok(Pages::new(path, file, keys))
    }

    /// Gives the pages, and the end of what would be a run, checksums that fit.
    #[cfg(feature = "fuzzing")]
    pub fn mend_checksums(bytes: &mut [u8]) {
        let Some(footer_at) = bytes.len().checked_sub(FOOTER_BYTES) else {
            return;
        };
        let (content, footer) = bytes.split_at_mut(footer_at);
        footer[..4].copy_from_slice(&MAGIC);
        let (pages, _) = content.as_chunks_mut::<PAGE_BYTES>();
        for page in pages {
            let crc = crc32fast::hash(&page[4..]);
            page[..4].copy_from_slice(&crc.to_le_bytes());
        }
        let mut array = [0; FOOTER_BYTES];
        array.copy_from_slice(footer);
        let tail_at = Footer::decode(&array).and_then(|footer| footer.tail_at(footer_at as u64));
        if let Some(tail_at) = tail_at.and_then(|at| usize::try_from(at).ok()) {
            let end = bytes.len() - 4;
            let crc = crc32fast::hash(&bytes[tail_at..end]);
            bytes[end..].copy_from_slice(&crc.to_le_bytes());
        }
    }

    /// Its pages.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Whether a key may be in it.
    pub fn may_contain(&self, key: u128) -> bool {
        self.filter.may_contain(key)
    }

    /// Where a key was seen. Reads one page; another only when two keys share their high half.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn find(&self, key: u128) -> Result<Option<Seen>, RunError> {
        let high = (key >> 64) as u64;
        let mut at = self.fences.partition_point(|fence| *fence <= high);
        while let Some(before) = at.checked_sub(1) {
            at = before;
            let page = self.pages.read(at as u64)?;
            if page.first().is_some_and(|first| first <= key) {
                return Ok(page.find(key));
            }
        }
        Ok(None)
    }
}

/// The last bytes of a run.
struct Footer {
    keys: u64,
    oldest: u64,
    newest: u64,
    filter_bytes: u64,
    merged: u64,
    crc: u32,
}

impl Footer {
    fn decode(bytes: &[u8; FOOTER_BYTES]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (words, crc) = rest.split_last_chunk::<4>()?;
        let (words, _) = words.as_chunks::<8>();
        let &[keys, oldest, newest, filter_bytes, merged] = words else {
            return None;
        };
        let is_run = *magic == MAGIC && Filter::is_size(u64::from_le_bytes(filter_bytes));
        is_run.then_some(Self {
            keys: u64::from_le_bytes(keys),
            oldest: u64::from_le_bytes(oldest),
            newest: u64::from_le_bytes(newest),
            filter_bytes: u64::from_le_bytes(filter_bytes),
            merged: u64::from_le_bytes(merged),
            crc: u32::from_le_bytes(*crc),
        })
    }

    /// All of it but its checksum.
    fn checked(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for word in [
            self.keys,
            self.oldest,
            self.newest,
            self.filter_bytes,
            self.merged,
        ] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn pages(&self) -> u64 {
        self.keys.div_ceil(PAGE_ENTRIES)
    }

    /// Where the fences begin; `None` unless all parts fill the file up to the footer exactly.
    fn tail_at(&self, footer_at: u64) -> Option<u64> {
        let pages = self.pages().checked_mul(PAGE_BYTES as u64)?;
        let tail = self.pages().checked_add(self.merged)?.checked_mul(8)?;
        let all = pages.checked_add(tail)?.checked_add(self.filter_bytes)?;
        (all == footer_at).then_some(pages)
    }
}

/// Reads or writes words, little endian, with a checksum over all of them.
struct Words<T> {
    inner: T,
    crc: crc32fast::Hasher,
}

impl<T> Words<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            crc: crc32fast::Hasher::new(),
        }
    }

    fn crc_with(mut self, last: &[u8]) -> u32 {
        self.crc.update(last);
        self.crc.finalize()
    }
}

impl<T: Read> Words<T> {
    /// `count` was checked against the file's size.
    fn read(&mut self, count: u64) -> io::Result<Vec<u64>> {
        let mut words = Vec::with_capacity(count as usize);
        let mut buffer = [0; 4096];
        let mut left = count as usize;
        while left > 0 {
            let part = &mut buffer[..left.min(512) * 8];
            self.inner.read_exact(part)?;
            self.crc.update(part);
            let (chunks, _) = part.as_chunks::<8>();
            words.extend(chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)));
            left -= chunks.len();
        }
        Ok(words)
    }
}

impl<T: Write> Words<T> {
    fn write(&mut self, words: &[u64]) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(4096);
        for part in words.chunks(512) {
            buffer.clear();
            buffer.extend(part.iter().flat_map(|word| word.to_le_bytes()));
            self.crc.update(&buffer);
            self.inner.write_all(&buffer)?;
        }
        Ok(())
    }
}

/// A run being written.
pub struct RunWriter {
    out: BufWriter<File>,
    page: PageWriter,
    fences: Vec<u64>,
    filter: Filter,
    keys: u64,
    oldest: u64,
    newest: u64,
    unsynced: usize,
}

impl RunWriter {
    /// Into a new file, for at most `keys_max` keys.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(path: &Path, keys_max: u64) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        Ok(Self {
            out: BufWriter::with_capacity(1 << 18, file),
            page: PageWriter::default(),
            fences: Vec::new(),
            filter: Filter::for_keys(keys_max),
            keys: 0,
            oldest: u64::MAX,
            newest: 0,
            unsynced: 0,
        })
    }

    /// Adds a key, which is above those before it.
    ///
    /// # Errors
    /// The disk's.
    pub fn push(&mut self, entry: Key) -> io::Result<()> {
        let (key, seen) = entry;
        if self.page.is_empty() {
            self.fences.push((key >> 64) as u64);
        }
        self.page.push(entry);
        self.filter.insert(key);
        self.keys += 1;
        let secs = seen.at.millis() / 1000;
        self.oldest = self.oldest.min(secs);
        self.newest = self.newest.max(secs);
        if self.page.is_full() {
            self.end_page()?;
        }
        Ok(())
    }

    fn end_page(&mut self) -> io::Result<()> {
        self.page.end(&mut self.out)?;
        self.unsynced += PAGE_BYTES;
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.unsynced = 0;
            self.out.flush()?;
            self.out.get_ref().sync_data()?;
        }
        Ok(())
    }

    /// Writes the end, syncs, and gives the file its name in the directory it is in.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(mut self, path: &Path, name: Name, merged: Vec<u64>) -> io::Result<Run> {
        if !self.page.is_empty() {
            self.end_page()?;
        }
        let footer = Footer {
            keys: self.keys,
            oldest: self.oldest.min(self.newest),
            newest: self.newest,
            filter_bytes: self.filter.bytes(),
            merged: merged.len() as u64,
            crc: 0,
        };
        let mut words = Words::new(&mut self.out);
        words.write(&self.fences)?;
        words.write(self.filter.words())?;
        words.write(&merged)?;
        let checked = footer.checked();
        let crc = words.crc_with(&checked);
        self.out.write_all(&checked)?;
        self.out.write_all(&crc.to_le_bytes())?;
        let file = self
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let name = Name {
            keys: self.keys,
            ..name
        };
        let directory = path.parent().unwrap_or(Path::new("."));
        let named = directory.join(name.text());
        std::fs::rename(path, &named)?;
        File::open(directory)?.sync_all()?;
        Ok(Run {
            name,
            oldest: Timestamp::from_secs(footer.oldest),
            newest: Timestamp::from_secs(footer.newest),
            merged,
            pages: Pages::new(&named, file, self.keys),
            fences: self.fences,
            filter: self.filter,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u128) -> Key {
        let seen = Seen {
            digest: n as u64,
            offset: n as u64,
            at: Timestamp::from_secs(n as u64),
        };
        (n, seen)
    }

    fn run(dir: &Path, keys: impl Iterator<Item = u128>) -> Run {
        let path = dir.join("unfinished");
        let mut writer = RunWriter::create(&path, 1000).unwrap();
        keys.for_each(|n| writer.push(key(n)).unwrap());
        let name = Name {
            from: 3,
            end: 9,
            keys: 0,
            number: 7,
        };
        writer.finish(&path, name, vec![1, 2]).unwrap()
    }

    #[test]
    fn a_run_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let written = run(dir.path(), 1..10);
        let path = dir.path().join(written.name.text());
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_run_reads_back_and_says_what_it_covers() {
        let dir = tempfile::tempdir().unwrap();
        let written = run(dir.path(), 1..1000);
        let path = dir.path().join(written.name.text());
        let name = Name::parse(path.file_name().unwrap().to_str().unwrap()).unwrap();
        assert_eq!(
            (name.from, name.end, name.keys, name.number),
            (3, 9, 999, 7)
        );
        let read = Run::open(&path, name).unwrap();
        assert_eq!(
            (&read.fences, &read.filter),
            (&written.fences, &written.filter)
        );
        assert_eq!(read.merged, [1, 2]);
        let times = (Timestamp::from_secs(1), Timestamp::from_secs(999));
        assert_eq!((read.oldest, read.newest), times);
    }

    #[test]
    fn keys_whose_high_halves_are_equal_are_told_apart_over_pages() {
        let dir = tempfile::tempdir().unwrap();
        // all of them have the same fence
        let run = run(dir.path(), (1..500).map(|n| (9 << 64) + 2 * n));
        for n in 1..500 {
            let high = 9 << 64;
            assert!(run.find(high + 2 * n).unwrap().is_some(), "{n}");
            assert!(run.find(high + 2 * n + 1).unwrap().is_none(), "{n}");
        }
        assert!(run.find(1).unwrap().is_none());
        assert!(run.find(10 << 64).unwrap().is_none());
    }

    #[test]
    fn a_run_that_is_cut_or_changed_at_its_end_is_never_believed() {
        let dir = tempfile::tempdir().unwrap();
        let name = run(dir.path(), 1..300).name;
        let path = dir.path().join(name.text());
        let whole = std::fs::read(&path).unwrap();
        for at in (3 * PAGE_BYTES..whole.len()).step_by(7) {
            let mut flipped = whole.clone();
            flipped[at] ^= 16;
            for bytes in [&flipped[..], &whole[..at]] {
                std::fs::write(&path, bytes).unwrap();
                assert!(Run::open(&path, name).is_err(), "at {at}");
            }
            assert_eq!(Run::salvage(&path, name).unwrap().keys(), 299);
        }
    }
}
