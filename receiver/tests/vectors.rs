//! Every vector of a provider that has a pack gets the verdict, id and type it should.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use creel_receiver::verify::{Registry, vectors};

fn files() -> Vec<PathBuf> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_vector_gets_its_verdict_id_and_type() {
    let report = vectors::run(&Registry::built_in(), &files()).unwrap();
    for file in &report.files {
        for mismatch in &file.mismatches {
            println!("{}: {mismatch:?}", file.file);
        }
        println!("{:?} {}", file.counts, file.file);
    }
    assert!(report.is_clean());
    assert_eq!(report.totals.unknown_provider, 0);
    assert!(report.totals.passed >= 240, "{:?}", report.totals);
}
