//! What creel is made of: locked, checked, and `unsafe` in one file.

use std::fs;
use std::path::{Path, PathBuf};

/// The one file, which sled's syncs need: docs/decisions say why.
const UNSAFE: &str = "common/src/engine/sled/durable.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        // what fuzzing builds and finds
        let made = ["target", "corpus", "artifacts"];
        let is_made = made.iter().any(|name| path.ends_with(name));
        match path.is_dir() {
            true if is_made => {}
            true => rust_files(&path, found),
            false if path.extension().is_some_and(|end| end == "rs") => found.push(path),
            false => {}
        }
    }
}

/// Whether code, not a comment, a text or the name of a lint, says `unsafe`.
fn says_unsafe(source: &str) -> bool {
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code: String = code.map(|line| format!("{line}\n")).collect();
    // a quote that begins or ends no text
    let code = code.replace("'\"'", "").replace("\\\"", "");
    let mut outside = code.split('"').step_by(2);
    outside.any(|part| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        part.split(|c| !is_part(c)).any(|word| word == "unsafe")
    })
}

#[test]
fn one_file_says_unsafe_and_every_crate_denies_it() {
    let mut files = Vec::new();
    for directory in ["common", "receiver", "worker", "src", "tests"] {
        rust_files(&root().join(directory), &mut files);
    }
    assert!(files.len() > 300, "only {} files", files.len());
    for path in files {
        let source = fs::read_to_string(&path).unwrap();
        let is_the_one = path.ends_with(UNSAFE);
        assert_eq!(says_unsafe(&source), is_the_one, "{}", path.display());
    }
    assert!(read("Cargo.toml").contains("\nunsafe_code = \"deny\"\n"));
    for manifest in [
        "Cargo.toml",
        "common/Cargo.toml",
        "receiver/Cargo.toml",
        "worker/Cargo.toml",
    ] {
        let text = read(manifest);
        assert!(text.contains("[lints]\nworkspace = true"), "{manifest}");
    }
}

#[test]
fn what_is_built_is_what_is_locked_and_checked() {
    let lock = read("Cargo.lock");
    let packages = lock.matches("[[package]]").count();
    let checked = lock.matches("\nchecksum = ").count();
    let own = ["creel", "creel-common", "creel-receiver", "creel-worker"].len();
    assert_eq!(
        packages,
        checked + own,
        "every package but ours has a checksum"
    );
    let run = format!("{}{}", read(".ci/run"), read("tests/run"));
    assert!(run.contains("cargo-deny\" --offline check bans licenses sources"));
    for line in run.lines() {
        let builds = ["clippy", "test", "doc", "run", "fetch"];
        let builds = builds
            .iter()
            .any(|what| line.starts_with(&format!("cargo {what}")));
        assert!(!builds || line.contains("--locked"), "{line}");
    }
    let deny: toml::Table = read("deny.toml").parse().unwrap();
    let ignored = deny["advisories"]["ignore"].as_array().unwrap();
    assert_eq!(ignored.len(), 4);
    assert!(
        ignored
            .iter()
            .all(|one| one["reason"].as_str().is_some_and(|why| why.len() > 20))
    );
}

#[test]
fn nothing_turns_the_check_of_certificates_off() {
    let mut files = Vec::new();
    for directory in ["common/src", "receiver/src", "worker/src", "src"] {
        rust_files(&root().join(directory), &mut files);
    }
    let off = [
        "danger_accept",
        "dangerous()",
        "ServerCertVerifier",
        "tls_danger",
        "insecure",
    ];
    for path in files {
        let source = fs::read_to_string(&path).unwrap();
        let found = off.iter().find(|word| source.contains(**word));
        assert_eq!(found, None, "{}", path.display());
    }
    for page in ["docs/CONFIG.md", "docs/CLI.md", "docs/DESTINATIONS.md"] {
        assert!(!read(page).contains("insecure"), "{page}");
    }
}
