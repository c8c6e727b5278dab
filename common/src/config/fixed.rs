//! What cannot change while a receiver runs: addresses, the log, limits of the listeners.

use super::Config;
use super::problems::{Finding, Problems};
use super::raw::{Fields, Value};
use super::schema::Shape;
use super::settings::{ELSEWHERE, FILE, RELOADED};

/// The values, with those that hold by default, of all settings that a receiver takes at its start
/// only. Derived from the table of settings, so that a new one is among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Fixed(Vec<(String, Option<Value>)>);

impl Fixed {
    /// Those of a file without problems.
    pub fn of(file: &Fields) -> Self {
        let sections = FILE.keys.iter().filter_map(|key| match key.shape {
            Shape::Section(section) if !ELSEWHERE.contains(&key.name) => Some((key, section)),
            _ => None,
        });
        let values = sections.flat_map(|(key, section)| {
            let fields: Fields = file.get(key.name);
            let keys = section.keys.iter();
            keys.map(move |key| (fields.at(key.name), fields.values.get(key.name).cloned()))
        });
        Self(
            values
                .filter(|(path, _)| !RELOADED.contains(&path.as_str()))
                .collect(),
        )
    }
}

impl Config {
    /// What of `new` a receiver that runs with this configuration could only take over by being
    /// started again, each with its line; none if there is nothing.
    pub fn needs_restart(&self, new: &Self) -> Problems {
        let pairs = self.fixed.0.iter().zip(&new.fixed.0);
        let changed = pairs.filter(|(old, new)| old != new);
        let findings = changed.map(|(_, (path, _))| {
            Finding::error(
                path.as_str(),
                "needs a restart of the receiver: it cannot change while it runs",
            )
        });
        let (old, now) = (&self.receiver, &new.receiver);
        let switched = [
            ("receiver.tls", old.tls.is_some() != now.tls.is_some()),
            (
                "receiver.private_tls",
                old.private_tls.is_some() != now.private_tls.is_some(),
            ),
        ];
        let switched = switched.into_iter().filter(|(_, switched)| *switched);
        let switched = switched.map(|(path, _)| {
            Finding::error(
                path,
                "needs a restart of the receiver: a listener speaks TLS or does not, while it runs",
            )
        });
        new.origin.locate(findings.chain(switched).collect())
    }
}
