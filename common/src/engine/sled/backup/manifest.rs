//! The manifest: what belongs to a backup. Written last, and atomically.
//!
//! A line that says what this is, with the digest of the rest, and the rest as JSON.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::files;
use super::super::spans::Stretches;
use crate::engine::Gap;
use crate::engine::backup::BackupError;
use crate::ids::{LogId, Offset};
use crate::time::Timestamp;

/// The file's name.
pub(super) const FILE: &str = "manifest";
/// The format of backups that this program reads and writes.
pub(super) const VERSION: u32 = 1;

/// A file of a backup, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// Its name in `parts/`.
    pub(super) file: String,
    pub(super) bytes: u64,
    /// SHA-256 in hexadecimal digits.
    pub(super) sha256: String,
}

/// Blocks that follow each other in a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    #[serde(flatten)]
    pub(super) stored: Stored,
    pub(super) blocks: u64,
    pub(super) first: Offset,
    pub(super) end: Offset,
}

/// A volume, as far as it had been written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VolumeEntry {
    /// The name of its directory in the log.
    pub(super) name: String,
    /// Its first offset.
    pub(super) first: Offset,
    /// One past its last one.
    pub(super) end: Offset,
    /// It was rewritten: of its offsets only some are there, and the others are not missing.
    #[serde(default)]
    pub(super) rest: bool,
    pub(super) parts: Vec<Part>,
}

/// A file of the log that is kept byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Copied {
    /// Its path in the log's directory.
    pub(super) path: String,
    #[serde(flatten)]
    pub(super) stored: Stored,
}

/// What belongs to a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The format of state records and blocks: that of the log.
    pub(super) log_format: u32,
    pub(super) log: LogId,
    /// Which backup in this directory.
    pub(super) number: u64,
    /// The version of the program that took it.
    pub(super) creel: String,
    pub(super) at: Timestamp,
    /// One past the newest offset in it.
    pub(super) next: Offset,
    /// No offset at or above this had been given out.
    pub(super) ceiling: Offset,
    /// Offsets removed on purpose: first and end.
    pub(super) removed: Vec<(Offset, Offset)>,
    pub(super) gaps: Vec<Gap>,
    pub(super) volumes: Vec<VolumeEntry>,
    /// The state store, to be applied in this order.
    pub(super) state: Vec<Stored>,
    pub(super) files: Vec<Copied>,
}

impl Manifest {
    /// Reads the manifest of the backup in `dir`; `None` when no backup in it was ever complete.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, BackupError> {
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(BackupError::Failed(format!("{}: {e}", path.display()))),
        };
        Self::parse(&text)
            .map(Some)
            .map_err(|what| BackupError::Damaged(format!("{}: {what}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (head, rest) = text.split_once('\n').unwrap_or_default();
        let digest = head.strip_prefix("creel backup, sha256 of what follows: ");
        let digest = digest.ok_or("does not begin as a manifest does")?;
        if digest != digest_of(rest) {
            return Err("checksum differs".to_owned());
        }
        serde_json::from_str(rest).map_err(|e| e.to_string())
    }

    /// Makes it the directory's manifest: from now on this backup is the one that counts.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        let digest = digest_of(&json);
        let text = format!("creel backup, sha256 of what follows: {digest}\n{json}");
        files::replace(&dir.join(FILE), text.as_bytes())
    }

    /// All files of the backup.
    pub(super) fn stored(&self) -> impl Iterator<Item = &Stored> {
        let parts = self.volumes.iter().flat_map(|volume| &volume.parts);
        let copied = self.files.iter().map(|file| &file.stored);
        parts
            .map(|part| &part.stored)
            .chain(&self.state)
            .chain(copied)
    }

    /// The oldest offset in it; `next` when nothing is.
    pub(super) fn first(&self) -> Offset {
        let parts = self.volumes.iter().flat_map(|volume| &volume.parts);
        parts.map(|part| part.first).min().unwrap_or(self.next)
    }

    /// Offsets below `next` that are in no part, were not removed, and are in no gap.
    pub(super) fn unaccounted(&self, held: &Stretches) -> Vec<(Offset, Offset)> {
        let mut all = held.clone();
        for rest in self.volumes.iter().filter(|volume| volume.rest) {
            all.add(rest.first, rest.end);
        }
        for &(first, end) in &self.removed {
            all.add(first, end);
        }
        for gap in &self.gaps {
            all.add(gap.first, gap.last + 1);
        }
        all.add(self.next, Offset::MAX);
        all.holes()
    }
}

fn digest_of(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            log_format: 3,
            log: LogId::from_bits(7),
            number: 1,
            creel: "0.1.0".to_owned(),
            at: Timestamp(1),
            next: 20,
            ceiling: 100,
            removed: vec![(1, 5)],
            gaps: vec![Gap {
                first: 7,
                last: 8,
                known_lost: true,
            }],
            volumes: Vec::new(),
            state: Vec::new(),
            files: Vec::new(),
        }
    }

    #[test]
    fn a_manifest_reads_back_and_a_changed_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Manifest::read(dir.path()).unwrap().is_none());
        manifest().write(dir.path()).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), Some(manifest()));
        let path = dir.path().join(FILE);
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert!(Manifest::read(dir.path()).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn what_is_neither_held_nor_removed_nor_in_a_gap_is_unaccounted_for() {
        let mut held = Stretches::default();
        held.add(5, 7);
        held.add(10, 18);
        assert_eq!(manifest().unaccounted(&held), [(9, 10), (18, 20)]);
    }
}
