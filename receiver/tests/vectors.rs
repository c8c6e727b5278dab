//! Every vector of a provider that has a pack gets the verdict, id and type it should.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use creel_receiver::verify::vectors::{self, Report};
use creel_receiver::verify::{Proof, Registry};

fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|other| other == extension))
        .collect();
    files.sort();
    files
}

fn assert_clean(report: &Report) {
    for file in &report.files {
        for mismatch in &file.mismatches {
            println!("{}: {mismatch:?}", file.file);
        }
    }
    assert!(report.is_clean(), "{:?}", report.totals);
}

#[test]
fn every_vector_gets_its_verdict_id_and_type() {
    let report = vectors::run(&Registry::built_in(), &files("tests/vectors", "json")).unwrap();
    assert_clean(&report);
    // but for the one on which the vendors themselves disagree
    let totals = report.totals;
    assert_eq!(
        (totals.unknown_provider, totals.skipped),
        (0, 1),
        "{totals:?}"
    );
    assert_eq!(totals.passed, totals.vectors - 1, "{totals:?}");
    assert!(totals.passed >= 1600, "{totals:?}");
}

#[test]
fn a_vector_of_an_unknown_provider_is_counted_and_no_mismatch() {
    let text = r#"[{"id":"x/1","provider":"nobody","kind":"verify","class":"crypto","method":"POST",
        "url":"https://h/","headers":[],"body":"","expected":"valid"}]"#;
    let report = vectors::run_text(&Registry::built_in(), "x.json", text).unwrap();
    assert_eq!(report.counts.unknown_provider, 1);
    assert_eq!(report.counts.mismatched, 0);
    assert_eq!(report.unknown_providers, ["nobody"]);
}

#[test]
fn a_wrong_expectation_is_reported_as_a_mismatch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/github.json");
    let text = std::fs::read_to_string(path).unwrap();
    let mut vectors: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    vectors[0]["event_type"] = "pull".into();
    vectors[1]["expected"] = "invalid".into();
    let text = serde_json::to_string(&vectors).unwrap();
    let report = vectors::run_text(&Registry::built_in(), "github.json", &text).unwrap();
    let fields: Vec<_> = report.mismatches.iter().map(|m| m.field).collect();
    assert_eq!(fields, ["event_type", "verdict"]);
    assert_eq!(report.counts.mismatched, 2);
}

/// Without any only what is known from documentation alone.
#[test]
fn what_is_known_from_a_vendor_has_vectors() {
    let registry = Registry::built_in();
    let files = files("tests/vectors", "json");
    let has_file = |name: &str| files.iter().any(|path| path.file_stem().unwrap() == name);
    for name in registry.names() {
        let proof = registry.get(name).unwrap().facts().proof;
        let vendor = proof == Some(Proof::VendorVectors);
        assert!(!vendor || has_file(name), "{name}");
    }
}

#[test]
fn every_provider_and_every_option_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROVIDERS.md");
    let page = std::fs::read_to_string(path).unwrap();
    for pack in Registry::built_in().packs() {
        assert!(
            page.contains(&format!("| `{}` |", pack.name())),
            "{}",
            pack.name()
        );
        for option in &pack.facts().options {
            assert!(
                page.contains(&format!("`{}`", option.name)),
                "{}",
                option.name
            );
        }
    }
}

/// The fenced blocks of a page in a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    let parts: Vec<&str> = page.split(opening.as_str()).skip(1).collect();
    let block = |part: &&'a str| part.split("```").next().unwrap();
    parts.iter().map(block).collect()
}

#[test]
fn the_pack_in_the_documentation_is_read_and_its_vectors_agree() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/EXTENDING.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut registry = Registry::built_in();
    registry.add("acme", blocks(&page, "toml")[0]).unwrap();
    let vectors = blocks(&page, "json")[0];
    let report = vectors::run_text(&registry, "EXTENDING.md", vectors).unwrap();
    assert_eq!(report.mismatches, []);
    assert_eq!(report.counts.passed, 2);
}

#[test]
fn every_pack_of_the_directory_is_built_in() {
    let registry = Registry::built_in();
    for path in files("providers", "toml") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(registry.get(name).is_some(), "{name}");
    }
}
