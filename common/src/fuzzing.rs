//! Doors for `tests/fuzz`: everything that reads bytes which may be anything, by name.
//!
//! Bytes come from disks that lie and from the network. Whatever they are, a reader answers or
//! refuses: it neither panics nor takes memory that a length in them asks for. Where a checksum
//! stands in front, each door also goes past it, with one that fits.

use std::path::Path;

use bytes::Bytes;

pub use crate::engine::sled::fuzzing::{attempts, index, offsets, spans, volume};
use crate::engine::{self, Block};
use crate::log::block::{self, Index};
use crate::log::cursor::Cursor;
use crate::log::keys::{KeyMark, fuzzing as runs};
use crate::log::{codec, frames, losses, state};
pub use crate::testkit::doors::Door;
use crate::time::Timestamp;

/// All of them.
pub const DOORS: [(&str, Door); 11] = [
    ("block", block),
    ("record", record),
    ("index", index),
    ("volume", volume),
    ("state", state),
    ("cursor", cursor),
    ("keys", keys),
    ("spans", spans),
    ("offsets", offsets),
    ("attempts", attempts),
    ("frames", frames),
];

/// A stored block, its index and its records.
pub fn block(data: &[u8]) {
    let Some((head, bytes)) = data.split_first_chunk::<8>() else {
        return;
    };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (count, index_bytes) = (word(0), word(4));
    let _ = Index::decode(bytes);
    let stored = |bytes: Vec<u8>| Block {
        first: 1,
        count,
        index_bytes,
        bytes: Bytes::from(bytes),
    };
    read_block(&stored(bytes.to_vec()));
    let mut sound = bytes.to_vec();
    if sound.len() >= 8 {
        let crc = crc32fast::hash(&sound[8..]);
        sound[4..8].copy_from_slice(&crc.to_le_bytes());
        read_block(&stored(sound));
    }
}

fn read_block(stored: &engine::Block) {
    let Ok(block) = block::Block::open(stored) else {
        return;
    };
    for offset in block.first()..block.end() {
        if let Some(bytes) = block.record(offset) {
            record(&bytes);
        }
    }
}

/// A record of a delivery.
pub fn record(data: &[u8]) {
    let record = Bytes::copy_from_slice(data);
    let _ = codec::body_bytes(data);
    let _ = codec::envelope(data);
    if let Ok(delivery) = codec::decode(&record) {
        let again = codec::encode(&delivery).expect("what was decoded is not too large");
        assert_eq!(codec::decode(&Bytes::from(again)), Ok(delivery));
    }
}

/// Records and the journal of the state store, and lines of losses.
pub fn state(data: &[u8]) {
    let _ = codec::from_slice::<state::RouteRecord>(data);
    let _ = codec::from_slice::<state::WaitingRecord>(data);
    let _ = codec::from_slice::<state::DeadRecord>(data);
    let _ = codec::from_slice::<state::Renaming>(data);
    let _ = codec::from_slice::<crate::log::Audit>(data);
    let _ = serde_json::from_slice::<losses::Loss>(data);
    let _ = state::audit_number(data);
    if let Some(place) = state::Place::decode(data) {
        assert_eq!(state::Place::decode(&place.encode()), Some(place));
    }
    crate::engine::sled::fuzzing::journal(data);
}

/// A route's cursor.
pub fn cursor(data: &[u8]) {
    if let Some(cursor) = Cursor::decode(data) {
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
    }
}

/// A run of idempotency keys.
pub fn keys(data: &[u8]) {
    in_file(data, runs::run);
}

/// Messages between creel's own processes.
pub fn frames(data: &[u8]) {
    let message = Bytes::copy_from_slice(data);
    if let Ok(leases) = frames::decode_leases(message.clone()) {
        let again = frames::encode_leases(&leases).expect("what was decoded is not too large");
        assert_eq!(
            frames::decode_leases(Bytes::from(again.concat())),
            Ok(leases)
        );
    }
    if let Ok(settled) = frames::decode_settled(message) {
        let again = frames::encode_settled(&settled).expect("what was decoded is not too large");
        assert_eq!(frames::decode_settled(again), Ok(settled));
    }
}

/// What a door is meant for, as creel writes it: where fuzzing begins.
pub fn sample(name: &str) -> Vec<u8> {
    let delivery = crate::testkit::sample::delivery("github", "a body", Timestamp(5));
    let record = codec::encode(&delivery).expect("a small delivery");
    match name {
        "block" => {
            let entry = |key: u128| block::Entry {
                record: record.clone(),
                source: "github".into(),
                received_at: Timestamp(5),
                key: Some(KeyMark { key, digest: 7 }),
            };
            let block = block::encode(1, &[entry(1), entry(2)]);
            let mut bytes = block.count.to_le_bytes().to_vec();
            bytes.extend_from_slice(&block.index_bytes.to_le_bytes());
            bytes.extend_from_slice(&block.bytes);
            bytes
        }
        "record" => record,
        "state" | "cursor" => {
            let mut cursor = Cursor::at(5);
            for offset in [7, 900, 100_000] {
                cursor.take(offset);
            }
            let place = state::Place {
                waiting: 1,
                dead: 2,
                cursor: cursor.clone(),
            };
            if name == "cursor" {
                cursor.encode()
            } else {
                place.encode()
            }
        }
        "keys" => in_file(&[], runs::sample),
        "frames" => {
            let lease = crate::log::Lease {
                id: 7,
                route: "r".to_owned(),
                expires_in: std::time::Duration::from_secs(60),
                items: vec![crate::log::Leased {
                    offset: 1,
                    attempt: 1,
                    generation: 0,
                    record: Bytes::from(record),
                }],
            };
            let chunks = frames::encode_leases(&[lease]).expect("a small lease");
            chunks.concat()
        }
        name => crate::engine::sled::fuzzing::sample(name),
    }
}

/// Hands bytes over as a file, in memory where there is one.
fn in_file<T>(data: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    let shm = Path::new("/dev/shm");
    let dir = match shm.is_dir() {
        true => tempfile::tempdir_in(shm),
        false => tempfile::tempdir(),
    };
    let dir = dir.expect("a temporary directory");
    let path = dir.path().join("file");
    std::fs::write(&path, data).expect("a file of a few bytes");
    read(&path)
}
