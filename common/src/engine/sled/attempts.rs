//! Kept attempts: a chain of append-only files with bounded space. Nothing depends on them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::files::{self, Cursor, failed, put_u32, put_u64};
use crate::engine::EngineError;
use crate::ids::Offset;

/// length, span, crc
const FRAME_HEAD_BYTES: usize = 4 + 8 + 8 + 4;
/// A file of the chain is at most this large, and at least a frame.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// The chain has about this many files, so that dropping the oldest drops little.
const FILES: u64 = 8;

/// The open chain.
#[derive(Debug)]
pub(super) struct Attempts {
    dir: PathBuf,
    bytes_max: u64,
    chain: Mutex<Chain>,
}

#[derive(Debug, Default)]
struct Chain {
    /// Every file, oldest first.
    files: Vec<Link>,
    next_number: u64,
    /// The newest file, once this process has begun one.
    newest: Option<File>,
    /// Written since the last sync.
    unsynced: Vec<File>,
    dirty: bool,
}

/// One file of the chain.
#[derive(Debug, Clone, Copy)]
struct Link {
    number: u64,
    bytes: u64,
    /// Lowest and highest offset of its frames, once it has been read or if this process wrote it.
    span: Option<(Offset, Offset)>,
}

impl Attempts {
    /// Opens the chain in `log`/attempts, made if it is not there.
    pub(super) fn open(log: &Path, bytes_max: u64) -> Result<Self, EngineError> {
        let dir = log.join("attempts");
        files::make_dir(&dir).map_err(failed(&dir))?;
        let mut chain = Chain {
            next_number: 1,
            ..Chain::default()
        };
        chain.files = list(&dir).map_err(failed(&dir))?;
        if let Some(newest) = chain.files.last() {
            chain.next_number = newest.number + 1;
        }
        Ok(Self {
            dir,
            bytes_max,
            chain: Mutex::new(chain),
        })
    }

    /// Appends a frame, unsynced.
    pub(super) fn append(&self, span: (Offset, Offset), bytes: &[u8]) -> Result<(), EngineError> {
        let frame = encode(span, bytes);
        let mut chain = self.chain.lock();
        self.append_frame(&mut chain, span, &frame)
            .map_err(failed(&self.dir))
    }

    fn append_frame(
        &self,
        chain: &mut Chain,
        span: (Offset, Offset),
        frame: &[u8],
    ) -> io::Result<()> {
        let file_bytes_max = (self.bytes_max / FILES).clamp(1, FILE_BYTES_MAX);
        let is_full = chain
            .files
            .last()
            .is_some_and(|f| f.bytes >= file_bytes_max);
        if is_full || chain.newest.is_none() {
            self.begin_file(chain)?;
        }
        let end = chain.files.last().map_or(0, |f| f.bytes);
        if let Some(file) = &mut chain.newest
            && let Err(e) = file.write_all(frame)
        {
            // what follows half a frame could not be read
            file.set_len(end)?;
            return Err(e);
        }
        if let Some(newest) = chain.files.last_mut() {
            newest.bytes += frame.len() as u64;
            newest.span = Some(widened(newest.span, span));
        }
        chain.dirty = true;
        self.drop_oldest(chain)
    }

    fn begin_file(&self, chain: &mut Chain) -> io::Result<()> {
        let number = chain.next_number;
        let file = files::private()
            .append(true)
            .create_new(true)
            .open(self.path(number))?;
        chain.next_number += 1;
        chain.files.push(Link {
            number,
            bytes: 0,
            span: None,
        });
        if let Some(full) = chain.newest.replace(file) {
            chain.unsynced.push(full);
        }
        Ok(())
    }

    fn drop_oldest(&self, chain: &mut Chain) -> io::Result<()> {
        while chain.files.len() > 1 && chain.bytes() > self.bytes_max {
            let oldest = chain.files.remove(0);
            fs::remove_file(self.path(oldest.number))?;
        }
        Ok(())
    }

    /// Syncs what was appended since the last time.
    pub(super) fn sync(&self) -> Result<(), EngineError> {
        let mut files = {
            let mut chain = self.chain.lock();
            if !chain.dirty {
                return Ok(());
            }
            chain.dirty = false;
            let mut files = std::mem::take(&mut chain.unsynced);
            if let Some(newest) = &chain.newest {
                files.push(newest.try_clone().map_err(failed(&self.dir))?);
            }
            files
        };
        for file in files.drain(..) {
            file.sync_data().map_err(failed(&self.dir))?;
        }
        files::sync_dir(&self.dir).map_err(failed(&self.dir))
    }

    /// Hands frames to `visit`, newest first, until it answers `false`. A torn or damaged frame
    /// ends its file.
    pub(super) fn visit(
        &self,
        about: Option<Offset>,
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), EngineError> {
        let files = self.chain.lock().files.clone();
        for file in files.iter().rev().filter(|f| f.may_hold(about)) {
            let path = self.path(file.number);
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                // dropped meanwhile
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(e) => return Err(failed(&path)(e)),
            };
            let frames = decode_all(&bytes);
            self.learn_span(file.number, &frames);
            for (span, content) in frames.into_iter().rev() {
                let wanted = about.is_none_or(|o| span.0 <= o && o <= span.1);
                if wanted && !visit(content) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Remembers what a file of an earlier process is about, to skip it the next time.
    fn learn_span(&self, number: u64, frames: &[Frame<'_>]) {
        let mut chain = self.chain.lock();
        let file = chain.files.iter_mut().find(|f| f.number == number);
        if let Some(file) = file.filter(|f| f.span.is_none()) {
            file.span = frames
                .iter()
                .fold(None, |all, (span, _)| Some(widened(all, *span)));
        }
    }

    /// Bytes it takes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.chain.lock().bytes()
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:010}.attempts"))
    }
}

impl Chain {
    fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }
}

impl Link {
    fn may_hold(&self, about: Option<Offset>) -> bool {
        match (about, self.span) {
            (Some(offset), Some(span)) => span.0 <= offset && offset <= span.1,
            _ => true,
        }
    }
}

fn widened(all: Option<(Offset, Offset)>, by: (Offset, Offset)) -> (Offset, Offset) {
    all.map_or(by, |all| (all.0.min(by.0), all.1.max(by.1)))
}

fn list(dir: &Path) -> io::Result<Vec<Link>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|n| n.strip_suffix(".attempts"));
        if let Some(number) = number.and_then(|n| n.parse().ok()) {
            found.push(Link {
                number,
                bytes: entry.metadata()?.len(),
                span: None,
            });
        }
    }
    found.sort_unstable_by_key(|f| f.number);
    Ok(found)
}

pub(super) fn encode(span: (Offset, Offset), bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_HEAD_BYTES + bytes.len());
    put_u32(&mut frame, bytes.len() as u32);
    put_u64(&mut frame, span.0);
    put_u64(&mut frame, span.1);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&frame);
    crc.update(bytes);
    put_u32(&mut frame, crc.finalize());
    frame.extend_from_slice(bytes);
    frame
}

/// A frame's span and content.
type Frame<'a> = ((Offset, Offset), &'a [u8]);

/// The frames of a file, oldest first, up to the first that is not sound.
pub(super) fn decode_all(bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut cursor = Cursor(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decode_frame(&mut cursor) {
        frames.push(frame);
    }
    frames
}

fn decode_frame<'a>(cursor: &mut Cursor<'a>) -> Option<Frame<'a>> {
    let head = cursor.0.get(..FRAME_HEAD_BYTES - 4)?;
    let length = cursor.u32()? as usize;
    let span = (cursor.u64()?, cursor.u64()?);
    let crc = cursor.u32()?;
    let content = cursor.bytes(length)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(content);
    (hasher.finalize() == crc).then_some((span, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_tail_costs_its_frame_only_and_later_frames_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let attempts = Attempts::open(dir.path(), 1 << 20).unwrap();
        attempts.append((1, 1), b"one").unwrap();
        attempts.append((2, 2), b"torn").unwrap();
        attempts.sync().unwrap();
        drop(attempts);
        let path = dir.path().join("attempts/0000000001.attempts");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let attempts = Attempts::open(dir.path(), 1 << 20).unwrap();
        attempts.append((3, 3), b"three").unwrap();
        let mut seen = Vec::new();
        attempts
            .visit(None, &mut |frame| {
                seen.push(frame.to_vec());
                true
            })
            .unwrap();
        assert_eq!(seen, [b"three".to_vec(), b"one".to_vec()]);
    }
}
