//! Secrets with names and times, and what a running receiver takes over.

use crate::secret::Window;
use crate::time::Timestamp;

use super::*;

const SOURCE: &str = r#"
[sources.pay]
provider = "stripe"
secrets = [
  { env = "NEW", not_before = "2026-01-01T01:00:00+01:00" },
  { file = "secrets/old", not_after = "2026-02-01T00:00:00Z" },
  { file = "secrets/older", id = "legacy", not_after = "2025-01-01T00:00:00Z" },
]
"#;

/// 2026-01-01T00:00:00Z
const NEW_YEAR: Timestamp = Timestamp::from_secs(1_767_225_600);
const MONTH_SECS: u64 = 31 * 24 * 3600;

#[test]
fn a_secret_has_a_name_and_a_window() {
    let config = parse_text(SOURCE).unwrap();
    let secrets = &config.sources["pay"].secrets;
    let ids: Vec<&str> = secrets.iter().map(|secret| &*secret.id).collect();
    assert_eq!(ids, ["NEW", "secrets/old", "legacy"]);
    let from_new_year = Window {
        not_before: Some(NEW_YEAR),
        not_after: None,
    };
    assert_eq!(secrets[0].window, from_new_year);
    let february = Timestamp(NEW_YEAR.millis() + MONTH_SECS * 1000);
    assert_eq!(secrets[1].window.not_after, Some(february));
}

#[test]
fn windows_that_are_empty_and_names_that_are_taken_are_problems() {
    let text = r#"
[sources.pay]
provider = "stripe"
secrets = [
  { env = "A", not_before = "2026-01-01T00:00:00Z", not_after = "2026-01-01T00:00:00Z" },
  { env = "A" },
  { file = "b", id = "x" },
  { file = "c", id = "x", not_befor = "2026-01-01T00:00:00Z" },
  { file = "d", not_after = "2026-01-01" },
  { file = "e", not_after = 2026-01-01 },
  { file = "f", not_after = 2026-01-01T00:00:00Z },
]
"#;
    assert_eq!(
        report(text),
        "\
creel.toml has 6 problems and 1 warning
  creel.toml:2   sources.pay                       warning: no route takes from it: its deliveries are kept until one does
  creel.toml:5   sources.pay.secrets[0].not_after  is not later than `not_before` (2026-01-01T00:00:00.000Z): it would never be valid
  creel.toml:6   sources.pay.secrets[1].id         `A` is the name of sources.pay.secrets[0] as well; give one of them an `id`
  creel.toml:8   sources.pay.secrets[3].id         `x` is the name of sources.pay.secrets[2] as well
  creel.toml:8   sources.pay.secrets[3].not_befor  unknown key; did you mean `not_before`?
  creel.toml:9   sources.pay.secrets[4].not_after  expected a time with its offset such as \"2026-11-23T17:00:00Z\", found `2026-01-01`
  creel.toml:10  sources.pay.secrets[5].not_after  expected a time with its offset such as \"2026-11-23T17:00:00Z\", found a date or time"
    );
}

#[test]
fn a_source_of_which_no_secret_is_valid_is_warned_about_and_no_problem() {
    let config = parse_text(SOURCE).unwrap();
    let at = |secs: u64| {
        let now = Timestamp(NEW_YEAR.millis() + secs * 1000);
        config.without_valid_secret(now)
    };
    assert!(at(0).is_empty() && at(10 * MONTH_SECS).is_empty());
    let text = SOURCE.replace("2026-01-01T01:00:00+01:00", "2027-01-01T00:00:00Z");
    let config = parse_text(&text).unwrap();
    let problems = config.without_valid_secret(Timestamp(NEW_YEAR.millis() + MONTH_SECS * 1000));
    assert!(!problems.has_errors());
    let told = problems.to_string();
    for part in [
        "creel.toml:4",
        "sources.pay.secrets",
        "none of them is valid now",
        "`NEW` only from 2027-01-01T00:00:00.000Z",
        "`legacy` only until 2025-01-01T00:00:00.000Z",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
}

#[test]
fn what_needs_a_restart_is_told_with_its_line_and_the_rest_is_not() {
    let old = parse_text(EXAMPLE).unwrap();
    let new = EXAMPLE
        .replace(
            "retention = \"7d\"",
            "retention = \"8d\"\nreserve = \"2GiB\"",
        )
        .replace("0.0.0.0:8080", "0.0.0.0:8090")
        .replace("hooks.example.com", "other.example.com")
        .replace("max_attempts = 8", "max_attempts = 9")
        .replace("GITHUB_WEBHOOK_SECRET", "ANOTHER");
    let new = format!("{new}\n[worker]\nconcurrency = 7\n");
    let new = parse_text(&new).unwrap();
    let told = old.needs_restart(&new).to_string();
    assert_eq!(
        told,
        "\
creel.toml has 3 problems
  creel.toml:3   receiver.listen  needs a restart of the receiver: it cannot change while it runs
  creel.toml:10  log.retention    needs a restart of the receiver: it cannot change while it runs
  creel.toml:11  log.reserve      needs a restart of the receiver: it cannot change while it runs"
    );
    assert!(new.needs_restart(&new).is_empty());
}

#[test]
fn every_setting_that_is_said_to_be_reloaded_is_one() {
    use super::super::settings::{ELSEWHERE, FILE, RELOADED};
    for path in RELOADED {
        let (section, key) = path.split_once('.').unwrap();
        let section = FILE.key(section).unwrap();
        let super::super::schema::Shape::Section(section) = section.shape else {
            panic!("{path}");
        };
        assert!(section.key(key).is_some(), "{path}");
    }
    assert!(ELSEWHERE.iter().all(|name| FILE.key(name).is_some()));
}
