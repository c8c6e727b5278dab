//! One file of requests in quarantine, and beside it the note of which of them are gone.
//!
//! Frames are appended, never changed. A frame that is taken out is named in `<file>.gone`; a file
//! of which all is gone goes. Nothing is appended to a file of an earlier run: what a crash tore is
//! at its end, and is left out.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use creel_common::ids::QuarantineId;
use creel_common::time::Timestamp;

use super::item::{Brief, FRAME_BYTES_MAX, FRAME_HEAD_BYTES};
use crate::verify::Reason;

/// What a file of requests is called, behind its first id.
pub const ITEMS: &str = "items";
/// What the note beside it is called.
const GONE: &str = "gone";
/// An entry of the note: a place, and the same inverted.
const GONE_BYTES: usize = 8;

/// One file.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    /// The first id in it.
    pub first: QuarantineId,
    /// The last one.
    pub last: QuarantineId,
    /// What it takes, without the note.
    pub bytes: u64,
    /// When the oldest and the newest in it were received.
    pub received: (Timestamp, Timestamp),
    /// How many are in it still, by reason.
    pub live: BTreeMap<Reason, u64>,
    frames: u32,
    gone: Places,
    unsynced: bool,
}

/// Places in a file, as bits.
#[derive(Debug, Clone, Default)]
pub struct Places(Vec<u64>);

impl Places {
    /// Whether `place` is one of them.
    pub fn has(&self, place: u32) -> bool {
        let word = self.0.get(place as usize / 64);
        word.is_some_and(|word| word & (1 << (place % 64)) != 0)
    }

    /// Adds one; whether it is new.
    fn add(&mut self, place: u32) -> bool {
        let at = place as usize / 64;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        let new = !self.has(place);
        self.0[at] |= 1 << (place % 64);
        new
    }
}

/// A file as it is read: nothing of it changes but that it may go.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Where it is.
    pub path: PathBuf,
    /// The first id in it.
    pub first: QuarantineId,
    /// The last one.
    pub last: QuarantineId,
    /// So much of it is whole.
    pub bytes: u64,
    /// What is gone of it.
    pub gone: Places,
}

impl Segment {
    /// A new one, which is made when something is appended.
    pub fn new(dir: &Path, first: QuarantineId) -> Self {
        Self {
            path: dir.join(format!("{:016x}.{ITEMS}", first.0)),
            first,
            last: first,
            bytes: 0,
            received: (Timestamp(u64::MAX), Timestamp(0)),
            live: BTreeMap::new(),
            frames: 0,
            gone: Places::default(),
            unsynced: false,
        }
    }

    /// Reads one of an earlier run; `None` if nothing of it is left.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn scan(path: &Path) -> io::Result<Option<Self>> {
        let mut segment = Self::new(Path::new(""), QuarantineId(0));
        segment.path = path.to_owned();
        segment.bytes = std::fs::metadata(path)?.len();
        let gone = note(&path.with_extension(GONE))?;
        let mut frames = Frames::open(path, segment.bytes)?;
        while let Some(frame) = frames.next()? {
            let place = segment.frames;
            segment.frames += 1;
            let Some((brief, _)) = frame.as_deref().and_then(Brief::of) else {
                // damaged, and never handed out
                segment.gone.add(place);
                continue;
            };
            segment.count(brief, segment.last == QuarantineId(0));
            if gone.has(place) {
                segment.take_out(place, brief.reason);
            }
        }
        Ok((!segment.live.is_empty()).then_some(segment))
    }

    fn count(&mut self, brief: Brief, first: bool) {
        if first {
            self.first = brief.id;
        }
        self.last = brief.id;
        let (oldest, newest) = self.received;
        self.received = (oldest.min(brief.received_at), newest.max(brief.received_at));
        *self.live.entry(brief.reason).or_default() += 1;
    }

    fn take_out(&mut self, place: u32, reason: Reason) -> bool {
        let new = self.gone.add(place);
        if new && let Some(count) = self.live.get_mut(&reason) {
            *count -= 1;
            if *count == 0 {
                self.live.remove(&reason);
            }
        }
        new
    }

    /// How many are in it still.
    pub fn live(&self) -> u64 {
        self.live.values().sum()
    }

    /// Adds frames with what they are counted by, not yet durable.
    ///
    /// # Errors
    /// When they could not be written; the file is as before then.
    pub fn append(&mut self, frames: &[u8], briefs: &[Brief]) -> io::Result<()> {
        let mut file = private(&self.path)?;
        if let Err(error) = file.write_all(frames) {
            file.set_len(self.bytes)?;
            return Err(error);
        }
        self.unsynced = true;
        for brief in briefs {
            self.count(*brief, self.frames == 0);
            self.frames += 1;
        }
        self.bytes += frames.len() as u64;
        Ok(())
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unsynced) {
            File::open(&self.path)?.sync_data()?;
        }
        Ok(())
    }

    /// Notes durably that these are gone. Answers how many of them were still there.
    ///
    /// # Errors
    /// The disk's; nothing is noted then, as far as this run is concerned.
    pub fn remove_items(&mut self, places: &[(u32, Reason)]) -> io::Result<u64> {
        let mut entries = Vec::with_capacity(places.len() * GONE_BYTES);
        for (place, _) in places {
            entries.extend_from_slice(&place.to_le_bytes());
            entries.extend_from_slice(&(!place).to_le_bytes());
        }
        let path = self.path.with_extension(GONE);
        let is_new = !path.exists();
        let mut file = private(&path)?;
        file.write_all(&entries)?;
        file.sync_data()?;
        if is_new && let Some(dir) = path.parent() {
            sync_dir(dir)?;
        }
        let gone = places
            .iter()
            .map(|(place, reason)| self.take_out(*place, *reason));
        Ok(gone.map(u64::from).sum())
    }

    /// Removes the file and its note.
    pub fn remove(self) {
        Self::remove_file(&self.path);
    }

    /// Removes a file of which nothing is left, and its note.
    pub fn remove_file(path: &Path) {
        // the note last: a note without its file means nothing
        for path in [path, &path.with_extension(GONE)] {
            if let Err(error) = std::fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "cannot remove from the quarantine");
            }
        }
    }

    /// As it is now, for reading.
    pub fn reading(&self) -> Reading {
        Reading {
            path: self.path.clone(),
            first: self.first,
            last: self.last,
            bytes: self.bytes,
            gone: self.gone.clone(),
        }
    }
}

/// Opens a file to append to, which nobody else may read.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)
}

/// Makes the names in a directory durable.
///
/// # Errors
/// The disk's.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What a note says; what a crash tore at its end is left out.
fn note(path: &Path) -> io::Result<Places> {
    let mut places = Places::default();
    let entries = match std::fs::read(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(places),
        Err(error) => return Err(error),
    };
    for entry in entries.chunks_exact(GONE_BYTES) {
        let (place, inverted) = entry.split_at(4);
        let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes);
        if let (Ok(place), Ok(inverted)) = (number(place), number(inverted))
            && place == !inverted
        {
            places.add(place);
        }
    }
    Ok(places)
}

/// The frames of a file, one after the other.
pub struct Frames {
    file: BufReader<File>,
    left: u64,
}

impl Frames {
    /// Reads the first `bytes` of a file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, bytes: u64) -> io::Result<Self> {
        let file = BufReader::with_capacity(256 << 10, File::open(path)?);
        Ok(Self { file, left: bytes })
    }

    /// The next payload; `Some(None)` for one that is damaged, `None` at the end, or where nothing
    /// more can be made out.
    ///
    /// # Errors
    /// The disk's.
    pub fn next(&mut self) -> io::Result<Option<Option<Bytes>>> {
        let mut head = [0; FRAME_HEAD_BYTES];
        if self.left < head.len() as u64 {
            return Ok(None);
        }
        self.file.read_exact(&mut head)?;
        self.left -= head.len() as u64;
        let [l0, l1, l2, l3, crc @ ..] = head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length as u64 > self.left || length > FRAME_BYTES_MAX {
            self.left = 0;
            return Ok(None);
        }
        let mut payload = vec![0; length];
        self.file.read_exact(&mut payload)?;
        self.left -= length as u64;
        let whole = crc32fast::hash(&payload).to_le_bytes() == crc;
        Ok(Some(whole.then(|| payload.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::tests::item;
    use super::*;

    fn filled(dir: &Path, count: u64) -> Segment {
        let mut segment = Segment::new(dir, QuarantineId(1));
        for id in 1..=count {
            let mut item = item("gh", "192.0.2.1", id * 10, b"body");
            item.id = QuarantineId(id);
            let mut frame = Vec::new();
            item.put_frame(&mut frame).unwrap();
            let (id, received_at, reason) = (item.id, item.received_at, item.reason);
            let brief = Brief {
                id,
                received_at,
                reason,
            };
            segment.append(&frame, &[brief]).unwrap();
        }
        segment
    }

    #[test]
    fn a_file_is_found_again_with_what_is_gone_and_only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mut segment = filled(dir.path(), 5);
        segment.sync().unwrap();
        let gone = [(1, Reason::NoMatch), (3, Reason::NoMatch)];
        assert_eq!(segment.remove_items(&gone).unwrap(), 2);
        assert_eq!(segment.remove_items(&gone[..1]).unwrap(), 0);
        let found = Segment::scan(&segment.path).unwrap().unwrap();
        assert_eq!(
            (found.first, found.last),
            (QuarantineId(1), QuarantineId(5))
        );
        assert_eq!(found.live(), 3);
        assert_eq!(found.received, (Timestamp(10), Timestamp(50)));
        assert!(found.gone.has(1) && found.gone.has(3) && !found.gone.has(2));
        for path in [segment.path.clone(), segment.path.with_extension(GONE)] {
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn what_a_crash_tore_or_a_disk_flipped_is_left_out_and_the_rest_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let segment = filled(dir.path(), 5);
        let whole = std::fs::read(&segment.path).unwrap();
        std::fs::write(&segment.path, &whole[..whole.len() - 3]).unwrap();
        assert_eq!(Segment::scan(&segment.path).unwrap().unwrap().live(), 4);
        let mut flipped = whole.clone();
        flipped[FRAME_HEAD_BYTES + 2] ^= 1;
        std::fs::write(&segment.path, &flipped).unwrap();
        let found = Segment::scan(&segment.path).unwrap().unwrap();
        assert_eq!((found.live(), found.first), (4, QuarantineId(2)));
        assert!(found.gone.has(0));
    }
}
