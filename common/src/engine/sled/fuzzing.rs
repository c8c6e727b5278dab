//! The engine's own files that may be anything.

use super::attempts::decode_all;
use super::files::put_u32;
use super::index::{self, BlockRef};
use super::offsets::read_slot_bytes;
use super::spans::Spans;
use super::{state, volume as values};

/// `data` with a checksum behind it that fits.
fn with_crc(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    put_u32(&mut bytes, crc32fast::hash(data));
    bytes
}

/// A volume's index file.
pub fn index(data: &[u8]) {
    let read = |bytes: &[u8]| {
        let mut frames = 0;
        let mut visit = |_: BlockRef, index: &[u8]| {
            frames += 1;
            assert!(index.len() <= bytes.len());
            let _ = crate::log::block::Index::decode(index);
        };
        let mut reader = bytes;
        let found = index::read_from(&mut reader, bytes.len() as u64, &mut visit);
        let found = found.expect("a slice gives what its length says");
        assert!(found.valid_bytes <= bytes.len() as u64);
        index::read_buffer(bytes, &mut |_, _| ());
        frames
    };
    read(data);
    // frames whose checksums fit, with the data cut where it says
    let mut sound = index::MAGIC.to_vec();
    let parts: Vec<&[u8]> = data.split(|byte| *byte == 0xff).collect();
    for (part, at) in parts.iter().zip(1u64..) {
        let block = BlockRef {
            first: at,
            count: 1,
            bytes: 1,
            slot: 1,
        };
        index::put_frame(&mut sound, block, part);
    }
    assert_eq!(read(&sound), parts.len());
    sound.extend_from_slice(data);
    assert!(read(&sound) >= parts.len());
}

/// Values of a volume's database, one after the other.
pub fn volume(data: &[u8]) {
    values::read_values(data.split(|byte| *byte == 0xff));
}

/// A batch in the journal of the state store.
pub fn journal(data: &[u8]) {
    for bytes in [data.to_vec(), with_crc(data)] {
        if let Some(changes) = state::decode(&bytes) {
            let batch = crate::engine::StateBatch(changes);
            assert_eq!(state::decode(&state::encode(&batch)), Some(batch.0));
        }
    }
}

/// What was removed and lost.
pub fn spans(data: &[u8]) {
    for bytes in [data.to_vec(), with_crc(data)] {
        Spans::read(&bytes);
    }
}

/// A slot of the offsets file.
pub fn offsets(data: &[u8]) {
    let mut bytes = [0; 40];
    let taken = data.len().min(bytes.len());
    bytes[..taken].copy_from_slice(&data[..taken]);
    let _ = read_slot_bytes(&bytes);
    let crc = u64::from(crc32fast::hash(&bytes[..32]));
    bytes[32..].copy_from_slice(&crc.to_le_bytes());
    let _ = read_slot_bytes(&bytes);
}

/// A file of kept attempts.
pub fn attempts(data: &[u8]) {
    let frames = decode_all(data);
    let content: usize = frames.iter().map(|(_, content)| content.len()).sum();
    assert!(content <= data.len());
    for (_, content) in frames {
        crate::log::read_attempts(content);
    }
    crate::log::read_attempts(data);
}

/// As it is written.
pub fn sample(name: &str) -> Vec<u8> {
    match name {
        "index" => {
            let mut bytes = index::MAGIC.to_vec();
            for first in [1, 4] {
                let block = BlockRef {
                    first,
                    count: 3,
                    bytes: 100,
                    slot: 2,
                };
                index::put_frame(&mut bytes, block, b"an index");
            }
            bytes.extend(index::sample_footer());
            bytes
        }
        "volume" => values::sample_value(),
        "spans" => Spans::sample(),
        "offsets" => super::offsets::encode(7, super::offsets::Marks::NEW),
        "attempts" => super::attempts::encode((1, 9), b"attempts"),
        name => panic!("no door {name}"),
    }
}
