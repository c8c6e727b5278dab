//! What only the sled engine has to prove: its files, its owners, what it does about damage.

mod crash;
mod damage;
mod rewriting;
#[cfg(feature = "layer")]
mod room;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::name::VolumeName;
use super::*;
use crate::testkit::engine::{Sizes, Storage, block, engine_conformance, histories_agree};

/// A directory that is opened again and again.
struct SledStorage {
    dir: tempfile::TempDir,
    sizes: Sizes,
}

impl SledStorage {
    fn new(volume_bytes: u64) -> Self {
        let sizes = Sizes {
            volume_bytes,
            ..Sizes::default()
        };
        let dir = tempfile::tempdir().unwrap();
        Self { dir, sizes }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn try_open(&self) -> Result<SledEngine, EngineError> {
        let settings = SledSettings {
            volume_bytes: self.sizes.volume_bytes,
            attempts_bytes: self.sizes.attempts_bytes,
            ..SledSettings::new(self.path())
        };
        SledEngine::open(settings, 7)
    }

    fn reopen(&self) -> SledEngine {
        self.try_open().unwrap()
    }

    fn volume(&self, number: u64) -> PathBuf {
        self.path()
            .join("v")
            .join(VolumeName::new(number).to_string())
    }
}

impl Storage for SledStorage {
    fn open(&mut self) -> Arc<dyn Engine> {
        Arc::new(self.reopen())
    }
}

fn fresh(sizes: Sizes) -> Box<dyn Storage> {
    let dir = tempfile::tempdir().unwrap();
    Box::new(SledStorage { dir, sizes })
}

/// Appends blocks of one delivery and 10 kB, one by one.
fn append(engine: &SledEngine, first: Offset, end: Offset) {
    for offset in first..end {
        engine.append(&[block(offset, 1, 10_000)]).unwrap();
    }
}

/// Every file below a directory and its content.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert(path, Vec::new());
        } else {
            let content = fs::read(&path).unwrap();
            found.insert(path, content);
        }
    }
    found
}

fn spans(gaps: &[Gap]) -> Vec<(Offset, Offset, bool)> {
    let span = |g: &Gap| (g.first, g.last, g.known_lost);
    gaps.iter().map(span).collect()
}

#[test]
fn sled_conforms() {
    engine_conformance(&fresh);
}

#[test]
fn random_histories_agree_with_the_model() {
    histories_agree(&fresh, 12);
}

#[test]
fn a_second_owner_is_refused_and_the_first_goes_on() {
    let storage = SledStorage::new(1 << 20);
    let engine = storage.reopen();
    append(&engine, 1, 3);
    let refused = storage.try_open();
    assert!(
        matches!(refused, Err(EngineError::Locked(_))),
        "{refused:?}"
    );
    append(&engine, 3, 5);
    assert_eq!(engine.read(1, usize::MAX).unwrap().len(), 4);
    drop(engine);
    assert_eq!(storage.reopen().opened().next, 5);
}

#[test]
fn another_format_is_refused_and_nothing_is_touched() {
    let storage = SledStorage::new(1 << 20);
    storage.reopen().close().unwrap();
    let path = storage.path().join("creel.log");
    let text = fs::read_to_string(&path).unwrap();
    let written = format!("version: {}", format::VERSION);
    for other in [format::VERSION + 1, format::OLDEST_READ - 1] {
        fs::write(&path, text.replace(&written, &format!("version: {other}"))).unwrap();
        let before = tree(&storage.path());
        let refused = storage.try_open().unwrap_err();
        let said = refused.to_string();
        assert!(matches!(refused, EngineError::Format { .. }), "{said}");
        assert!(said.contains(&format!("has format {other}")), "{said}");
        assert!(said.contains("reads 2 to 3"), "{said}");
        assert!(tree(&storage.path()) == before);
    }
}

#[test]
fn a_directory_of_something_else_is_refused_and_nothing_is_touched() {
    let storage = SledStorage::new(1 << 20);
    fs::create_dir(storage.path()).unwrap();
    fs::write(storage.path().join("photo.jpg"), b"x").unwrap();
    let before = tree(&storage.path());
    let refused = storage.try_open().unwrap_err().to_string();
    assert!(refused.contains("photo.jpg"), "{refused}");
    assert!(tree(&storage.path()) == before);
}

#[test]
fn a_path_that_is_no_directory_is_refused_with_its_name() {
    let storage = SledStorage::new(1 << 20);
    fs::write(storage.path(), b"").unwrap();
    let refused = storage.try_open().unwrap_err();
    assert!(matches!(refused, EngineError::Unusable(_)));
    assert!(refused.to_string().contains("data"), "{refused}");
}

#[test]
fn an_interrupted_first_start_begins_again() {
    let storage = SledStorage::new(1 << 20);
    files::make_dir(&storage.path()).unwrap();
    for leftover in ["lock", "offsets", "offsets.new", "creel.new", "ballast"] {
        fs::write(storage.path().join(leftover), b"").unwrap();
    }
    files::make_dir(&storage.path().join("proof/blobs")).unwrap();
    let engine = storage.reopen();
    assert!(engine.opened().created && engine.opened().lost.is_empty());
    append(&engine, 1, 2);
}

#[test]
fn the_ballast_is_the_logs_own_and_comes_back_after_it_was_deleted() {
    let storage = SledStorage::new(1 << 20);
    let settings = SledSettings {
        ballast_bytes: 3 << 20,
        ..SledSettings::new(storage.path())
    };
    let engine = SledEngine::open(settings, 7).unwrap();
    let space = engine.space().unwrap();
    assert_eq!(space.ballast, 3 << 20);
    assert!(space.used > space.ballast);
    let ballast = storage.path().join("ballast");
    fs::remove_file(&ballast).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while !ballast.exists() {
        assert!(std::time::Instant::now() < until, "it does not come back");
        std::thread::yield_now();
    }
    drop(engine);
    // nothing is set: what is there goes
    assert_eq!(storage.reopen().space().unwrap().ballast, 0);
    assert!(!ballast.exists());
}

#[test]
fn only_this_user_may_read_it() {
    let storage = SledStorage::new(40_000);
    fs::create_dir(storage.path()).unwrap();
    fs::set_permissions(storage.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let engine = storage.reopen();
    append(&engine, 1, 20);
    engine.append_attempts((1, 1), b"x").unwrap();
    engine.close().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&storage.path()), 0o700);
    for path in tree(&storage.path()).keys().filter(|p| p.is_file()) {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
}

#[test]
fn what_a_killed_opening_or_a_power_cut_leaves_does_not_hinder() {
    let storage = SledStorage::new(1 << 20);
    let engine = storage.reopen();
    append(&engine, 1, 10);
    let mut batch = StateBatch::default();
    batch.put("k", "v");
    engine.commit(&batch).unwrap();
    drop(engine);
    for dir in [storage.volume(1), storage.path().join("state")] {
        fs::write(dir.join("snap.00000000000000AB.generating"), b"half").unwrap();
        fs::write(dir.join("conf"), b"").unwrap();
    }
    let half_made = storage.path().join("v/making-0000000002");
    fs::create_dir(&half_made).unwrap();
    fs::write(half_made.join("conf"), b"x").unwrap();
    let engine = storage.reopen();
    assert!(engine.opened().lost.is_empty());
    assert_eq!(engine.read(1, usize::MAX).unwrap().len(), 9);
    assert_eq!(engine.get(b"k").unwrap().unwrap(), b"v");
    assert!(!half_made.exists());
}

#[test]
fn state_never_becomes_a_file_that_sled_does_not_sync() {
    let storage = SledStorage::new(1 << 30);
    let engine = storage.reopen();
    let largest = super::super::STATE_VALUE_BYTES_MAX - 2;
    for round in 0..6u16 {
        for i in 0..60u16 {
            let mut batch = StateBatch::default();
            batch.put(i.to_be_bytes(), vec![round as u8; largest]);
            batch.remove(((i * 7 + round) % 60).to_be_bytes());
            engine.commit(&batch).unwrap();
        }
    }
    engine.close().unwrap();
    drop(engine);
    drop(storage.reopen());
    let blobs = fs::read_dir(storage.path().join("state/blobs")).unwrap();
    assert_eq!(blobs.count(), 0);
}
