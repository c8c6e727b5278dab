//! Reads a backup back and compares it with its manifest.

use std::io;
use std::path::Path;

use super::super::spans::Stretches;
use super::known_lost;
use super::manifest::{Manifest, Part, Stored};
use super::part::{Next, PartReader};
use super::target::{Source, failed};
use crate::engine::Block;
use crate::engine::backup::{BackupError, Damage, Stage, VerifyReport, Watch};
use crate::ids::Offset;

/// Bytes read at once of a file that has no frames.
const CHUNK_BYTES: usize = 1 << 20;

/// Reads every file of the newest complete backup in `dir` and compares it with the manifest: sizes,
/// digests, every block's own checksums, and that no offset is missing. Changes nothing.
///
/// # Errors
/// [`BackupError`] when there is no backup to be read. What is damaged in one is no error: see
/// [`VerifyReport::damage`].
pub fn verify(dir: &Path, watch: &dyn Watch) -> Result<VerifyReport, BackupError> {
    let source = Source::open(dir)?;
    let mut reading = Reading::new(&source, watch, Stage::Verify);
    for part in source.manifest.volumes.iter().flat_map(|v| &v.parts) {
        reading.blocks(part, &mut |_| Ok(()))?;
    }
    for stored in &source.manifest.state {
        reading.state(stored, &mut |_| Ok(()))?;
    }
    for copied in &source.manifest.files {
        reading.plain(&copied.stored, &mut |_| Ok(()))?;
    }
    let manifest = &source.manifest;
    reading.account(manifest);
    Ok(VerifyReport {
        log: manifest.log,
        number: manifest.number,
        at: manifest.at,
        first: manifest.first(),
        next: manifest.next,
        files: reading.files,
        bytes: reading.bytes,
        deliveries: reading.deliveries,
        lost: known_lost(&manifest.gaps),
        damage: reading.damage,
    })
}

/// A backup being read, and what is wrong with it.
pub(super) struct Reading<'a> {
    source: &'a Source,
    watch: &'a dyn Watch,
    stage: Stage,
    total: u64,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) deliveries: u64,
    pub(super) damage: Vec<Damage>,
    /// What was read, and what is known to be damaged.
    met: Stretches,
}

impl<'a> Reading<'a> {
    pub(super) fn new(source: &'a Source, watch: &'a dyn Watch, stage: Stage) -> Self {
        Self {
            total: source.manifest.stored().map(|stored| stored.bytes).sum(),
            source,
            watch,
            stage,
            files: 0,
            bytes: 0,
            deliveries: 0,
            damage: Vec::new(),
            met: Stretches::default(),
        }
    }

    /// Hands the blocks of a part that read back to `visit`.
    pub(super) fn blocks(
        &mut self,
        part: &Part,
        visit: &mut dyn FnMut(&Block) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let Some(mut reader) = self.open(&part.stored)? else {
            self.lose(part, part.first, part.end, "not there");
            return Ok(());
        };
        let path = self.source.path(&part.stored);
        if !reader.begins_with_blocks().map_err(failed(&path))? {
            self.lose(part, part.first, part.end, "does not begin as it should");
            return Ok(());
        }
        let (mut from, mut blocks, before) = (part.first, 0, self.damage.len());
        loop {
            self.went(&reader)?;
            let left = part.stored.bytes.saturating_sub(reader.bytes());
            match reader.next_block(left).map_err(failed(&path))? {
                Next::Block(block) => {
                    from = block.end();
                    blocks += 1;
                    self.block(part, &block, visit)?;
                }
                Next::Damaged { first, end } => {
                    from = end;
                    self.lose(part, first, end, "checksum differs");
                }
                Next::Broken => {
                    self.lose(part, from, part.end, "cannot be read from here on");
                    break;
                }
                Next::End => break,
            }
        }
        self.bytes += reader.bytes();
        let whole = reader.ends_as_stored(&part.stored).map_err(failed(&path))?;
        if self.damage.len() == before && (!whole || blocks != part.blocks) {
            // every block was as it said of itself, yet these are not the blocks that were written
            self.lose(part, part.first, part.end, "not the file that was written");
        }
        Ok(())
    }

    fn block(
        &mut self,
        part: &Part,
        block: &Block,
        visit: &mut dyn FnMut(&Block) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        if let Err(what) = self.watch.check(block) {
            self.lose(part, block.first, block.end(), &what);
            return Ok(());
        }
        self.deliveries += u64::from(block.count);
        self.met.add(block.first, block.end());
        visit(block)
    }

    /// Hands the batches of the state store to `visit`.
    pub(super) fn state(
        &mut self,
        stored: &Stored,
        visit: &mut dyn FnMut(&[crate::engine::Change]) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let Some(mut reader) = self.open(stored)? else {
            self.hurt(stored, "not there");
            return Ok(());
        };
        let path = self.source.path(stored);
        let mut sound = reader.begins_with_state().map_err(failed(&path))?;
        while sound {
            self.went(&reader)?;
            let left = stored.bytes.saturating_sub(reader.bytes());
            match reader.next_batch(left) {
                Ok(Some(changes)) => visit(&changes)?,
                Ok(None) => break,
                Err(e) if e.kind() == io::ErrorKind::InvalidData => sound = false,
                Err(e) => return Err(failed(&path)(e)),
            }
        }
        self.bytes += reader.bytes();
        if !(reader.ends_as_stored(stored).map_err(failed(&path))? && sound) {
            self.hurt(stored, "not as it was written");
        }
        Ok(())
    }

    /// Hands a file to `visit`, in pieces.
    pub(super) fn plain(
        &mut self,
        stored: &Stored,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let Some(mut reader) = self.open(stored)? else {
            self.hurt(stored, "not there");
            return Ok(());
        };
        let path = self.source.path(stored);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            self.went(&reader)?;
            match reader.read(&mut chunk).map_err(failed(&path))? {
                0 => break,
                count => visit(&chunk[..count])?,
            }
        }
        self.bytes += reader.bytes();
        if !reader.ends_as_stored(stored).map_err(failed(&path))? {
            self.hurt(stored, "not as it was written");
        }
        Ok(())
    }

    /// Finds the offsets that are nowhere.
    pub(super) fn account(&mut self, manifest: &Manifest) {
        for (first, end) in manifest.unaccounted(&self.met) {
            self.damage.push(Damage {
                file: super::manifest::FILE.to_owned(),
                offsets: Some((first, end - 1)),
                what: "in no file".to_owned(),
            });
        }
    }

    fn open(&mut self, stored: &Stored) -> Result<Option<PartReader>, BackupError> {
        self.files += 1;
        let path = self.source.path(stored);
        match PartReader::open(&path) {
            Ok(reader) => Ok(Some(reader)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(&path)(e)),
        }
    }

    fn went(&self, reader: &PartReader) -> Result<(), BackupError> {
        if self.watch.is_cancelled() {
            return Err(BackupError::Cancelled);
        }
        self.watch
            .went(self.stage, self.bytes + reader.bytes(), self.total);
        Ok(())
    }

    fn lose(&mut self, part: &Part, first: Offset, end: Offset, what: &str) {
        if first >= end {
            return self.hurt(&part.stored, what);
        }
        self.met.add(first, end);
        self.damage.push(Damage {
            file: format!("parts/{}", part.stored.file),
            offsets: Some((first, end - 1)),
            what: what.to_owned(),
        });
    }

    fn hurt(&mut self, stored: &Stored, what: &str) {
        self.damage.push(Damage {
            file: format!("parts/{}", stored.file),
            offsets: None,
            what: what.to_owned(),
        });
    }
}
