//! A disk without a byte left, on the layer.

use super::*;
use crate::layer::{Disk as LayerDisk, Layer};

const BALLAST_BYTES: u64 = 4 << 20;

#[test]
fn volumes_go_from_a_disk_without_a_byte_left() {
    let dir = tempfile::tempdir().unwrap();
    let layer = match Layer::mount(&dir.path().join("disk"), LayerDisk::empty()) {
        Ok(layer) => layer,
        Err(why) => {
            println!("left out: volumes go from a full disk: {why}");
            return;
        }
    };
    let settings = SledSettings {
        volume_bytes: 40_000,
        ballast_bytes: BALLAST_BYTES,
        ..SledSettings::new(layer.at().join("data"))
    };
    let engine = SledEngine::open(settings, 7).unwrap();
    append(&engine, 1, 40);
    assert_eq!(engine.space().unwrap().ballast, BALLAST_BYTES);
    let first = engine.volumes()[0].clone();
    layer.set_size(layer.used_bytes());
    engine.remove_volume(first.number).unwrap();
    assert_eq!(engine.volumes()[0].first, first.end);
    let space = engine.space().unwrap();
    assert_eq!(space.ballast, 0);
    // what prepares the next volume may have taken some of it already
    assert!(space.free > 0, "{space:?}");
}
