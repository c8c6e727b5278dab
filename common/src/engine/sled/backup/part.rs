//! Files of a backup: written once, hashed on the way, and read back with their checksums.
//!
//! ```text
//! blocks  "CRB" "K" 1 0 0 0 · frames
//! frame   length u32 · first u64 · count u32 · index bytes u32 · crc32 of the content ·
//!         crc32 of the head up to here · content
//! state   "CRB" "S" 1 0 0 0 · frames: length u32 · a batch as in the journal, with its crc32
//! ```

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::super::files::{self, Cursor, put_u32, put_u64};
use super::super::state;
use super::manifest::Stored;
use crate::engine::{Block, Change, StateBatch};

const BLOCKS: &[u8; 8] = b"CRBK\x01\0\0\0";
const STATE: &[u8; 8] = b"CRBS\x01\0\0\0";
/// length, first, count, index length, crc of the content, crc of the head
const HEAD_BYTES: usize = 4 + 8 + 4 + 4 + 4 + 4;
/// Written bytes are given to the disk this often, so that no sync has to write much at once.
const SYNC_BYTES: u64 = 4 << 20;

/// A file being written.
#[derive(Debug)]
pub(super) struct PartWriter {
    name: String,
    file: File,
    hash: Sha256,
    bytes: u64,
    synced: u64,
}

impl PartWriter {
    /// A new file in `parts`.
    pub(super) fn create(parts: &Path, name: String) -> io::Result<Self> {
        let mut options = files::private();
        let file = options
            .write(true)
            .create_new(true)
            .open(parts.join(&name))?;
        Ok(Self {
            name,
            file,
            hash: Sha256::new(),
            bytes: 0,
            synced: 0,
        })
    }

    /// A file for blocks.
    pub(super) fn for_blocks(parts: &Path, name: String) -> io::Result<Self> {
        let mut part = Self::create(parts, name)?;
        part.write(BLOCKS)?;
        Ok(part)
    }

    /// A file for the state store.
    pub(super) fn for_state(parts: &Path, name: String) -> io::Result<Self> {
        let mut part = Self::create(parts, name)?;
        part.write(STATE)?;
        Ok(part)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        if self.bytes >= self.synced + SYNC_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    /// Syncs, and lets the page cache go: nobody reads it soon, and the log needs it.
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
        self.synced = self.bytes;
        Ok(())
    }

    pub(super) fn write_block(&mut self, block: &Block) -> io::Result<()> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        put_u32(&mut head, block.bytes.len() as u32);
        put_u64(&mut head, block.first);
        put_u32(&mut head, block.count);
        put_u32(&mut head, block.index_bytes);
        put_u32(&mut head, crc32fast::hash(&block.bytes));
        let crc = crc32fast::hash(&head);
        put_u32(&mut head, crc);
        self.write(&head)?;
        self.write(&block.bytes)
    }

    pub(super) fn write_batch(&mut self, batch: &StateBatch) -> io::Result<()> {
        let bytes = state::encode(batch);
        self.write(&(bytes.len() as u32).to_le_bytes())?;
        self.write(&bytes)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends it, synced; its name is not yet.
    pub(super) fn finish(mut self) -> io::Result<Stored> {
        self.sync()?;
        Ok(Stored {
            file: self.name,
            bytes: self.bytes,
            sha256: hex::encode(self.hash.finalize()),
        })
    }
}

/// A file being read back.
#[derive(Debug)]
pub(super) struct PartReader {
    file: BufReader<File>,
    hash: Sha256,
    bytes: u64,
}

/// What comes next in a file of blocks.
#[derive(Debug)]
pub(super) enum Next {
    Block(Block),
    /// The content of this block is not as it was written; the next one may be.
    Damaged {
        first: u64,
        end: u64,
    },
    /// What follows cannot be read.
    Broken,
    End,
}

impl PartReader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
        Ok(Self {
            file: BufReader::with_capacity(1 << 20, file),
            hash: Sha256::new(),
            bytes: 0,
        })
    }

    /// Reads until `to` is full or the file ends; answers how much that was.
    pub(super) fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < to.len() {
            match self.file.read(&mut to[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.hash.update(&to[..filled]);
        self.bytes += filled as u64;
        Ok(filled)
    }

    fn exactly(&mut self, count: usize) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; count];
        Ok((self.read(&mut bytes)? == count).then_some(bytes))
    }

    fn begins_with(&mut self, magic: &[u8; 8]) -> io::Result<bool> {
        Ok(self.exactly(magic.len())?.as_deref() == Some(magic))
    }

    pub(super) fn begins_with_blocks(&mut self) -> io::Result<bool> {
        self.begins_with(BLOCKS)
    }

    pub(super) fn begins_with_state(&mut self) -> io::Result<bool> {
        self.begins_with(STATE)
    }

    /// The next block; `left` bytes at most can follow.
    pub(super) fn next_block(&mut self, left: u64) -> io::Result<Next> {
        let mut head = [0; HEAD_BYTES];
        match self.read(&mut head)? {
            0 => return Ok(Next::End),
            HEAD_BYTES => {}
            _ => return Ok(Next::Broken),
        }
        let mut cursor = Cursor(&head);
        let mut number = || cursor.u32().unwrap_or_default();
        let length = number();
        let first = u64::from(number()) | u64::from(number()) << 32;
        let (count, index_bytes, content_crc, head_crc) = (number(), number(), number(), number());
        let is_head = head_crc == crc32fast::hash(&head[..HEAD_BYTES - 4]);
        if !is_head || u64::from(length) > left {
            return Ok(Next::Broken);
        }
        let end = first + u64::from(count);
        match self.exactly(length as usize)? {
            Some(bytes) if crc32fast::hash(&bytes) == content_crc => Ok(Next::Block(Block {
                first,
                count,
                index_bytes,
                bytes: Bytes::from(bytes),
            })),
            Some(_) => Ok(Next::Damaged { first, end }),
            None => Ok(Next::Broken),
        }
    }

    /// The next batch of the state store; `None` at the end. `left` bytes at most can follow.
    ///
    /// # Errors
    /// The disk's; [`io::ErrorKind::InvalidData`] when it is not as it was written.
    pub(super) fn next_batch(&mut self, left: u64) -> io::Result<Option<Vec<Change>>> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "checksum differs");
        let mut length = [0; 4];
        match self.read(&mut length)? {
            0 => return Ok(None),
            4 => {}
            _ => return Err(damaged()),
        }
        let length = u32::from_le_bytes(length);
        if u64::from(length) > left {
            return Err(damaged());
        }
        let bytes = self.exactly(length as usize)?.ok_or_else(damaged)?;
        state::decode(&bytes).map(Some).ok_or_else(damaged)
    }

    /// Bytes read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads what is left; whether the file is what `stored` says.
    pub(super) fn ends_as_stored(mut self, stored: &Stored) -> io::Result<bool> {
        let mut rest = vec![0; 1 << 20];
        while self.read(&mut rest)? > 0 {}
        Ok(self.bytes == stored.bytes && hex::encode(self.hash.finalize()) == stored.sha256)
    }
}
