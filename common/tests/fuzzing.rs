//! The fuzzed readers over their seeds and some thousand mutations of them, so that the targets of
//! `tests/fuzz` cannot rot.
#![cfg(feature = "fuzzing")]

use std::path::Path;

use creel_common::fuzzing::{DOORS, sample};
use creel_common::testkit::doors::Doors;

const MUTATIONS: usize = 4_000;
/// Keys are read from files, which takes longer.
const MUTATIONS_OF_FILES: usize = 400;

fn doors() -> Doors<'static> {
    Doors {
        crate_name: "creel_common",
        doors: &DOORS,
        sample,
        fuzz: Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz"),
    }
}

/// With `CREEL_BLESS=1` a first seed is written for each.
#[test]
fn what_creel_writes_is_a_seed() {
    doors().take_their_samples();
}

#[test]
fn no_reader_of_bytes_panics_over_its_seeds_and_what_is_made_of_them() {
    let times = |name: &str| match name {
        "keys" => MUTATIONS_OF_FILES,
        _ => MUTATIONS,
    };
    doors().stand_mutations(times, |_, door, bytes| door(bytes));
}

#[test]
fn every_door_has_a_target_and_every_target_a_door() {
    doors().have_their_targets();
}
