//! Doors to readers of bytes: over their seeds, over what is made of those, and within a bound of
//! memory.
//!
//! The doors of a crate are a table in its `fuzzing.rs`, each with a target of the same name in
//! `tests/fuzz`. The tests of both crates ask the same of theirs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A reader that is handed bytes.
pub type Door = fn(&[u8]);

/// The doors of one crate.
pub struct Doors<'d> {
    /// As Rust spells its name.
    pub crate_name: &'d str,
    /// All of them.
    pub doors: &'d [(&'static str, Door)],
    /// What each is meant for.
    pub sample: fn(&str) -> Vec<u8>,
    /// The directory `tests/fuzz`.
    pub fuzz: PathBuf,
}

impl Doors<'_> {
    /// Hands each its sample, which has to be among its seeds. With `CREEL_BLESS=1` it is put there.
    ///
    /// # Panics
    /// If a reader does, or there is no such seed.
    pub fn take_their_samples(&self) {
        for (name, door) in self.doors {
            let sample = (self.sample)(name);
            door(&sample);
            let path = self.fuzz.join("seeds").join(name).join("written");
            if std::env::var_os("CREEL_BLESS").is_some() {
                fs::create_dir_all(path.parent().expect("a file in a directory"))
                    .and_then(|()| fs::write(&path, &sample))
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
            assert!(path.exists(), "no {}", path.display());
        }
    }

    /// Hands each its seeds and `times(name)` mutations of them, by way of `hand`.
    ///
    /// # Panics
    /// If a reader does, with the bytes that it was handed.
    pub fn stand_mutations(&self, times: impl Fn(&str) -> usize, hand: impl Fn(&str, Door, &[u8])) {
        let seed = rand::random();
        println!("fuzzing: seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        for (name, door) in self.doors {
            let seeds = self.seeds(name);
            assert!(!seeds.is_empty(), "no seeds of {name}");
            for seed in &seeds {
                hand(name, *door, seed);
            }
            for _ in 0..times(name) {
                let bytes = mutated(&mut rng, &seeds);
                let read = std::panic::AssertUnwindSafe(|| hand(name, *door, &bytes));
                let read = std::panic::catch_unwind(read);
                assert!(read.is_ok(), "{name}: {}", hex::encode(&bytes));
            }
        }
    }

    /// Whether each has a target, and each target of this crate a door.
    ///
    /// # Panics
    /// If not.
    pub fn have_their_targets(&self) {
        let read = |path: &Path| {
            fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let own = format!("{}::fuzzing::", self.crate_name);
        let files = fs::read_dir(self.fuzz.join("fuzz_targets")).expect("targets of fuzzing");
        let targets: BTreeSet<String> = files
            .map(|file| file.expect("a file").path())
            .filter(|path| read(path).contains(&own))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        let doors = self.doors.iter().map(|(name, _)| (*name).to_owned());
        assert_eq!(targets, doors.collect());
        let manifest = read(&self.fuzz.join("Cargo.toml"));
        for name in targets {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            let source = read(&self.fuzz.join(format!("fuzz_targets/{name}.rs")));
            assert!(source.contains(&format!("{own}{name}")), "{name}");
        }
    }

    /// The seeds of a door, in order of their names.
    pub fn seeds(&self, name: &str) -> Vec<Vec<u8>> {
        let dir = self.fuzz.join("seeds").join(name);
        let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
        paths.sort();
        let read = |path: &PathBuf| fs::read(path).expect("a seed");
        paths.iter().map(read).collect()
    }
}

/// A few bytes changed, put in, left out, or taken from another seed.
fn mutated(rng: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
    for _ in 0..rng.random_range(1..8) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.random()),
            2 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0xff][rng.random_range(0..4)],
            3 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            4 if at + 4 <= bytes.len() => {
                let word = [0, 1, u32::MAX, i32::MAX as u32][rng.random_range(0..4)];
                bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
            _ => {
                let other = &seeds[rng.random_range(0..seeds.len())];
                let from = rng.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}
