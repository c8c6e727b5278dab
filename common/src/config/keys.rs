//! The secrets of a source: names that are unique, and times that make sense.

use std::collections::BTreeMap;
use std::path::Path;

use super::places::{Places, join};
use super::problems::{About, Finding, Problems};
use super::raw::Fields;
use super::suggest::quoted;
use super::{Config, Source, SourceSecret};
use crate::secret::{SecretRef, Validity, Window};
use crate::time::Timestamp;

/// A secret by the settings of a file without problems; `directory` is that of the file.
pub(super) fn build(fields: &Fields, from: SecretRef, directory: &Path) -> SourceSecret {
    SourceSecret {
        id: id(fields, directory).unwrap_or_else(|| from.to_string()),
        from,
        window: Window {
            not_before: fields.opt("not_before"),
            not_after: fields.opt("not_after"),
        },
    }
}

/// As given, or the variable or path as it was typed; none where neither is in order.
fn id(fields: &Fields, directory: &Path) -> Option<String> {
    let path = |path: std::path::PathBuf| {
        let typed = path.strip_prefix(directory).unwrap_or(&path);
        typed.display().to_string()
    };
    let given = fields.opt("id").or_else(|| fields.opt("env"));
    given.or_else(|| fields.opt("file").map(path))
}

/// What is wrong with the secrets of one source beyond their single values.
pub(super) fn check(source: &Fields, places: &Places, directory: &Path) -> Vec<Finding> {
    let secrets: Vec<Fields> = source.opt("secrets").unwrap_or_default();
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let mut findings = Vec::new();
    for secret in &secrets {
        findings.extend(empty_window(secret));
        let Some(id) = id(secret, directory) else {
            continue;
        };
        if let Some(first) = taken.get(&id) {
            let typed = places.has(&secret.at("id"));
            let (about, hint) = match typed {
                true => (About::Value, ""),
                false => (About::Absence, "; give one of them an `id`"),
            };
            let message = format!("{} is the name of {first} as well{hint}", quoted(&id));
            findings.push(Finding::error(secret.at("id"), message).about(about));
            continue;
        }
        taken.insert(id, secret.path.clone());
    }
    findings
}

fn empty_window(secret: &Fields) -> Option<Finding> {
    let start: Timestamp = secret.opt("not_before")?;
    let end: Timestamp = secret.opt("not_after")?;
    let message = format!("is not later than `not_before` ({start}): it would never be valid");
    (end <= start).then(|| Finding::error(secret.at("not_after"), message))
}

impl Config {
    /// A warning for each source that has secrets of which none is valid `now`: all it sends is
    /// refused. No error: a start that is refused would refuse all other sources, too.
    pub fn without_valid_secret(&self, now: Timestamp) -> Problems {
        let none_valid = self.sources.values().filter(|source| {
            let mut windows = source.secrets.iter().map(|secret| secret.window);
            !source.secrets.is_empty() && !windows.any(|window| window.holds(now))
        });
        let findings = none_valid.map(|source| {
            let path = join(&join("sources", &source.name), "secrets");
            Finding::warning(path, none_valid_now(source, now))
        });
        self.origin.locate(findings.collect())
    }
}

fn none_valid_now(source: &Source, now: Timestamp) -> String {
    let states = source.secrets.iter().map(|secret| {
        let (word, time) = match secret.window.at(now) {
            Validity::NotYet => ("only from", secret.window.not_before),
            Validity::Expired => ("only until", secret.window.not_after),
            Validity::Valid => ("now", None),
        };
        let time = time.map(|time| time.to_string()).unwrap_or_default();
        format!("`{}` {word} {time}", secret.id)
    });
    let states: Vec<String> = states.collect();
    format!(
        "none of them is valid now ({}): all that this source sends is refused",
        states.join(", ")
    )
}
