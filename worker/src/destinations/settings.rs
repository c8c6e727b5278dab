//! Reads a destination's settings table and collects every problem in it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use creel_common::config::{hint, parse_duration, parse_size, show_duration, show_size};
use creel_common::secret::SecretRef;
use ipnet::IpNet;
use toml::{Table, Value};

/// A problem: the path of the key, and what is wrong with it.
pub type Problem = (String, String);

/// A settings table being read. Every key that is asked for is known; the rest are problems.
pub(super) struct Reader<'a> {
    table: &'a Table,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(table: &'a Table) -> Self {
        Self {
            table,
            known: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Notes a problem with `key`.
    pub(super) fn problem(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.problems.push((key.into(), message.into()));
    }

    /// The value of a key, which is known from now on.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.table.get(key)
    }

    /// A text; `None` when it is left out or something else.
    pub(super) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        match self.value(key)? {
            Value::String(text) if !text.is_empty() => Some(text),
            _ => {
                self.problem(key, "expected a text");
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&mut self, key: &'static str) -> Option<&'a str> {
        if !self.table.contains_key(key) {
            self.known.push(key);
            self.problem(key, "is missing");
            return None;
        }
        self.text(key)
    }

    /// A duration with a unit, within bounds.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        bounds: (Duration, Duration),
    ) -> Duration {
        let Some(value) = self.value(key) else {
            return default;
        };
        match value.as_str().and_then(parse_duration) {
            Some(duration) if duration >= bounds.0 && duration <= bounds.1 => duration,
            Some(_) => {
                let message = format!(
                    "must be between {} and {}",
                    show_duration(bounds.0),
                    show_duration(bounds.1)
                );
                self.problem(key, message);
                default
            }
            None => {
                self.problem(
                    key,
                    "expected a duration with a unit, such as \"30s\" or \"1h\"",
                );
                default
            }
        }
    }

    /// A size with a unit, at least `min` bytes.
    pub(super) fn size(&mut self, key: &'static str, default: u64, min: u64) -> u64 {
        let Some(value) = self.value(key) else {
            return default;
        };
        match value.as_str().and_then(parse_size) {
            Some(size) if size >= min => size,
            Some(_) => {
                self.problem(key, format!("must be at least {}", show_size(min)));
                default
            }
            None => {
                self.problem(key, "expected a size with a unit, such as \"64MiB\"");
                default
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn count(&mut self, key: &'static str, default: usize, max: usize) -> usize {
        let Some(value) = self.value(key) else {
            return default;
        };
        match value.as_integer().and_then(|n| usize::try_from(n).ok()) {
            Some(count) if (1..=max).contains(&count) => count,
            _ => {
                self.problem(key, format!("expected a whole number from 1 to {max}"));
                default
            }
        }
    }

    /// A list of networks, such as `10.0.0.0/8`; a single address is a network of one.
    pub(super) fn networks(&mut self, key: &'static str) -> Vec<IpNet> {
        let mut found = Vec::new();
        for (at, value) in self.list(key).iter().enumerate() {
            let parsed = value.as_str().and_then(|text| {
                text.parse::<IpNet>()
                    .ok()
                    .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
            });
            match parsed {
                Some(network) => found.push(network),
                None => self.problem(
                    format!("{key}[{at}]"),
                    "expected a network, such as \"10.0.0.0/8\"",
                ),
            }
        }
        found
    }

    /// The elements of an array; empty when it is left out.
    pub(super) fn list(&mut self, key: &'static str) -> &'a [Value] {
        match self.value(key) {
            None => &[],
            Some(Value::Array(values)) => values,
            Some(_) => {
                self.problem(key, "expected a list");
                &[]
            }
        }
    }

    /// A reference to a secret: `{ env = "NAME" }` or `{ file = "path" }`.
    pub(super) fn secret(&mut self, key: &str, value: &Value) -> Option<SecretRef> {
        let reference = value.as_table().and_then(|table| {
            let mut keys = table.iter();
            match (keys.next(), keys.next()) {
                (Some((kind, Value::String(text))), None) if !text.is_empty() => {
                    match kind.as_str() {
                        "env" => Some(SecretRef::Env(text.clone())),
                        "file" => Some(SecretRef::File(PathBuf::from(text))),
                        _ => None,
                    }
                }
                _ => None,
            }
        });
        if reference.is_none() {
            self.problem(key, "expected { env = \"NAME\" } or { file = \"path\" }");
        }
        reference
    }

    /// All problems, the unknown keys among them.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        for key in self.table.keys() {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let message = format!("unknown key{}", hint(key, self.known.iter().copied()));
            self.problems.push((key.clone(), message));
        }
        self.problems
    }
}

/// A reference whose relative file starts at `base`.
pub(super) fn based(reference: SecretRef, base: &Path) -> SecretRef {
    match reference {
        SecretRef::File(path) => SecretRef::File(base.join(path)),
        env @ SecretRef::Env(_) => env,
    }
}
