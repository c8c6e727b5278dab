//! Storage under the log: synced blocks, a small transactional state store, kept attempts.
//!
//! An engine gives no meaning to what it stores. What a delivery, a cursor or a
//! dead letter is, is written once, above, in [`crate::log`]. All calls block;
//! they are made from the log's own threads, never from an async task.

pub mod backup;
pub mod memory;
pub mod sled;

use bytes::Bytes;

use self::backup::{BackupCall, BackupError, BackupReport};
use crate::ids::{LogId, Offset};

/// One block to append: deliveries `first .. first + count`, opaque to the engine.
#[derive(Debug, Clone)]
pub struct Block {
    /// Offset of the first delivery in it.
    pub first: Offset,
    /// How many deliveries are in it; at least 1.
    pub count: u32,
    /// How many bytes at the start of `bytes` are the block's index (see [`IndexEntry`]).
    pub index_bytes: u32,
    /// Index, then content. May exceed [`Engine::block_bytes_best`]; then it is stored in pieces.
    pub bytes: Bytes,
}

impl Block {
    /// One past its last offset.
    pub fn end(&self) -> Offset {
        self.first + Offset::from(self.count)
    }

    /// Its index, without its content.
    pub fn index_entry(&self) -> IndexEntry {
        IndexEntry {
            first: self.first,
            count: self.count,
            block_bytes: self.bytes.len() as u64,
            bytes: self.bytes.slice(..self.index_bytes as usize),
        }
    }

    /// Refuses what no engine may append when `next` is the next offset.
    fn check(&self, next: Offset) -> Result<(), EngineError> {
        if self.first != next || self.count == 0 {
            return Err(EngineError::Failed(format!(
                "block of {} at offset {}, but the next offset is {next}",
                self.count, self.first
            )));
        }
        if self.index_bytes as usize > self.bytes.len() {
            return Err(EngineError::Failed(format!(
                "block at offset {} has an index longer than itself",
                self.first
            )));
        }
        Ok(())
    }
}

/// A block's index, as the engine gives it back without reading the whole block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Offset of the first delivery in the block.
    pub first: Offset,
    /// How many deliveries are in it.
    pub count: u32,
    /// Length of the whole block.
    pub block_bytes: u64,
    /// The first `index_bytes` bytes of the block.
    pub bytes: Bytes,
}

/// One volume: a stretch of the log that can go as a whole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct VolumeInfo {
    /// Number of the volume; grows, never used twice.
    pub number: u64,
    /// Its first offset.
    pub first: Offset,
    /// One past its last offset; equal to `first` when nothing is in it.
    pub end: Offset,
    /// Bytes it takes on disk.
    pub bytes: u64,
    /// Nothing is appended to it any more.
    pub sealed: bool,
    /// It was rewritten: of its offsets only some are there.
    pub rest: bool,
}

/// Offsets that were, or may have been, lost: `first ..= last`.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Gap {
    /// First offset of the gap.
    pub first: Offset,
    /// Last offset of the gap.
    pub last: Offset,
    /// Whether deliveries are known to have been there (else the offsets may just be unused).
    pub known_lost: bool,
}

/// What opening found.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The log's name.
    pub log: LogId,
    /// The offset the next delivery gets.
    pub next: Offset,
    /// The last shutdown was clean.
    pub clean: bool,
    /// The log was made just now.
    pub created: bool,
    /// What this opening newly found missing.
    pub lost: Vec<Gap>,
    /// Indexes of blocks that this opening found gone, as far as they have survived their blocks.
    pub gone: Vec<IndexEntry>,
}

/// A storage error.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Another process owns the log.
    #[error("{0} is in use by another process")]
    Locked(String),
    /// Written by another version of the format.
    #[error("{path} has format {found}; this creel reads {expected}")]
    Format {
        /// Which directory.
        path: String,
        /// What is there.
        found: String,
        /// What this program reads.
        expected: String,
    },
    /// The directory cannot be used as it is.
    #[error("{0}")]
    Unusable(String),
    /// The engine's synced writes are not in force, so nothing can be promised.
    #[error("{0}")]
    NotDurable(String),
    /// What was read is not what was written.
    #[error("damaged: {0}")]
    Damaged(String),
    /// Something else is under way that must not be disturbed; to be tried again later.
    #[error("{0}")]
    Busy(String),
    /// More than the state store takes in one entry; nothing was changed.
    #[error("{0}")]
    TooLarge(String),
    /// There is no room on the disk to open the log; nothing was changed but for the ballast.
    #[error("{0}")]
    NoRoom(String),
    /// The disk or the storage library failed; nothing more may be acknowledged.
    #[error("{0}")]
    Failed(String),
}

/// One change of the state store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets a key.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a key; fine when it is not there.
    Remove(Vec<u8>),
}

impl Change {
    /// Bytes of its key and value.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put(key, value) => key.len() + value.len(),
            Self::Remove(key) => key.len(),
        }
    }
}

/// Changes that happen all or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateBatch(pub Vec<Change>);

impl StateBatch {
    /// Adds a put.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push(Change::Put(key.into(), value.into()));
    }

    /// Adds a removal.
    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.0.push(Change::Remove(key.into()));
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses entries above [`STATE_VALUE_BYTES_MAX`].
    fn check(&self) -> Result<(), EngineError> {
        for change in &self.0 {
            let bytes = change.bytes();
            if bytes > STATE_VALUE_BYTES_MAX {
                return Err(EngineError::TooLarge(format!(
                    "state entry of {bytes} bytes; at most {STATE_VALUE_BYTES_MAX} fit"
                )));
            }
        }
        Ok(())
    }
}

/// Most bytes of a key and its value together in the state store, so that no engine has to store
/// one in a way that it cannot sync.
pub const STATE_VALUE_BYTES_MAX: usize = 24 * 1024;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Storage for one log. Owned by one process; all methods may be called from several threads,
/// but `append` only from one.
pub trait Engine: Send + Sync + 'static {
    /// What opening found.
    fn opened(&self) -> &Opened;

    /// The block size this engine commits fastest; the committer fills blocks up to it.
    fn block_bytes_best(&self) -> usize;

    /// All offsets known or suspected to be lost in the log's whole life, in order, without
    /// overlaps. What `remove_volume` took is not among them.
    fn gaps(&self) -> Vec<Gap>;

    /// Makes sure that no offset below `at_least` is given out any more, because something still
    /// remembers one: a cursor, a dead letter. Call it before the first append. What is skipped is
    /// recorded as a known loss. Answers the offset the next delivery gets: the one from
    /// [`Opened::next`] when that was high enough, else `at_least` or above. Durable on return.
    ///
    /// # Errors
    /// Final, as for `append`.
    fn raise_next(&self, at_least: Offset) -> Result<Offset, EngineError>;

    /// Appends blocks in order and returns once all of them would survive a power cut.
    ///
    /// Each block begins where the one before it ended, the first one at [`Opened::next`] or at
    /// what `raise_next` answered. After a crash in the middle, a prefix of `blocks` is there.
    ///
    /// # Errors
    /// Final: after an error nothing more may be appended or acknowledged. A block that does not
    /// begin at the next offset, or is empty, is [`EngineError::Failed`] as well.
    fn append(&self, blocks: &[Block]) -> Result<(), EngineError>;

    /// Blocks in order of offset, beginning with the one that holds `from` or, when there is a
    /// hole, the first one after it; at least one if there is any, then as many as fit into
    /// `bytes_max`. Only blocks whose append has returned are seen.
    ///
    /// # Errors
    /// [`EngineError::Damaged`] when the first of these blocks cannot be read back as it was
    /// written; blocks before a damaged one are answered without it. [`Engine::index`] tells
    /// where the next block begins.
    fn read(&self, from: Offset, bytes_max: usize) -> Result<Vec<Block>, EngineError>;

    /// The index entries of all blocks of a volume, in order.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the volume is gone or unreadable.
    fn index(&self, volume: u64) -> Result<Vec<IndexEntry>, EngineError>;

    /// All volumes, oldest first. The last one is being written.
    fn volumes(&self) -> Vec<VolumeInfo>;

    /// Removes a sealed volume for good. Its offsets are a hole from then on.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the disk refused; the volume may then be half gone and is
    /// finished off at the next opening.
    fn remove_volume(&self, number: u64) -> Result<(), EngineError>;

    /// Replaces the sealed neighbours with numbers `first` to `last` by one volume, numbered
    /// `first`, that stands for all their offsets and holds the blocks that `left` hands out, in
    /// order, `None` after the last: none of them reaches out of the span of the old ones. All other
    /// offsets are holes from then on. A crash leaves the old volumes or the new one. Takes as long
    /// as it takes; nothing else waits for it.
    ///
    /// # Errors
    /// What `left` answered, [`EngineError::Busy`] while a backup needs one of them,
    /// [`EngineError::Failed`] when these are no sealed neighbours or the disk refused; nothing has
    /// changed then.
    fn rewrite_volumes(
        &self,
        first: u64,
        last: u64,
        left: &mut dyn FnMut() -> Result<Option<Block>, EngineError>,
    ) -> Result<(), EngineError>;

    /// Reads a key of the state store.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Entries of the state store with `from <= key < to`, in order, at most `limit`.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Entry>, EngineError>;

    /// Applies a batch to the state store, in order, all or nothing; returns once it would survive
    /// a power cut.
    ///
    /// # Errors
    /// [`EngineError::TooLarge`] for a key or value above [`STATE_VALUE_BYTES_MAX`]; nothing is
    /// changed then. All others are final, as for `append`.
    fn commit(&self, batch: &StateBatch) -> Result<(), EngineError>;

    /// Appends one block of kept attempts (opaque), which concern offsets `span.0 ..= span.1`.
    /// Made durable in the background; the oldest go when their bounded space is used up.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn append_attempts(&self, span: (Offset, Offset), bytes: &[u8]) -> Result<(), EngineError>;

    /// Hands kept attempt blocks to `visit`, newest first, until it answers `false`. With `about`
    /// only the blocks whose span holds that offset.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn attempts(
        &self,
        about: Option<Offset>,
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), EngineError>;

    /// Directory for the log's own derived files (key runs), if this engine has a disk. A file there
    /// is written once, under a name that ends in `.unfinished` until it is complete.
    fn files(&self) -> Option<&std::path::Path>;

    /// Bytes the log takes on its disk, and bytes free there; `None` without a disk.
    fn space(&self) -> Option<Space>;

    /// What the log takes on its disk, part by part: name and bytes; nothing without a disk.
    fn parts(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Backs the log up while it is in use: all that had been committed at one moment, into a
    /// directory, of which an earlier backup of this log is continued. Takes as long as it takes;
    /// appends and commits go on meanwhile. Until it has returned, the backup before it counts.
    ///
    /// # Errors
    /// [`BackupError`]; none of them is final for the log.
    fn backup(&self, call: &BackupCall<'_>) -> Result<BackupReport, BackupError>;

    /// Syncs what is left and marks the shutdown clean. Nothing may be appended afterwards.
    ///
    /// # Errors
    /// [`EngineError::Failed`].
    fn close(&self) -> Result<(), EngineError>;
}

/// How much room there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes the log takes.
    pub used: u64,
    /// Bytes free on its file system, for this user.
    pub free: u64,
    /// Bytes of `used` that are taken only to be given away.
    pub ballast: u64,
}
