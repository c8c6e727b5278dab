//! Which offsets may be in use: a ceiling reserved ahead, the high-water mark, the clean flag.
//!
//! One small file with two slots, written in turn and synced, each with its checksum and a
//! sequence number: a torn write leaves the other slot.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::files::{self, Cursor, failed, put_u64};
use crate::engine::EngineError;
use crate::ids::Offset;

/// The file's name.
const FILE: &str = "offsets";
/// How many offsets are reserved ahead.
pub(super) const RESERVED: u64 = 100_000;
/// Slots lie in different sectors and pages.
const SLOT_BYTES: u64 = 4096;
/// What of a slot is used: four numbers and their checksum.
const SLOT_CONTENT_BYTES: usize = 40;

/// What is known about the offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    /// No offset at or above this has ever been used.
    pub(super) ceiling: Offset,
    /// All offsets below this had been given out.
    pub(super) high: Offset,
    /// The log was closed, and `high` is exact.
    pub(super) clean: bool,
}

impl Marks {
    /// Of a new log.
    pub(super) const NEW: Marks = Marks {
        ceiling: 1 + RESERVED,
        high: 1,
        clean: true,
    };
}

/// The open file.
#[derive(Debug)]
pub(super) struct OffsetsFile {
    file: File,
    sequence: u64,
    marks: Marks,
}

impl OffsetsFile {
    /// Makes the file, synced.
    pub(super) fn create(dir: &Path, marks: Marks) -> Result<(), EngineError> {
        let path = dir.join(FILE);
        let mut bytes = vec![0; 2 * SLOT_BYTES as usize];
        for (sequence, slot) in bytes.chunks_mut(SLOT_BYTES as usize).enumerate() {
            let encoded = encode(sequence as u64, marks);
            slot[..encoded.len()].copy_from_slice(&encoded);
        }
        files::replace(&path, &bytes).map_err(failed(&path))
    }

    /// Opens the file; `None` when it is missing or both slots are damaged.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>, EngineError> {
        let path = dir.join(FILE);
        let file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(&path)(e)),
        };
        let slots = [0, SLOT_BYTES].map(|at| read_slot(&file, at));
        let newest = slots.into_iter().flatten().max_by_key(|(seq, _)| *seq);
        Ok(newest.map(|(sequence, marks)| Self {
            file,
            sequence,
            marks,
        }))
    }

    pub(super) fn marks(&self) -> Marks {
        self.marks
    }

    /// Writes and syncs new marks. The ceiling and the high-water mark never sink.
    pub(super) fn write(&mut self, marks: Marks) -> Result<(), EngineError> {
        let marks = Marks {
            ceiling: marks.ceiling.max(self.marks.ceiling),
            high: marks.high.max(self.marks.high),
            clean: marks.clean,
        };
        let sequence = self.sequence + 1;
        let at = (sequence % 2) * SLOT_BYTES;
        let written = self.file.write_all_at(&encode(sequence, marks), at);
        written
            .and_then(|()| self.file.sync_data())
            .map_err(failed(Path::new(FILE)))?;
        self.sequence = sequence;
        self.marks = marks;
        Ok(())
    }
}

pub(super) fn encode(sequence: u64, marks: Marks) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    for number in [sequence, marks.ceiling, marks.high, u64::from(marks.clean)] {
        put_u64(&mut bytes, number);
    }
    let crc = crc32fast::hash(&bytes);
    put_u64(&mut bytes, u64::from(crc));
    bytes
}

fn read_slot(file: &File, at: u64) -> Option<(u64, Marks)> {
    let mut bytes = [0; SLOT_CONTENT_BYTES];
    file.read_exact_at(&mut bytes, at).ok()?;
    read_slot_bytes(&bytes)
}

pub(super) fn read_slot_bytes(bytes: &[u8; SLOT_CONTENT_BYTES]) -> Option<(u64, Marks)> {
    let mut cursor = Cursor(bytes);
    let (sequence, ceiling, high) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
    let clean = cursor.u64()? == 1;
    if cursor.u64()? != u64::from(crc32fast::hash(&bytes[..32])) {
        return None;
    }
    let marks = Marks {
        ceiling,
        high,
        clean,
    };
    Some((sequence, marks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_slot_leaves_the_marks_before_it() {
        let dir = tempfile::tempdir().unwrap();
        OffsetsFile::create(dir.path(), Marks::NEW).unwrap();
        let mut file = OffsetsFile::open(dir.path()).unwrap().unwrap();
        let first = Marks {
            ceiling: 200_000,
            high: 77,
            clean: false,
        };
        file.write(first).unwrap();
        let second = Marks { high: 99, ..first };
        file.write(second).unwrap();
        let torn = (file.sequence % 2) * SLOT_BYTES + 20;
        file.file.write_all_at(&[0xff; 3], torn).unwrap();
        let file = OffsetsFile::open(dir.path()).unwrap().unwrap();
        assert_eq!(file.marks(), first);
        file.file.write_all_at(&[0xff; 8192], 0).unwrap();
        assert!(OffsetsFile::open(dir.path()).unwrap().is_none());
    }

    #[test]
    fn marks_never_sink() {
        let dir = tempfile::tempdir().unwrap();
        OffsetsFile::create(dir.path(), Marks::NEW).unwrap();
        let mut file = OffsetsFile::open(dir.path()).unwrap().unwrap();
        let low = Marks {
            ceiling: 5,
            high: 0,
            clean: false,
        };
        file.write(low).unwrap();
        let kept = OffsetsFile::open(dir.path()).unwrap().unwrap().marks();
        assert_eq!(
            (kept.ceiling, kept.high, kept.clean),
            (1 + RESERVED, 1, false)
        );
    }
}
