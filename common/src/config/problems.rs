//! What is wrong with a file: everything at once, each with its line.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::places::Places;

/// A file as problems quote it: secrets that were typed into it are already blotted out.
#[derive(Clone, Default)]
pub struct Origin {
    file: PathBuf,
    source: Arc<str>,
    places: Arc<Places>,
}

/// Whether a problem prevents the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but somebody should know.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether it prevents the start.
    pub severity: Severity,
    /// Line in the file, from 1; none if it concerns no place in it.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// The setting, such as `sources.github.secrets[0]`; empty if it concerns the file.
    pub path: String,
    /// What is wrong, what was expected, perhaps what was meant.
    pub message: String,
    /// Bytes of the file that it is about.
    #[serde(skip)]
    pub(super) span: Option<Range<usize>>,
}

/// Everything that is wrong with one file, in its order.
///
/// `Display` is the compact form: a heading and one aligned line for each.
/// [`Problems::excerpts`] is the form for terminals, `Serialize` that for `--json`.
#[derive(Clone, Default, Serialize)]
pub struct Problems {
    file: PathBuf,
    problems: Vec<Problem>,
    #[serde(skip)]
    source: Arc<str>,
}

/// A problem before it is looked up where in the file it stands.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub severity: Severity,
    pub path: String,
    pub message: String,
    pub about: About,
}

/// Which part of the file a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// The value at the path.
    Value,
    /// The key itself.
    Key,
    /// Something that is not there.
    Absence,
}

impl Finding {
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            path: path.into(),
            message: message.into(),
            about: About::Value,
        }
    }

    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(path, message)
        }
    }

    pub fn about(self, about: About) -> Self {
        Self { about, ..self }
    }
}

impl Origin {
    pub(super) fn new(file: &Path, source: String, places: Places) -> Self {
        Self {
            file: file.to_owned(),
            source: source.into(),
            places: Arc::new(places),
        }
    }

    /// One more error, found by whoever understands the setting at `path`
    /// (`sources.github.secrets[0]`). It gets the line of what stands there, or around there.
    pub fn error(&self, path: impl Into<String>, message: impl Into<String>) -> Problems {
        self.locate(vec![Finding::error(path, message)])
    }

    /// One more warning, likewise.
    pub fn warning(&self, path: impl Into<String>, message: impl Into<String>) -> Problems {
        self.locate(vec![Finding::warning(path, message)])
    }

    /// Where each finding stands.
    pub(super) fn locate(&self, findings: Vec<Finding>) -> Problems {
        let problems = findings.into_iter().map(|f| self.place(f)).collect();
        self.problems(problems)
    }

    /// A problem at bytes of the file rather than at a setting.
    pub(super) fn problem_at(&self, span: Range<usize>, message: String) -> Problem {
        let span = within(&self.source, span);
        let (line, column) = line_and_column(&self.source, span.start);
        Problem {
            severity: Severity::Error,
            line: Some(line),
            column: Some(column),
            path: String::new(),
            message,
            span: Some(span),
        }
    }

    pub(super) fn problems(&self, mut problems: Vec<Problem>) -> Problems {
        problems.sort_by_key(|p| p.span.as_ref().map(|span| span.start));
        Problems {
            file: self.file.clone(),
            problems,
            source: self.source.clone(),
        }
    }

    fn place(&self, finding: Finding) -> Problem {
        let span = self.places.nearest(&finding.path).map(|(place, exact)| {
            // the value of something around it would be its whole table
            if exact && finding.about == About::Value {
                place.value.clone()
            } else {
                place.key.clone()
            }
        });
        let span = span.unwrap_or(0..0);
        Problem {
            severity: finding.severity,
            path: finding.path,
            ..self.problem_at(span, finding.message)
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({})", self.file.display())
    }
}

impl Problems {
    /// One problem with the file as a whole.
    pub(super) fn of_file(file: &Path, message: String) -> Self {
        Self {
            file: file.to_owned(),
            problems: vec![Problem {
                severity: Severity::Error,
                line: None,
                column: None,
                path: String::new(),
                message,
                span: None,
            }],
            source: Arc::default(),
        }
    }

    /// The file, as it was named.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// In the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.problems.iter()
    }

    /// Whether there is none, not even a warning.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether any of them prevents the start.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many there are of that severity.
    pub fn count(&self, severity: Severity) -> usize {
        let of_it = |p: &&Problem| p.severity == severity;
        self.problems.iter().filter(of_it).count()
    }

    /// Adds the problems of another look at the same file; what both have found is told once.
    pub fn merge(&mut self, other: Self) {
        if self.problems.is_empty() {
            *self = other;
            return;
        }
        for problem in other.problems {
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
        self.problems
            .sort_by_key(|p| p.span.as_ref().map(|span| span.start));
    }

    /// `creel.toml has 3 problems and 1 warning`
    pub fn heading(&self) -> String {
        let errors = plural(self.count(Severity::Error), "problem");
        let warnings = plural(self.count(Severity::Warning), "warning");
        let what = match (errors, warnings) {
            (Some(errors), Some(warnings)) => format!("{errors} and {warnings}"),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => "no problems".to_owned(),
        };
        format!("{} has {what}", self.file.display())
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.heading())?;
        let places: Vec<String> = self.iter().map(|p| self.place(p)).collect();
        let place_width = widest(places.iter().map(String::as_str));
        let path_width = widest(self.iter().map(|p| p.path.as_str()));
        for (place, problem) in places.iter().zip(self) {
            write!(f, "\n  {place:place_width$}  ")?;
            if path_width > 0 {
                write!(f, "{:path_width$}  ", problem.path)?;
            }
            if problem.severity == Severity::Warning {
                f.write_str("warning: ")?;
            }
            f.write_str(&problem.message)?;
        }
        Ok(())
    }
}

impl Problems {
    fn place(&self, problem: &Problem) -> String {
        match problem.line {
            Some(line) => format!("{}:{line}", self.file.display()),
            None => self.file.display().to_string(),
        }
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for Problems {}

/// The directory that paths in `file` are relative to; empty for the current one.
pub(super) fn directory_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

fn plural(count: usize, word: &str) -> Option<String> {
    match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        n => Some(format!("{n} {word}s")),
    }
}

fn widest<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0)
}

/// The span, moved to where the text can be cut.
fn within(source: &str, span: Range<usize>) -> Range<usize> {
    let cut = |mut at: usize| {
        at = at.min(source.len());
        while !source.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = cut(span.start);
    start..cut(span.end).max(start)
}

fn line_and_column(source: &str, at: usize) -> (usize, usize) {
    let before = &source[..at];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}
