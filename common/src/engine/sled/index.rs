//! A volume's index file: where its blocks begin, and each block's own index, beside the database.
//!
//! Written along with the volume (unsynced) and closed by a footer and a sync when the volume is
//! sealed. So opening a log reads one footer per sealed volume and opens none of their databases.
//! All of it can be rebuilt from the blocks.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use super::files::{self, Cursor, put_u32, put_u64};
use super::slots::Slot;
use crate::engine::IndexEntry;
use crate::ids::Offset;

/// The file's name in the volume's directory.
pub(super) const FILE: &str = "index";
pub(super) const MAGIC: &[u8; 8] = b"creelix2";
/// index length, first, count, block length, slot, crc
const FRAME_HEAD_BYTES: usize = 4 + 8 + 4 + 4 + 4 + 4;
/// Says in place of an index length that this is the footer.
const FOOTER: u32 = u32::MAX;
/// marker, first, end, blocks, database bytes, crc
const FOOTER_BYTES: usize = 4 + 8 * 4 + 4;

/// Where a block is, without its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockRef {
    pub(super) first: Offset,
    pub(super) count: u32,
    pub(super) bytes: u32,
    /// Where its first value is; the others follow.
    pub(super) slot: Slot,
}

impl BlockRef {
    pub(super) fn end(&self) -> Offset {
        self.first + Offset::from(self.count)
    }
}

/// What a sealed volume says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) first: Offset,
    pub(super) end: Offset,
    pub(super) blocks: u64,
    /// Size of the database's file when it was sealed.
    pub(super) db_bytes: u64,
}

/// Encodes one block's frame.
pub(super) fn put_frame(to: &mut Vec<u8>, block: BlockRef, index: &[u8]) {
    let start = to.len();
    put_u32(to, index.len() as u32);
    put_u64(to, block.first);
    put_u32(to, block.count);
    put_u32(to, block.bytes);
    put_u32(to, block.slot);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&to[start..]);
    crc.update(index);
    put_u32(to, crc.finalize());
    to.extend_from_slice(index);
}

#[cfg(feature = "fuzzing")]
pub(super) fn sample_footer() -> Vec<u8> {
    footer_bytes(Footer {
        first: 1,
        end: 7,
        blocks: 2,
        db_bytes: 4096,
    })
}

fn footer_bytes(footer: Footer) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FOOTER_BYTES);
    put_u32(&mut bytes, FOOTER);
    for number in [footer.first, footer.end, footer.blocks, footer.db_bytes] {
        put_u64(&mut bytes, number);
    }
    let crc = crc32fast::hash(&bytes);
    put_u32(&mut bytes, crc);
    bytes
}

fn parse_footer(bytes: &[u8]) -> Option<Footer> {
    let mut cursor = Cursor(bytes);
    if cursor.u32()? != FOOTER {
        return None;
    }
    let footer = Footer {
        first: cursor.u64()?,
        end: cursor.u64()?,
        blocks: cursor.u64()?,
        db_bytes: cursor.u64()?,
    };
    let sound = cursor.u32()? == crc32fast::hash(&bytes[..FOOTER_BYTES - 4]);
    sound.then_some(footer)
}

/// Reads only the footer; `None` when the file is missing, damaged there, or not sealed.
pub(super) fn read_footer(volume: &Path) -> io::Result<Option<Footer>> {
    let file = match File::open(volume.join(FILE)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let Some(at) = file.metadata()?.len().checked_sub(FOOTER_BYTES as u64) else {
        return Ok(None);
    };
    let mut bytes = [0; FOOTER_BYTES];
    file.read_exact_at(&mut bytes, at)?;
    Ok(parse_footer(&bytes))
}

/// What reading a whole index file gave.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Bytes up to the first frame that is not sound.
    pub(super) valid_bytes: u64,
    /// The footer, if all before it is sound.
    pub(super) footer: Option<Footer>,
}

/// Hands every sound frame to `visit`, from the start until the first that is not.
/// A missing file is an empty one.
pub(super) fn read(volume: &Path, visit: &mut dyn FnMut(BlockRef, &[u8])) -> io::Result<Found> {
    let file = match File::open(volume.join(FILE)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
        Err(e) => return Err(e),
    };
    let bytes = file.metadata()?.len();
    read_from(&mut BufReader::with_capacity(1 << 16, file), bytes, visit)
}

/// The same of `left` bytes that a reader has.
pub(super) fn read_from(
    reader: &mut impl Read,
    mut left: u64,
    visit: &mut dyn FnMut(BlockRef, &[u8]),
) -> io::Result<Found> {
    let mut found = Found::default();
    let mut magic = [0; 8];
    if left < 8 {
        return Ok(found);
    }
    reader.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Ok(found);
    }
    left -= 8;
    found.valid_bytes = 8;
    let mut index = Vec::new();
    while let Some((block, bytes)) = read_frame(reader, left, &mut index, &mut found)? {
        visit(block, &index);
        found.valid_bytes += bytes;
        left -= bytes;
    }
    Ok(found)
}

/// The next frame, its index in `index`; `None` at the end, at the footer, or at damage.
fn read_frame(
    reader: &mut impl Read,
    left: u64,
    index: &mut Vec<u8>,
    found: &mut Found,
) -> io::Result<Option<(BlockRef, u64)>> {
    if left < FRAME_HEAD_BYTES as u64 {
        return Ok(None);
    }
    let mut head = [0; FRAME_HEAD_BYTES];
    reader.read_exact(&mut head)?;
    let mut cursor = Cursor(&head);
    let (Some(length), Some(first), Some(count), Some(bytes), Some(slot), Some(crc)) = (
        cursor.u32(),
        cursor.u64(),
        cursor.u32(),
        cursor.u32(),
        cursor.u32(),
        cursor.u32(),
    ) else {
        return Ok(None);
    };
    if length == FOOTER && left == FOOTER_BYTES as u64 {
        let mut rest = head.to_vec();
        rest.resize(FOOTER_BYTES, 0);
        reader.read_exact(&mut rest[FRAME_HEAD_BYTES..])?;
        found.footer = parse_footer(&rest);
        return Ok(None);
    }
    let ends_nowhere = first.checked_add(Offset::from(count)).is_none();
    if u64::from(length) > left - FRAME_HEAD_BYTES as u64 || ends_nowhere {
        return Ok(None);
    }
    index.resize(length as usize, 0);
    reader.read_exact(index)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[..FRAME_HEAD_BYTES - 4]);
    hasher.update(index);
    if hasher.finalize() != crc {
        return Ok(None);
    }
    let block = BlockRef {
        first,
        count,
        bytes,
        slot,
    };
    Ok(Some((block, FRAME_HEAD_BYTES as u64 + u64::from(length))))
}

/// Reads the frames in a buffer that [`put_frame`] filled.
pub(super) fn read_buffer(mut buffer: &[u8], visit: &mut dyn FnMut(BlockRef, &[u8])) {
    let mut index = Vec::new();
    loop {
        let left = buffer.len() as u64;
        match read_frame(&mut buffer, left, &mut index, &mut Found::default()) {
            Ok(Some((block, _))) => visit(block, &index),
            _ => return,
        }
    }
}

/// The trait's form of an entry.
pub(super) fn entry(block: BlockRef, index: &[u8]) -> IndexEntry {
    IndexEntry {
        first: block.first,
        count: block.count,
        block_bytes: u64::from(block.bytes),
        bytes: Bytes::copy_from_slice(index),
    }
}

/// An index file being written along with its volume.
#[derive(Debug)]
pub(super) struct IndexWriter {
    file: File,
    /// Frames not yet given to the file.
    pending: Vec<u8>,
}

impl IndexWriter {
    /// Opens the file to go on after its first `valid_bytes`; the rest is cut off.
    pub(super) fn open(volume: &Path, valid_bytes: u64) -> io::Result<Self> {
        let mut file = files::private()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(volume.join(FILE))?;
        file.set_len(valid_bytes)?;
        file.seek(SeekFrom::End(0))?;
        if valid_bytes == 0 {
            file.write_all(MAGIC)?;
        }
        Ok(Self {
            file,
            pending: Vec::new(),
        })
    }

    pub(super) fn push(&mut self, block: BlockRef, index: &[u8]) {
        put_frame(&mut self.pending, block, index);
    }

    pub(super) fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Gives what is pending to the file, unsynced: losing it costs a scan, nothing else.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            if let Err(e) = self.append(&pending) {
                self.pending = pending;
                return Err(e);
            }
        }
        Ok(())
    }

    /// Writes all of `bytes` or, as far as the disk allows, nothing.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.file.stream_position()?;
        let written = self.file.write_all(bytes);
        if written.is_err() {
            self.file.set_len(end)?;
            self.file.seek(SeekFrom::Start(end))?;
        }
        written
    }

    /// Ends the file with its footer and syncs it.
    pub(super) fn seal(&mut self, volume: &Path, footer: Footer) -> io::Result<()> {
        self.write()?;
        self.append(&footer_bytes(footer))?;
        self.file.sync_all()?;
        files::sync_dir(volume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(dir: &Path, sealed: bool) -> Vec<(BlockRef, Vec<u8>)> {
        let mut writer = IndexWriter::open(dir, 0).unwrap();
        let frames: Vec<_> = (0..20u32)
            .map(|i| {
                let block = BlockRef {
                    first: u64::from(i) * 3,
                    count: 3,
                    bytes: i,
                    slot: i,
                };
                (block, vec![i as u8; i as usize * 7])
            })
            .collect();
        for (block, index) in &frames {
            writer.push(*block, index);
        }
        writer.write().unwrap();
        if sealed {
            let footer = Footer {
                first: 0,
                end: 60,
                blocks: 20,
                db_bytes: 5,
            };
            writer.seal(dir, footer).unwrap();
        }
        frames
    }

    fn read_all(dir: &Path) -> (Vec<(BlockRef, Vec<u8>)>, Found) {
        let mut frames = Vec::new();
        let found = read(dir, &mut |block, index| {
            frames.push((block, index.to_vec()))
        })
        .unwrap();
        (frames, found)
    }

    #[test]
    fn frames_and_footer_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = sample(dir.path(), true);
        let (frames, found) = read_all(dir.path());
        assert_eq!(frames, wanted);
        assert_eq!(found.footer.map(|f| (f.end, f.blocks)), Some((60, 20)));
        assert_eq!(read_footer(dir.path()).unwrap(), found.footer);
    }

    #[test]
    fn a_file_cut_anywhere_gives_a_prefix_and_goes_on_from_there() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = sample(dir.path(), false);
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for cut in (0..whole.len()).step_by(13) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (frames, found) = read_all(dir.path());
            assert_eq!(frames, wanted[..frames.len()]);
            let mut writer = IndexWriter::open(dir.path(), found.valid_bytes).unwrap();
            for (block, index) in &wanted[frames.len()..] {
                writer.push(*block, index);
            }
            writer.write().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_is_never_believed() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = sample(dir.path(), true);
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(3) {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            std::fs::write(&path, &bytes).unwrap();
            let (frames, found) = read_all(dir.path());
            assert_eq!(frames, wanted[..frames.len()]);
            assert!(found.footer.is_none(), "flipped at {at}");
        }
    }
}
