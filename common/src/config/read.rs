//! Reads the file along the table of settings: every value that can be understood,
//! and a finding for every one that cannot.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::places::{item_of, join};
use super::problems::{About, Finding};
use super::raw::{Fields, Value};
use super::scalar::{self, expected, scalar};
use super::schema::{Absent, Key, Section, Shape};
use super::suggest::{hint, nearest};

/// Reads the whole file.
pub fn read(
    root: &DeTable<'_>,
    file: &'static Section,
    directory: &Path,
) -> (Fields, Vec<Finding>) {
    let mut reader = Reader {
        directory,
        findings: Vec::new(),
    };
    let fields = reader.section("", root, file);
    (fields, reader.findings)
}

/// Reads a default, as it stands in the table of settings.
fn read_default(text: &str, shape: Shape, path: &str, directory: &Path) -> Option<Value> {
    let typed = DeValue::parse(text).ok()?;
    let mut reader = Reader {
        directory,
        findings: Vec::new(),
    };
    reader.value(path, typed.get_ref(), shape)
}

struct Reader<'a> {
    directory: &'a Path,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn section(&mut self, path: &str, table: &DeTable<'_>, section: &'static Section) -> Fields {
        let mut fields = Fields {
            path: path.to_owned(),
            ..Fields::default()
        };
        let mut meant = Vec::new();
        for (name, value) in table {
            match section.key(name.get_ref()) {
                Some(key) => {
                    let read = self.value(&join(path, key.name), value.get_ref(), key.shape);
                    fields.values.extend(read.map(|value| (key.name, value)));
                }
                None if section.others.is_some() => {
                    self.other(path, name.get_ref(), value.get_ref(), &mut fields.others);
                }
                None => meant.extend(self.unknown_key(path, name.get_ref(), section)),
            }
        }
        for key in section.keys {
            // a slip is told once: as an unknown key, not as a missing one too
            if !table.contains_key(key.name) && !meant.contains(&key.name) {
                let value = self.absent(path, key);
                fields.values.extend(value.map(|value| (key.name, value)));
            }
        }
        self.exactly_one(path, table, section);
        fields
    }

    /// Answers with the key that may have been meant.
    fn unknown_key(
        &mut self,
        path: &str,
        name: &str,
        section: &'static Section,
    ) -> Option<&'static str> {
        let names = section.keys.iter().map(|key| key.name);
        let message = format!("unknown key{}", hint(name, names.clone()));
        let finding = Finding::error(join(path, name), message).about(About::Key);
        self.findings.push(finding);
        nearest(name, names)
    }

    fn absent(&mut self, path: &str, key: &Key) -> Option<Value> {
        let path = join(path, key.name);
        match key.absent {
            Absent::Default(text) => read_default(text, key.shape, &path, self.directory),
            Absent::Means(_) => None,
            Absent::Required => {
                let finding = Finding::error(path, "is missing").about(About::Absence);
                self.findings.push(finding);
                None
            }
        }
    }

    fn exactly_one(&mut self, path: &str, table: &DeTable<'_>, section: &'static Section) {
        let given = |name: &&&str| table.contains_key(**name);
        let message = match section.one_of.iter().filter(given).count() {
            _ if section.one_of.is_empty() => return,
            0 => format!("needs `{}`", section.one_of.join("` or `")),
            1 => return,
            _ => format!("takes only one of `{}`", section.one_of.join("` and `")),
        };
        let finding = Finding::error(path, message).about(About::Absence);
        self.findings.push(finding);
    }

    fn other(&mut self, path: &str, name: &str, value: &DeValue<'_>, others: &mut toml::Table) {
        match plain(value) {
            Some(value) => {
                others.insert(name.to_owned(), value);
            }
            None => self.wrong(
                &join(path, name),
                "holds a number that is too large".to_owned(),
            ),
        }
    }

    fn wrong(&mut self, path: &str, message: String) {
        self.findings.push(Finding::error(path, message));
    }

    /// Notes what is wrong with the value at `path`, or hands it on.
    fn note<T>(&mut self, path: &str, read: Result<T, String>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(message) => {
                self.wrong(path, message);
                None
            }
        }
    }

    fn value(&mut self, path: &str, value: &DeValue<'_>, shape: Shape) -> Option<Value> {
        match (shape, value) {
            (
                Shape::Section(section) | Shape::Switch(section) | Shape::Secret(section),
                DeValue::Table(table),
            ) => Some(Value::Section(self.section(path, table, section))),
            (Shape::Switch(_), DeValue::Boolean(false)) => None,
            (Shape::Switch(section), DeValue::Boolean(true)) => {
                let none = DeTable::default();
                Some(Value::Section(self.section(path, &none, section)))
            }
            (Shape::Named(section), DeValue::Table(table)) => {
                Some(Value::Named(self.named(path, table, section)))
            }
            (Shape::Texts, DeValue::Table(table)) => self.texts(path, table),
            (Shape::List(item, max), DeValue::Array(items)) => {
                self.list(path, items, *item, 0, max)
            }
            (Shape::OneOrMore(item, max), DeValue::Array(items)) => {
                self.list(path, items, *item, 1, max)
            }
            (Shape::OneOrMore(item, _), _) => {
                let one = self.value(path, value, *item)?;
                Some(Value::List(vec![one]))
            }
            (Shape::Path, DeValue::String(typed)) => {
                let read = scalar::text(typed).map(|typed| Value::Path(self.directory.join(typed)));
                self.note(path, read)
            }
            _ => self.note(path, scalar(shape, value)),
        }
    }

    fn named(
        &mut self,
        path: &str,
        table: &DeTable<'_>,
        section: &'static Section,
    ) -> BTreeMap<String, Fields> {
        let mut all = BTreeMap::new();
        for (name, value) in table {
            let path = join(path, name.get_ref());
            if let Err(message) = scalar::name(name.get_ref()) {
                let finding = Finding::error(path.as_str(), message).about(About::Key);
                self.findings.push(finding);
            }
            let fields = match value.get_ref() {
                DeValue::Table(table) => self.section(&path, table, section),
                other => {
                    self.wrong(&path, expected("a table", other));
                    continue;
                }
            };
            all.insert(name.get_ref().clone().into_owned(), fields);
        }
        all
    }

    fn texts(&mut self, path: &str, table: &DeTable<'_>) -> Option<Value> {
        let mut all = BTreeMap::new();
        for (name, value) in table {
            let path = join(path, name.get_ref());
            if let Some(Value::Text(text)) = self.value(&path, value.get_ref(), Shape::Text) {
                all.insert(name.get_ref().clone().into_owned(), text);
            }
        }
        Some(Value::Texts(all))
    }

    fn list(
        &mut self,
        path: &str,
        items: &[toml::Spanned<DeValue<'_>>],
        item: Shape,
        min: usize,
        max: usize,
    ) -> Option<Value> {
        if items.len() < min {
            self.wrong(path, "is empty; leave it out to take all".to_owned());
        }
        if items.len() > max {
            self.wrong(path, format!("has {} items; at most {max}", items.len()));
            return None;
        }
        let read = items
            .iter()
            .enumerate()
            .filter_map(|(i, typed)| self.value(&item_of(path, i), typed.get_ref(), item));
        Some(Value::List(read.collect()))
    }
}

/// The value without its places; `None` if a number in it does not fit.
fn plain(value: &DeValue<'_>) -> Option<toml::Value> {
    Some(match value {
        DeValue::String(text) => toml::Value::String(text.clone().into_owned()),
        DeValue::Integer(typed) => {
            toml::Value::Integer(i64::from_str_radix(typed.as_str(), typed.radix()).ok()?)
        }
        DeValue::Float(typed) => toml::Value::Float(typed.as_str().parse().ok()?),
        DeValue::Boolean(yes) => toml::Value::Boolean(*yes),
        DeValue::Datetime(when) => toml::Value::Datetime(*when),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| plain(item.get_ref()));
            toml::Value::Array(items.collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let pairs = table.iter().map(|(key, value)| {
                Some((key.get_ref().clone().into_owned(), plain(value.get_ref())?))
            });
            toml::Value::Table(pairs.collect::<Option<_>>()?)
        }
    })
}
