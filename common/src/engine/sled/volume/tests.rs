//! One volume, by itself.

use super::super::database::VALUE_BYTES_MAX;
use super::*;
use crate::testkit::engine::{assert_same_blocks, block};

fn reopened(volumes: &Path) -> Volume {
    Volume::open(volumes, VolumeName::new(1)).unwrap()
}

fn volume(dir: &Path) -> (PathBuf, Volume) {
    let volumes = dir.join("v");
    super::super::files::make_dir(&volumes).unwrap();
    Volume::create(&volumes, VolumeName::new(1)).unwrap();
    let volume = reopened(&volumes);
    (volumes, volume)
}

fn append(volume: &Volume, blocks: &[Block]) -> Vec<BlockRef> {
    let insert = |block| volume.insert(block, &mut Vec::new()).unwrap();
    let refs: Vec<BlockRef> = blocks.iter().map(insert).collect();
    volume.flush().unwrap();
    volume.publish(blocks, &refs);
    refs
}

#[test]
fn pieces_of_a_block_that_is_not_whole_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (volumes, volume) = volume(dir.path());
    append(&volume, &[block(1, 2, 100_000)]);
    // what a crash between the pieces of block 3 leaves
    let torn = volume.insert(&block(3, 1, 90_000), &mut Vec::new());
    let last = torn.unwrap().last_slot();
    volume.db.insert(key(last), &[]).unwrap();
    volume.flush().unwrap();
    drop(volume);
    let volume = reopened(&volumes);
    assert_eq!(volume.span(), Some((1, 3)));
    let again = [block(3, 2, 50_000), block(5, 1, 10)];
    let refs = append(&volume, &again);
    assert_eq!(refs[0].slot, last);
    drop(volume);
    // also when the index has to be found again
    std::fs::remove_file(
        volumes
            .join(VolumeName::new(1).to_string())
            .join(index::FILE),
    )
    .unwrap();
    let volume = reopened(&volumes);
    assert_eq!(volume.span(), Some((1, 6)));
    let read = |at: &BlockRef| volume.read_block(*at).unwrap();
    assert_same_blocks(&refs.iter().map(read).collect::<Vec<_>>(), &again);
}

#[test]
fn a_value_is_written_about_once() {
    let dir = tempfile::tempdir().unwrap();
    let (_, volume) = volume(dir.path());
    let blocks: Vec<Block> = (1..1000).map(|o| block(o, 1, PIECE_BYTES)).collect();
    append(&volume, &blocks);
    let bytes = blocks.len() * VALUE_BYTES_MAX;
    assert!(volume.db_bytes() < (bytes + bytes / 10) as u64);
}

#[test]
fn an_index_behind_or_ahead_of_the_database_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let (volumes, volume) = volume(dir.path());
    let blocks: Vec<Block> = (1..50).map(|o| block(o, 1, 50_000)).collect();
    append(&volume, &blocks[..20]);
    volume.write_index().unwrap();
    append(&volume, &blocks[20..]);
    drop(volume);
    let index_file = volumes
        .join(VolumeName::new(1).to_string())
        .join(index::FILE);
    let wanted: Vec<IndexEntry> = blocks.iter().map(Block::index_entry).collect();
    let volume = reopened(&volumes);
    assert_eq!(volume.entries().unwrap().unwrap(), wanted);
    let ghost = BlockRef {
        slot: volume.refs.read().last().unwrap().last_slot() + 1,
        first: 50,
        count: 1,
        bytes: 10,
    };
    volume.publish(&[block(50, 1, 10)], &[ghost]);
    volume.write_index().unwrap();
    drop(volume);
    assert_eq!(reopened(&volumes).entries().unwrap().unwrap(), wanted);
    std::fs::write(&index_file, b"garbage that is no index").unwrap();
    assert_eq!(reopened(&volumes).entries().unwrap().unwrap(), wanted);
    std::fs::remove_file(&index_file).unwrap();
    assert_eq!(reopened(&volumes).entries().unwrap().unwrap(), wanted);
}

#[test]
fn a_changed_value_is_damage_and_never_a_body() {
    let dir = tempfile::tempdir().unwrap();
    let (_, volume) = volume(dir.path());
    append(&volume, &[block(1, 1, 60_000), block(2, 1, 10)]);
    let first = volume.ref_at(1).unwrap();
    for piece in 0..3 {
        let slot = first.slot + piece;
        let original = volume.get(slot).unwrap().unwrap();
        for at in [0, 5, 13, original.len() - 1] {
            let mut value = original.to_vec();
            value[at] ^= 1;
            volume.db.insert(key(slot), value).unwrap();
            let damaged = volume.read_block(first);
            assert!(matches!(damaged, Err(EngineError::Damaged(_))));
        }
        volume.db.insert(key(slot), original).unwrap();
        assert_same_blocks(&[volume.read_block(first).unwrap()], &[block(1, 1, 60_000)]);
    }
    // a piece in the place of another
    let other = volume.get(first.slot + 2).unwrap().unwrap();
    volume.db.insert(key(first.slot + 1), other).unwrap();
    assert_eq!(volume.verify().unwrap(), [first]);
}

#[test]
fn no_blob_is_ever_written() {
    let dir = tempfile::tempdir().unwrap();
    let (volumes, volume) = volume(dir.path());
    let blocks: Vec<Block> = (1..200).map(|o| block(o, 1, PIECE_BYTES)).collect();
    append(&volume, &blocks);
    append(&volume, &[block(200, 1, 3_000_000)]);
    drop(volume);
    drop(reopened(&volumes));
    let blobs =
        std::fs::read_dir(volumes.join(VolumeName::new(1).to_string()).join("blobs")).unwrap();
    assert_eq!(blobs.count(), 0);
}
