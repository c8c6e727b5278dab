//! The file as typed, read along the table of settings: every value that can be
//! understood, and a finding for every one that cannot.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use toml::de::{DeInteger, DeTable, DeValue};
use url::Url;

use super::places::{item_of, join};
use super::problems::{About, Finding};
use super::schema::{Absent, Key, NAME_MAX, Section, Shape, TEXT_MAX, is_env_var, is_name};
use super::suggest::{hint, nearest, quoted};
use super::units::{parse_duration, parse_rate, parse_size, show_duration, show_size};

/// A value of the right shape.
#[derive(Debug, Clone)]
pub enum Value {
    /// `Text`, `Name`, `EnvVar`, `Url`, `Choice`, `Provider`, `Kind`
    Text(String),
    /// `Path`, resolved
    Path(PathBuf),
    /// `Address`
    Address(SocketAddr),
    /// `Network`
    Network(IpNet),
    /// `Duration`
    Duration(Duration),
    /// `Size`, `Count`
    Whole(u64),
    /// `Factor`, `Rate`
    Number(f64),
    /// `List`, `OneOrMore`
    List(Vec<Value>),
    /// `Texts`
    Texts(BTreeMap<String, String>),
    /// `Section`, `Secret`
    Section(Fields),
    /// `Named`
    Named(BTreeMap<String, Fields>),
}

/// A section that was read: what was given and understood, and the defaults of what was not given.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    /// Where it stands, such as `routes[2]`.
    pub path: String,
    values: BTreeMap<&'static str, Value>,
    /// What somebody else checks, in a section that has such.
    pub others: toml::Table,
}

impl Fields {
    /// The value of `key`, if it was given or has a default, and is in order.
    pub fn opt<T: FromValue>(&self, key: &str) -> Option<T> {
        self.values.get(key).cloned().and_then(T::from_value)
    }

    /// The value of a key that is required or has a default, once nothing was found wrong.
    pub fn get<T: FromValue>(&self, key: &str) -> T {
        self.opt(key)
            .expect("a file without problems has every key that is required or has a default")
    }

    /// The path of one of its keys.
    pub fn at(&self, key: &str) -> String {
        join(&self.path, key)
    }
}

/// A type that a [`Value`] can be taken as.
pub trait FromValue: Sized {
    /// `None` if it is of another shape.
    fn from_value(value: Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($variant:ident => $type:ty),* $(,)?) => {$(
        impl FromValue for $type {
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::$variant(inner) => inner.try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}

from_value! {
    Text => String,
    Path => PathBuf,
    Address => SocketAddr,
    Network => IpNet,
    Duration => Duration,
    Whole => u64,
    Whole => u32,
    Whole => usize,
    Number => f64,
    Texts => BTreeMap<String, String>,
    Section => Fields,
    Named => BTreeMap<String, Fields>,
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::List(items) => items.into_iter().map(T::from_value).collect(),
            _ => None,
        }
    }
}

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
            (Shape::Section(section) | Shape::Secret(section), DeValue::Table(table)) => {
                Some(Value::Section(self.section(path, table, section)))
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
                let read = text(typed).map(|typed| Value::Path(self.directory.join(typed)));
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
            if let Err(message) = self::name(name.get_ref()) {
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

/// A value without parts. The message says what was expected.
fn scalar(shape: Shape, value: &DeValue<'_>) -> Result<Value, String> {
    match (shape, value) {
        (Shape::Text | Shape::Provider | Shape::Kind, DeValue::String(typed)) => {
            text(typed).map(Value::Text)
        }
        (Shape::Name, DeValue::String(typed)) => name(typed).map(Value::Text),
        (Shape::EnvVar, DeValue::String(typed)) => env_var(typed).map(Value::Text),
        (Shape::Url, DeValue::String(typed)) => url(typed).map(Value::Text),
        (Shape::Choice(words), DeValue::String(typed)) => choice(typed, words).map(Value::Text),
        (Shape::Address, DeValue::String(typed)) => address(typed).map(Value::Address),
        (Shape::Network, DeValue::String(typed)) => network(typed).map(Value::Network),
        (Shape::Duration(min, max), DeValue::String(typed)) => parse_duration(typed)
            .ok_or_else(|| unit_missing("a duration such as \"1h30m\" or \"250ms\"", typed))
            .and_then(|read| in_range(read, min, max, show_duration))
            .map(Value::Duration),
        (Shape::Size(min, max), DeValue::String(typed)) => parse_size(typed)
            .ok_or_else(|| unit_missing("a size such as \"512KiB\" or \"1GiB\"", typed))
            .and_then(|read| in_range(read, min, max, show_size))
            .map(Value::Whole),
        (Shape::Count(min, max), DeValue::Integer(typed)) => {
            whole(typed, min, max).map(Value::Whole)
        }
        (Shape::Factor(min, max), DeValue::Integer(_) | DeValue::Float(_)) => number(value)
            .and_then(|read| in_range(read, min, max, |n| n.to_string()))
            .map(Value::Number),
        (Shape::Rate(min, max), DeValue::Integer(_) | DeValue::Float(_)) => number(value)
            .and_then(|read| in_range(read, min, max, per_second))
            .map(Value::Number),
        (Shape::Rate(min, max), DeValue::String(typed)) => parse_rate(typed)
            .ok_or_else(|| unit_missing("a rate such as \"100/s\" or \"30/m\"", typed))
            .and_then(|read| in_range(read, min, max, per_second))
            .map(Value::Number),
        (Shape::Secret(section), DeValue::String(_)) => Err(inline_secret(section)),
        _ => Err(expected(wanted(shape), value)),
    }
}

fn text(typed: &str) -> Result<String, String> {
    match typed {
        "" => Err("is empty".to_owned()),
        _ if typed.len() > TEXT_MAX => Err(format!("is longer than {TEXT_MAX} bytes")),
        _ if typed.contains(char::is_control) => Err("has a control character".to_owned()),
        _ => Ok(typed.to_owned()),
    }
}

fn name(typed: &str) -> Result<String, String> {
    if is_name(typed) {
        return Ok(typed.to_owned());
    }
    Err(format!(
        "{} is no name: lower-case letters, digits, `.`, `_` and `-`, a letter or digit first, at most {NAME_MAX}",
        quoted(typed)
    ))
}

/// Never repeats what was typed: it might be the secret itself.
fn env_var(typed: &str) -> Result<String, String> {
    if is_env_var(typed) {
        return Ok(typed.to_owned());
    }
    Err("is no name of an environment variable: letters, digits and `_`".to_owned())
}

fn url(typed: &str) -> Result<String, String> {
    let wrong = |why: &str| {
        Err(format!(
            "{why}; expected a URL such as \"https://hooks.example.com\""
        ))
    };
    let read = match Url::parse(typed) {
        Ok(read) => read,
        Err(error) => return wrong(&error.to_string()),
    };
    match &read {
        _ if !matches!(read.scheme(), "http" | "https") || !typed.contains("://") => {
            wrong("is neither http nor https")
        }
        _ if !read.username().is_empty() || read.password().is_some() => {
            wrong("holds a user or a password")
        }
        _ if read.query().is_some() || read.fragment().is_some() => {
            wrong("has a query or a fragment")
        }
        _ if typed.len() > TEXT_MAX => wrong("is too long"),
        _ if typed.contains(|c: char| c.is_control() || c.is_whitespace()) => {
            wrong("has white space")
        }
        _ => Ok(typed.trim_end_matches('/').to_owned()),
    }
}

fn choice(typed: &str, words: &[&str]) -> Result<String, String> {
    if words.contains(&typed) {
        return Ok(typed.to_owned());
    }
    let hint = hint(typed, words.iter().copied());
    Err(format!("unknown word {}{hint}", quoted(typed)))
}

fn address(typed: &str) -> Result<SocketAddr, String> {
    typed.parse().map_err(|_| {
        let near = match typed.strip_prefix("localhost:") {
            Some(port) => format!("; did you mean \"127.0.0.1:{}\"?", port.escape_debug()),
            None => String::new(),
        };
        format!(
            "expected an address such as \"127.0.0.1:8080\", found {}{near}",
            quoted(typed)
        )
    })
}

fn network(typed: &str) -> Result<IpNet, String> {
    let single = || typed.parse::<IpAddr>().map(IpNet::from);
    typed.parse().or_else(|_| single()).map_err(|_| {
        format!(
            "expected a network such as \"10.0.0.0/8\", found {}",
            quoted(typed)
        )
    })
}

fn whole(typed: &DeInteger<'_>, min: u64, max: u64) -> Result<u64, String> {
    let range = || format!("must be between {min} and {max}");
    let read = i128::from_str_radix(typed.as_str(), typed.radix()).map_err(|_| range())?;
    u64::try_from(read)
        .ok()
        .filter(|read| (min..=max).contains(read))
        .ok_or_else(range)
}

fn number(value: &DeValue<'_>) -> Result<f64, String> {
    let read = match value {
        DeValue::Integer(typed) => i64::from_str_radix(typed.as_str(), typed.radix())
            .ok()
            .map(|read| read as f64),
        DeValue::Float(typed) => typed.as_str().parse().ok(),
        _ => None,
    };
    // neither infinities nor NaN are in any range
    read.ok_or_else(|| "is no number that can be used".to_owned())
}

fn in_range<T: PartialOrd + Copy>(
    read: T,
    min: T,
    max: T,
    show: impl Fn(T) -> String,
) -> Result<T, String> {
    if (min..=max).contains(&read) {
        return Ok(read);
    }
    Err(format!("must be between {} and {}", show(min), show(max)))
}

fn per_second(rate: f64) -> String {
    format!("{rate}/s")
}

fn unit_missing(wanted: &str, typed: &str) -> String {
    format!("expected {wanted}, found {}", quoted(typed))
}

fn inline_secret(section: &Section) -> String {
    let by = match section.key("role") {
        Some(_) => "{ role = \"…\", env = \"NAME\" } or { role = \"…\", file = \"PATH\" }",
        None => "{ env = \"NAME\" } or { file = \"PATH\" }",
    };
    format!(
        "a secret does not belong into this file, which gets copied, shown and committed; name where it is: {by}"
    )
}

fn expected(wanted: &str, found: &DeValue<'_>) -> String {
    let found = match found {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    format!("expected {wanted}, found {found}")
}

/// What a shape looks like, in words.
fn wanted(shape: Shape) -> &'static str {
    match shape {
        Shape::Text | Shape::Provider | Shape::Kind => "a string",
        Shape::Name => "a name",
        Shape::Path => "a path in quotes",
        Shape::EnvVar => "the name of an environment variable",
        Shape::Address => "an address such as \"127.0.0.1:8080\"",
        Shape::Network => "a network such as \"10.0.0.0/8\"",
        Shape::Url => "a URL in quotes",
        Shape::Choice(_) => "a word in quotes",
        Shape::Duration(..) => "a duration with its unit, such as \"7d\" or \"250ms\"",
        Shape::Size(..) => "a size with its unit, such as \"1GiB\"",
        Shape::Count(..) => "a whole number",
        Shape::Factor(..) => "a number",
        Shape::Rate(..) => "a rate such as \"100/s\", or a number per second",
        Shape::List(..) => "an array",
        Shape::OneOrMore(..) => "an array",
        Shape::Texts => "a table of strings",
        Shape::Section(_) | Shape::Named(_) => "a table",
        Shape::Secret(_) => "{ env = \"NAME\" } or { file = \"PATH\" }",
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
