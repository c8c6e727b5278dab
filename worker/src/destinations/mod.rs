//! The seam to destinations: what a kind is, and the table of all of them.
//!
//! A kind turns a batch of deliveries into one outcome per delivery. It does not
//! retry, time, pace or count: that is done once, around it, for all kinds.

pub mod file;
pub mod http;
mod id;
mod line;
mod settings;
pub mod stdout;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use creel_common::attempt::Report;
use creel_common::config::{DestinationKinds, hint};
use creel_common::delivery::Delivery;
use creel_common::outcome::Outcome;
use creel_common::secret::SecretError;
use creel_common::time::{Clock, Timestamp};

pub use id::{ItemId, Part};
pub use settings::Problem;

/// One delivery on its way into a destination, or one item of a delivery that is split.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its id; a destination that can deduplicate does so by this, all of it, and `generation`.
    pub id: ItemId,
    /// The route that it travels on.
    pub route: Arc<str>,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// How often it was rewound or reprocessed; grows, so that a deduplicating destination can
    /// be told to take it again.
    pub generation: u32,
    /// When this try began.
    pub started_at: Timestamp,
    /// What was received, byte for byte; of an item the part that is its own.
    pub delivery: Delivery,
}

/// What came of one item. Times in the report are filled in by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    /// Whether it is there, may come again, or never will be taken.
    pub outcome: Outcome,
    /// Status, error and start of the response, where there are any.
    pub report: Report,
}

impl Attempted {
    /// The destination has it.
    pub fn delivered() -> Self {
        Self {
            outcome: Outcome::Delivered,
            report: Report::default(),
        }
    }

    /// Not this time. `error` never holds a secret or a body.
    pub fn retry(error: impl Into<String>) -> Self {
        Self::failed(Outcome::Retry { after: None }, error)
    }

    /// The destination will never take it. In doubt use [`Attempted::retry`].
    pub fn reject(error: impl Into<String>) -> Self {
        Self::failed(Outcome::Reject, error)
    }

    fn failed(outcome: Outcome, error: impl Into<String>) -> Self {
        Self {
            outcome,
            report: Report {
                error: Some(error.into()),
                ..Report::default()
            },
        }
    }
}

/// A configured place that deliveries are loaded into.
#[async_trait]
pub trait Destination: Send + Sync + 'static {
    /// Tries to load a batch: at least one item, at most [`Destination::batch_max`], of one route,
    /// in order of offset unless some come again. Answers one [`Attempted`] per item, in order.
    ///
    /// The future may be dropped at any await (timeout, stop): then what is under way counts as
    /// not delivered and comes again. What a kind hands to another thread must be bounded even so.
    async fn deliver(&self, batch: &[Item]) -> Vec<Attempted>;

    /// Most items in one batch. Kinds that take one delivery per request say 1.
    fn batch_max(&self) -> usize;

    /// Most calls of [`Destination::deliver`] under way at once in this process.
    fn parallel(&self) -> usize;
}

/// What a kind gets to open a destination.
pub struct Opening<'a> {
    /// Name of the destination.
    pub name: &'a str,
    /// Its settings as typed, without `type`.
    pub settings: &'a toml::Table,
    /// The directory of the configuration file: relative paths start there.
    pub base: &'a Path,
    /// A name that no other worker process ever has, fit for a file name.
    pub unique: &'a str,
    /// Where "now" comes from.
    pub clock: Arc<dyn Clock>,
}

/// Why a destination could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kind is not built in.
    #[error("unknown type `{0}`")]
    UnknownKind(String),
    /// Its settings are wrong; `creel check` shows the same.
    #[error("{}", list(.0))]
    Settings(Vec<Problem>),
    /// A secret could not be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A secret is there but of no use; the text does not show it.
    #[error("{0}")]
    BadSecret(&'static str),
    /// Something else that only the machine knows, such as missing root certificates.
    #[error("{0}")]
    Other(String),
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|(key, message)| format!("{key}: {message}"))
        .collect();
    lines.join("; ")
}

/// What opens a destination of one kind.
type Open = fn(&Opening<'_>) -> Result<Arc<dyn Destination>, OpenError>;

/// One kind of destination: a row of [`KINDS`].
pub struct Kind {
    /// As `type` in the configuration names it.
    pub name: &'static str,
    /// All problems of its settings. Touches nothing and resolves no secret.
    pub check: fn(&toml::Table) -> Vec<Problem>,
    /// Opens it.
    pub open: Open,
}

/// Every kind that is built in.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "file",
        check: file::check,
        open: file::open,
    },
    Kind {
        name: "http",
        check: http::check,
        open: http::open,
    },
    Kind {
        name: "stdout",
        check: stdout::check,
        open: stdout::open,
    },
];

/// The names of all kinds, sorted.
pub fn names() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}

/// All problems of a destination's settings: the path of the key below the destination (such as
/// `headers.x-api-key` or `allow[0]`), and what is wrong. An unknown kind is a problem of `type`.
pub fn check(kind: &str, settings: &toml::Table) -> Vec<Problem> {
    match find(kind) {
        Some(found) => (found.check)(settings),
        None => vec![("type".to_owned(), unknown_kind(kind))],
    }
}

/// Opens a destination: resolves its secrets, makes its clients, touches its directory.
///
/// # Errors
/// [`OpenError`] says what to mend; nothing is lent for its routes before it opens.
pub fn open(kind: &str, opening: &Opening<'_>) -> Result<Arc<dyn Destination>, OpenError> {
    let kind = find(kind).ok_or_else(|| OpenError::UnknownKind(kind.to_owned()))?;
    (kind.open)(opening)
}

fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

fn unknown_kind(kind: &str) -> String {
    format!("unknown type `{kind}`{}", hint(kind, names()))
}

/// [`KINDS`] as the configuration's check asks for them.
#[derive(Debug, Clone, Copy)]
pub struct Kinds;

impl DestinationKinds for Kinds {
    fn names(&self) -> Vec<&'static str> {
        names()
    }

    fn check(&self, kind: &str, settings: &toml::Table) -> Vec<Problem> {
        check(kind, settings)
    }
}

/// The longest that a destination may ask to be left alone; longer is cut to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_kind_is_told_what_it_may_have_meant() {
        let problems = check("htpt", &toml::Table::new());
        assert_eq!(problems[0].0, "type");
        assert!(
            problems[0].1.contains("did you mean `http`?"),
            "{problems:?}"
        );
    }

    #[test]
    fn kinds_are_sorted_and_unique() {
        assert!(names().windows(2).all(|pair| pair[0] < pair[1]));
    }
}
