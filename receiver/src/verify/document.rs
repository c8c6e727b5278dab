//! A TOML file as a tree that remembers where each value stands, so that every
//! complaint about a pack names a line and a column.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// One thing wrong with a pack.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Where in the pack, as a dotted path such as `verify.sig`.
    pub at: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if !self.at.is_empty() {
            write!(f, "{}: ", self.at)?;
        }
        f.write_str(&self.message)
    }
}

/// A value of the file and the bytes it stands at.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub span: Range<usize>,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub name: String,
    pub span: Range<usize>,
    pub node: Node,
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Boolean(_) => "a boolean",
            Value::List(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

/// Collects problems while a document is read.
pub(crate) struct Problems<'t> {
    text: &'t str,
    found: RefCell<Vec<Problem>>,
}

impl<'t> Problems<'t> {
    pub fn new(text: &'t str) -> Self {
        Self {
            text,
            found: RefCell::new(Vec::new()),
        }
    }

    pub fn add(&self, span: &Range<usize>, at: &str, message: impl Into<String>) {
        let (line, column) = place(self.text, span.start);
        self.found.borrow_mut().push(Problem {
            line,
            column,
            at: at.to_owned(),
            message: message.into(),
        });
    }

    /// `value` if nothing was found.
    pub fn finish<T>(self, value: T) -> Result<T, Vec<Problem>> {
        let mut found = self.found.into_inner();
        if found.is_empty() {
            return Ok(value);
        }
        found.sort_by(|a, b| {
            (a.line, a.column, &a.at, &a.message).cmp(&(b.line, b.column, &b.at, &b.message))
        });
        // a key that is read for two purposes is wrong once
        found.dedup();
        Err(found)
    }
}

fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// Reads `text` as TOML.
pub(crate) fn parse(text: &str) -> Result<Node, Vec<Problem>> {
    let problems = Problems::new(text);
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            problems.add(&span, "", error.message());
            return problems.finish(()).map(|()| empty());
        }
    };
    let span = root.span();
    let value = table(root.get_ref(), &problems, "");
    problems.finish(Node { span, value })
}

fn empty() -> Node {
    Node {
        span: 0..0,
        value: Value::Table(Vec::new()),
    }
}

fn table(from: &DeTable<'_>, problems: &Problems<'_>, at: &str) -> Value {
    let mut entries: Vec<Entry> = from
        .iter()
        .map(|(key, value)| Entry {
            name: key.get_ref().to_string(),
            span: key.span(),
            node: Node {
                span: value.span(),
                value: convert(
                    value.get_ref(),
                    &value.span(),
                    problems,
                    &join(at, key.get_ref()),
                ),
            },
        })
        .collect();
    // The parser's map is sorted by name; the order of the file is the order of meaning.
    entries.sort_by_key(|entry| entry.span.start);
    Value::Table(entries)
}

fn convert(from: &DeValue<'_>, span: &Range<usize>, problems: &Problems<'_>, at: &str) -> Value {
    match from {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(value) => Value::Integer(value),
            Err(_) => {
                problems.add(span, at, "number out of range");
                Value::Integer(0)
            }
        },
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|item| Node {
                    span: item.span(),
                    value: convert(item.get_ref(), &item.span(), problems, at),
                })
                .collect(),
        ),
        DeValue::Table(inner) => table(inner, problems, at),
        DeValue::Float(_) | DeValue::Datetime(_) => {
            problems.add(span, at, "neither fractions nor dates are used in a pack");
            Value::Boolean(false)
        }
    }
}

pub(crate) fn join(at: &str, key: &str) -> String {
    if at.is_empty() {
        key.to_owned()
    } else {
        format!("{at}.{key}")
    }
}

/// Puts the values of options where `${name}` stands. What refers to an option
/// without a value is left out: the key, or the item of its array.
pub(crate) fn substitute(node: &Node, options: &BTreeMap<String, Option<String>>) -> Option<Node> {
    let value = match &node.value {
        Value::Text(text) => Value::Text(fill(text, options)?),
        Value::List(items) => Value::List(
            items
                .iter()
                .filter_map(|item| substitute(item, options))
                .collect(),
        ),
        Value::Table(entries) => Value::Table(
            entries
                .iter()
                .filter_map(|entry| {
                    substitute(&entry.node, options).map(|node| Entry {
                        name: entry.name.clone(),
                        span: entry.span.clone(),
                        node,
                    })
                })
                .collect(),
        ),
        other => other.clone(),
    };
    Some(Node {
        span: node.span.clone(),
        value,
    })
}

fn fill(text: &str, options: &BTreeMap<String, Option<String>>) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else {
            break;
        };
        out.push_str(&rest[..start]);
        let name = &rest[start + 2..start + length];
        match options.get(name) {
            Some(value) => out.push_str(value.as_deref()?),
            // Left as it is: the reader of this key will complain about it.
            None => out.push_str(&rest[start..=start + length]),
        }
        rest = &rest[start + length + 1..];
    }
    out.push_str(rest);
    Some(out)
}

/// One table being read: every key must be asked for, what is left is unknown.
pub(crate) struct Fields<'d> {
    pub at: String,
    pub span: Range<usize>,
    entries: &'d [Entry],
    known: RefCell<Vec<&'static str>>,
    problems: &'d Problems<'d>,
}

impl<'d> Fields<'d> {
    /// `node` as a table; a complaint and nothing if it is not one.
    pub fn of(node: &'d Node, at: &str, problems: &'d Problems<'d>) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            problems.add(
                &node.span,
                at,
                format!("expected a table, found {}", node.value.kind()),
            );
            return None;
        };
        Some(Self {
            at: at.to_owned(),
            span: node.span.clone(),
            entries,
            known: RefCell::new(Vec::new()),
            problems,
        })
    }

    pub fn path(&self, key: &str) -> String {
        join(&self.at, key)
    }

    pub fn problem(&self, span: &Range<usize>, key: &str, message: impl Into<String>) {
        self.problems.add(span, &self.path(key), message);
    }

    /// The value under `key`, which from now on is known.
    pub fn node(&self, key: &'static str) -> Option<&'d Node> {
        self.known.borrow_mut().push(key);
        self.entries
            .iter()
            .find(|entry| entry.name == key)
            .map(|entry| &entry.node)
    }

    /// All entries, for a table whose keys are free.
    pub fn entries(&self) -> &'d [Entry] {
        self.entries
    }

    fn typed<T>(
        &self,
        key: &'static str,
        expected: &str,
        get: impl Fn(&'d Value) -> Option<T>,
    ) -> Option<T> {
        let node = self.node(key)?;
        let got = get(&node.value);
        if got.is_none() {
            let message = format!("expected {expected}, found {}", node.value.kind());
            self.problem(&node.span, key, message);
        }
        got
    }

    pub fn text(&self, key: &'static str) -> Option<&'d str> {
        self.typed(key, "a string", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub fn integer(&self, key: &'static str) -> Option<i64> {
        self.typed(key, "an integer", |value| match value {
            Value::Integer(number) => Some(*number),
            _ => None,
        })
    }

    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", |value| match value {
            Value::Boolean(value) => Some(*value),
            _ => None,
        })
    }

    pub fn table(&self, key: &'static str) -> Option<Fields<'d>> {
        let node = self.node(key)?;
        Fields::of(node, &self.path(key), self.problems)
    }

    /// One table, or an array of them.
    pub fn tables(&self, key: &'static str) -> Vec<Fields<'d>> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            return Fields::of(node, &self.path(key), self.problems)
                .into_iter()
                .collect();
        };
        items
            .iter()
            .enumerate()
            .filter_map(|(i, item)| {
                Fields::of(item, &format!("{}[{i}]", self.path(key)), self.problems)
            })
            .collect()
    }

    /// One string or an array of strings, each read by `read`, whose error is
    /// reported where the string stands.
    pub fn each<T>(&self, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        items
            .iter()
            .filter_map(|item| match &item.value {
                Value::Text(text) => match read(text) {
                    Ok(value) => Some(value),
                    Err(message) => {
                        self.problem(&item.span, key, message);
                        None
                    }
                },
                other => {
                    let message = format!("expected a string, found {}", other.kind());
                    self.problem(&item.span, key, message);
                    None
                }
            })
            .collect()
    }

    /// One string read by `read`.
    pub fn one<T>(&self, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(key)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(message) => {
                let span = self.span_of(key);
                self.problem(&span, key, message);
                None
            }
        }
    }

    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.entries
            .iter()
            .find(|entry| entry.name == key)
            .map_or(self.span.clone(), |entry| entry.node.span.clone())
    }

    /// Complains about keys that nobody asked for.
    pub fn finish(self) {
        let known = self.known.borrow();
        for entry in self.entries {
            if known.contains(&entry.name.as_str()) {
                continue;
            }
            let message = unknown("key", &entry.name, known.iter().copied());
            self.problems
                .add(&entry.span, &self.path(&entry.name), message);
        }
    }
}

/// `unknown key `x`; did you mean `y`?`, or what there is.
pub(crate) fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("unknown {what} `{name}`; did you mean `{near}`?"),
        None => format!("unknown {what} `{name}`; there are {}", known.join(", ")),
    }
}

/// The known name that `name` was probably meant to be.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|other| (strsim::damerau_levenshtein(name, other), other))
        .filter(|(distance, other)| *distance <= 2.max(other.len() / 4) && *distance < other.len())
        .min()
        .map(|(_, other)| other)
}
