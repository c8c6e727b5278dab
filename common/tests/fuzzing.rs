//! The fuzzed readers over their seeds and some thousand mutations of them, so that the targets of
//! `tests/fuzz` cannot rot.
#![cfg(feature = "fuzzing")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use creel_common::fuzzing::DOORS;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const MUTATIONS: usize = 4_000;
/// Keys are read from files, which takes longer.
const MUTATIONS_OF_FILES: usize = 400;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz")
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let dir = fuzz().join("seeds").join(name);
    let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
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

/// With `CREEL_BLESS=1` a first seed is written for each.
#[test]
fn what_creel_writes_is_a_seed() {
    for (name, door) in DOORS {
        let sample = creel_common::fuzzing::sample(name);
        door(&sample);
        let path = fuzz().join("seeds").join(name).join("written");
        if std::env::var_os("CREEL_BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &sample).unwrap();
        }
        assert!(path.exists(), "no {}", path.display());
    }
}

#[test]
fn no_reader_of_bytes_panics_over_its_seeds_and_what_is_made_of_them() {
    let seed = rand::random();
    println!("fuzzing: seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for (name, door) in DOORS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "no seeds of {name}");
        for seed in &seeds {
            door(seed);
        }
        let times = if name == "keys" {
            MUTATIONS_OF_FILES
        } else {
            MUTATIONS
        };
        for _ in 0..times {
            let bytes = mutated(&mut rng, &seeds);
            let read = std::panic::catch_unwind(|| door(&bytes));
            assert!(read.is_ok(), "{name}: {}", hex::encode(&bytes));
        }
    }
}

#[test]
fn every_door_has_a_target_and_every_target_a_door() {
    let targets: BTreeSet<String> = fs::read_dir(fuzz().join("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let doors: BTreeSet<String> = DOORS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets, doors);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in doors {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let target = fuzz().join(format!("fuzz_targets/{name}.rs"));
        let source = fs::read_to_string(target).unwrap();
        assert!(source.contains(&format!("fuzzing::{name}(data)")), "{name}");
    }
}
