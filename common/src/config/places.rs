//! Where in the file each key and each value stands, by path.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Byte ranges of a key and of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Of the key; of the value, for an item of an array.
    pub key: Range<usize>,
    /// Of the value.
    pub value: Range<usize>,
}

/// The places of a whole file.
#[derive(Debug, Clone, Default)]
pub struct Places(BTreeMap<String, Place>);

impl Places {
    /// Notes every key and every item.
    pub fn of(root: &DeTable<'_>) -> Self {
        let mut places = Self::default();
        places.add_table("", root);
        places
    }

    /// The place of `path`, or of the nearest thing around it that stands in the file.
    pub fn nearest(&self, path: &str) -> Option<(&Place, bool)> {
        let mut rest = path;
        loop {
            if let Some(place) = self.0.get(rest) {
                return Some((place, rest.len() == path.len()));
            }
            rest = &rest[..rest.rfind(['.', '['])?];
        }
    }

    /// Whether `path` stands in the file.
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    fn add_table(&mut self, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            self.add(join(path, key.get_ref()), key.span(), value);
        }
    }

    fn add(&mut self, path: String, key: Range<usize>, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.add_table(&path, table),
            DeValue::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.add(item_of(&path, i), item.span(), item);
                }
            }
            _ => {}
        }
        let value = value.span();
        self.0.insert(path, Place { key, value });
    }
}

/// The path of `key` in the table at `path`, quoted where TOML would want quotes or a dot is in it.
pub fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    match (path.is_empty(), bare) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{key:?}"),
        (false, true) => format!("{path}.{key}"),
        (false, false) => format!("{path}.{key:?}"),
    }
}

/// The path of the `i`-th item (from 0) of the array at `path`.
pub fn item_of(path: &str, i: usize) -> String {
    format!("{path}[{i}]")
}
