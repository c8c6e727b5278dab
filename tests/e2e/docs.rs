//! The documentation against the tree: every test it names is there, every link leads somewhere,
//! every configuration in the README is accepted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// README, CHANGELOG and everything below `docs`.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for directory in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root().join(directory)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        pages.extend(paths.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    pages
}

/// The lines of a page outside of its fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The fenced blocks of a page in a language.
pub fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let parts = text.split(&opening).skip(1);
    let block = |part: &str| part.split("```").next().unwrap_or_default().to_owned();
    parts.map(block).collect()
}

/// What stands between backticks in a line.
fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// Pages whose tables name tests.
const OF_TESTS: [&str; 2] = ["docs/GUARANTEES.md", "docs/SECURITY.md"];

/// Tests named in such a page: name and file, the last two quotations of a table's row.
fn named_tests(text: &str) -> Vec<(String, String)> {
    let rows = prose(text).filter(|line| line.starts_with("| "));
    let named = rows.filter_map(|row| match quoted(row).as_slice() {
        [.., name, file] if file.ends_with(".rs") => Some((name.to_string(), file.to_string())),
        _ => None,
    });
    named.collect()
}

/// Targets of links in a line: what stands in parentheses behind brackets.
fn links(line: &str) -> Vec<&str> {
    let behind = line.split("](").skip(1);
    behind.filter_map(|rest| rest.split(')').next()).collect()
}

/// Anchors of a page, as GitHub makes them of its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings
        .map(|line| slug(line.trim_start_matches('#').trim()))
        .collect()
}

fn slug(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| {
        if c == ' ' {
            '-'
        } else {
            c.to_ascii_lowercase()
        }
    })
    .collect()
}

/// Why a link of `page` leads nowhere.
fn broken(page: &Path, target: &str) -> Option<String> {
    if target.starts_with("https://") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => page.to_owned(),
        file => page.parent().unwrap().join(file),
    };
    let Ok(text) = fs::read_to_string(&path) else {
        return Some(format!("{}: no file {target}", page.display()));
    };
    let found = anchor.is_empty() || anchors(&text).contains(anchor);
    (!found).then(|| format!("{}: no heading {target}", page.display()))
}

#[test]
fn every_test_that_a_page_names_is_there() {
    for page in OF_TESTS {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let named = named_tests(&text);
        assert!(
            named.len() > 50,
            "only {} were found in {page}",
            named.len()
        );
        for (name, file) in named {
            let source = fs::read_to_string(root().join(&file)).unwrap_or_default();
            let is_there = source.contains(&format!("fn {name}("));
            assert!(is_there, "{page}: no test `{name}` in {file}");
        }
    }
}

#[test]
fn every_numbered_line_of_security_names_a_test() {
    let text = fs::read_to_string(root().join("docs/SECURITY.md")).unwrap();
    let rows = prose(&text).filter_map(|line| line.strip_prefix("| "));
    let numbered = rows.filter(|row| row.starts_with(|c: char| c.is_ascii_digit()));
    let mut seen = 0;
    for row in numbered {
        seen += 1;
        assert_eq!(named_tests(&format!("| {row}")).len(), 1, "{row}");
    }
    assert!(seen > 30, "only {seen} were found");
}

#[test]
fn every_guarantee_names_a_test() {
    let text = fs::read_to_string(root().join("docs/GUARANTEES.md")).unwrap();
    let sections: Vec<&str> = text.split("\n## ").skip(1).collect();
    assert_eq!(sections.len(), 11, "ten guarantees, and what is refused");
    for section in sections {
        let heading = section.lines().next().unwrap_or_default();
        assert!(!named_tests(section).is_empty(), "{heading}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let mut seen = 0;
    let mut problems = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let targets: Vec<&str> = prose(&text).flat_map(links).collect();
        seen += targets.len();
        problems.extend(
            targets
                .into_iter()
                .filter_map(|target| broken(&page, target)),
        );
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(seen > 30, "only {seen} links were found");
}

#[test]
fn a_link_to_nowhere_is_found() {
    let page = root().join("README.md");
    for target in ["docs/NONE.md", "docs/CLI.md#nothing-like-this", "#nor-here"] {
        assert!(broken(&page, target).is_some(), "{target}");
    }
    assert_eq!(broken(&page, "docs/CLI.md#exit-codes"), None);
}

#[test]
fn the_configuration_of_the_readme_is_accepted() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let parts = blocks(&text, "toml");
    assert!(parts.len() >= 3, "{parts:?}");
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("creel.toml"), parts.join("\n")).unwrap();
    let check = Command::new(env!("CARGO_BIN_EXE_creel"))
        .args(["check", "--role", "none"])
        .current_dir(directory.path())
        .env_remove("CREEL_CONFIG")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&check.stderr);
    assert_eq!(check.status.code(), Some(0), "{told}");
}
