//! Pages of keys: the part of a run that stays on disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::log::keys::Seen;
use crate::log::keys::run::RunError;
use crate::time::Timestamp;

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
const CRC_BYTES: usize = 4;
const ENTRY_BYTES: usize = 36;
/// Entries in a page, after its checksum.
pub const PAGE_ENTRIES: u64 = ((PAGE_BYTES - CRC_BYTES) / ENTRY_BYTES) as u64;

/// A key and where it was seen.
pub type Key = (u128, Seen);

/// Keys in order, as they lie in a file.
#[derive(Debug)]
pub struct Page {
    bytes: [u8; PAGE_BYTES],
    len: usize,
}

impl Page {
    /// A page of `len` keys; `None` when it is not as it was written.
    pub fn checked(bytes: [u8; PAGE_BYTES], len: u64) -> Option<Self> {
        let (crc, content) = bytes.split_at(CRC_BYTES);
        let sound = crc == crc32fast::hash(content).to_le_bytes() && len <= PAGE_ENTRIES;
        sound.then_some(Self {
            bytes,
            len: len as usize,
        })
    }

    /// The key at a place.
    pub fn get(&self, place: usize) -> Option<Key> {
        (place < self.len).then(|| self.entry(place))
    }

    /// The first key.
    pub fn first(&self) -> Option<u128> {
        self.get(0).map(|(key, _)| key)
    }

    /// Where a key was seen.
    pub fn find(&self, key: u128) -> Option<Seen> {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = usize::midpoint(low, high);
            let (there, seen) = self.entry(middle);
            match there.cmp(&key) {
                std::cmp::Ordering::Equal => return Some(seen),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn entry(&self, place: usize) -> Key {
        let at = CRC_BYTES + place * ENTRY_BYTES;
        let field = |from: usize, bytes: usize| {
            let mut field = [0; 16];
            field[..bytes].copy_from_slice(&self.bytes[at + from..at + from + bytes]);
            u128::from_le_bytes(field)
        };
        let seen = Seen {
            digest: field(16, 8) as u64,
            offset: field(24, 8) as u64,
            at: Timestamp::from_secs(field(32, 4) as u64),
        };
        (field(0, 16), seen)
    }
}

/// A page being filled.
#[derive(Debug)]
pub struct PageWriter(Vec<u8>);

impl Default for PageWriter {
    fn default() -> Self {
        let mut bytes = Vec::with_capacity(PAGE_BYTES);
        bytes.resize(CRC_BYTES, 0);
        Self(bytes)
    }
}

impl PageWriter {
    /// Adds a key, which is above those before it.
    pub fn push(&mut self, (key, seen): Key) {
        let secs = u32::try_from(seen.at.millis() / 1000).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&key.to_le_bytes());
        self.0.extend_from_slice(&seen.digest.to_le_bytes());
        self.0.extend_from_slice(&seen.offset.to_le_bytes());
        self.0.extend_from_slice(&secs.to_le_bytes());
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.len() == CRC_BYTES
    }

    /// No more fits.
    pub fn is_full(&self) -> bool {
        self.0.len() + ENTRY_BYTES > PAGE_BYTES
    }

    /// Writes the page and begins the next.
    pub fn end(&mut self, out: &mut impl io::Write) -> io::Result<()> {
        self.0.resize(PAGE_BYTES, 0);
        let crc = crc32fast::hash(&self.0[CRC_BYTES..]);
        self.0[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
        out.write_all(&self.0)?;
        self.0.truncate(CRC_BYTES);
        Ok(())
    }
}

/// The pages of a file.
#[derive(Debug)]
pub struct Pages {
    path: PathBuf,
    file: File,
    keys: u64,
}

impl Pages {
    /// Pages that hold `keys` keys, at the start of a file.
    pub fn new(path: &Path, file: File, keys: u64) -> Self {
        Self {
            path: path.to_owned(),
            file,
            keys,
        }
    }

    /// Their file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keys in all of them.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.keys.div_ceil(PAGE_ENTRIES)
    }

    /// Reads a page.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn read(&self, number: u64) -> Result<Page, RunError> {
        let mut bytes = [0; PAGE_BYTES];
        self.file
            .read_exact_at(&mut bytes, number * PAGE_BYTES as u64)
            .map_err(|error| RunError::Io(self.path.clone(), error))?;
        let before = number.saturating_mul(PAGE_ENTRIES);
        let len = self.keys.saturating_sub(before).min(PAGE_ENTRIES);
        Page::checked(bytes, len)
            .ok_or_else(|| RunError::Damaged(self.path.clone(), "a page has a wrong checksum"))
    }
}
