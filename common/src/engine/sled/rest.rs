//! What a rewritten volume says about itself: the span it stands for, and how many blocks are left.
//!
//! Its index file says so too, but can be rebuilt from the blocks only with this: where a rewritten
//! volume holds nothing, nothing is missing.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::files::{self, Cursor, put_u32, put_u64};
use crate::ids::Offset;

/// The file's name in the volume's directory.
const FILE: &str = "rest";
const MAGIC: &[u8; 8] = b"creelrs1";

/// The span of a rewritten volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    /// First offset that it stands for.
    pub(super) first: Offset,
    /// One past the last.
    pub(super) end: Offset,
    /// Blocks that were left of them.
    pub(super) blocks: u64,
}

impl Rest {
    /// Writes the file, synced; its name is not.
    pub(super) fn write(self, volume: &Path) -> io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        for number in [self.first, self.end, self.blocks] {
            put_u64(&mut bytes, number);
        }
        let crc = crc32fast::hash(&bytes);
        put_u32(&mut bytes, crc);
        let mut file: File = files::private()
            .write(true)
            .create(true)
            .truncate(true)
            .open(volume.join(FILE))?;
        file.write_all(&bytes)?;
        file.sync_all()
    }

    /// Reads the file; `None` when it is missing or damaged.
    pub(super) fn read(volume: &Path) -> Option<Self> {
        let bytes = std::fs::read(volume.join(FILE)).ok()?;
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if u32::from_le_bytes(*crc) != crc32fast::hash(body) {
            return None;
        }
        let mut cursor = Cursor(body.strip_prefix(MAGIC)?);
        Some(Self {
            first: cursor.u64()?,
            end: cursor.u64()?,
            blocks: cursor.u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_reads_back_and_a_flipped_bit_does_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Rest::read(dir.path()), None);
        let rest = Rest {
            first: 7,
            end: 1 << 40,
            blocks: 3,
        };
        rest.write(dir.path()).unwrap();
        assert_eq!(Rest::read(dir.path()), Some(rest));
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Rest::read(dir.path()), None, "flipped at {at}");
        }
    }
}
