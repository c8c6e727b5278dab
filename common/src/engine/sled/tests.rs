//! What only the sled engine has to prove: its files, its recovery, its owners.

use super::*;
use crate::testkit::engine::{Sizes, Storage, engine_conformance, histories_agree};

/// A directory that is opened again and again.
struct SledStorage {
    dir: tempfile::TempDir,
    sizes: Sizes,
}

impl Storage for SledStorage {
    fn open(&mut self) -> Arc<dyn Engine> {
        let settings = SledSettings {
            volume_bytes: self.sizes.volume_bytes,
            attempts_bytes: self.sizes.attempts_bytes,
            ..SledSettings::new(self.dir.path().join("data"))
        };
        Arc::new(SledEngine::open(settings, 7).unwrap())
    }
}

fn fresh(sizes: Sizes) -> Box<dyn Storage> {
    let dir = tempfile::tempdir().unwrap();
    Box::new(SledStorage { dir, sizes })
}

#[test]
fn sled_conforms() {
    engine_conformance(&fresh);
}

#[test]
fn random_histories_agree_with_the_model() {
    histories_agree(&fresh, 12);
}
