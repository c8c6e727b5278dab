//! Which JSON Schemas a source's bodies must match.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::problems::{About, Finding};
use super::raw::Fields;

/// `[sources.NAME] schema`. The files are read by [`Schemas::read`](crate::schemas::Schemas::read).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodySchema {
    /// Of every body whose event type has none of its own.
    pub file: Option<PathBuf>,
    /// By event type.
    pub events: BTreeMap<String, PathBuf>,
    /// What becomes of a body that does not match.
    pub on_mismatch: OnMismatch,
}

/// What becomes of a body that does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMismatch {
    /// It is kept, and dies on every route at once.
    DeadLetter,
    /// The receiver answers 422 and does not keep it.
    Refuse,
}

/// What is wrong with the `schema` of a source.
pub(super) fn check(source: &Fields) -> Option<Finding> {
    let schema: Fields = source.opt("schema")?;
    let none = schema.opt::<PathBuf>("file").is_none() && events(&schema).is_empty();
    none.then(|| {
        let message = "names no schema; give it a `file`, `events`, or both";
        Finding::error(schema.path, message).about(About::Key)
    })
}

/// The `schema` of a source in a file without problems; relative paths start at `directory`.
pub(super) fn build(source: &Fields, directory: &Path) -> Option<BodySchema> {
    let schema: Fields = source.opt("schema")?;
    let files = events(&schema).into_iter();
    Some(BodySchema {
        file: schema.opt("file"),
        events: files
            .map(|(event, file)| (event, directory.join(file)))
            .collect(),
        on_mismatch: match schema.opt::<String>("on_mismatch").as_deref() {
            Some("refuse") => OnMismatch::Refuse,
            _ => OnMismatch::DeadLetter,
        },
    })
}

fn events(schema: &Fields) -> BTreeMap<String, String> {
    schema.opt("events").unwrap_or_default()
}
