//! From a file, or its text, to a checked configuration.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::known::Known;
use super::places::Places;
use super::problems::{About, Finding, Origin, Problem, Problems, directory_of};
use super::settings::FILE;
use super::{Config, build, check, mask, read};

/// Most bytes of a configuration file.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads and checks a configuration file.
///
/// Secrets are not looked at; each role resolves its own later
/// ([`Config::resolve_source_secrets`] and its siblings). What should be known and prevents
/// nothing is in [`Config::warnings`].
///
/// # Errors
/// Everything that is wrong with it, at once, each with its line.
pub fn load(path: &Path, known: &Known) -> Result<Config, Problems> {
    let failed = |message: String| Problems::of_file(path, message);
    let text = text_of(path).map_err(failed)?;
    parse(&text, path, known)
}

/// Checks the text of a configuration file that is, or would be, at `path`.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, path: &Path, known: &Known) -> Result<Config, Problems> {
    let (root, broken) = DeTable::parse_recoverable(text);
    let root = root.get_ref();
    let places = Places::of(root);
    let origin = Origin::new(
        path,
        mask::mask(text, root, !broken.is_empty()),
        places.clone(),
    );

    let (file, mut findings) = read::read(root, &FILE, directory_of(path));
    if !broken.is_empty() {
        return Err(syntax(&origin, &broken, findings));
    }
    findings.extend(check::check(&file, &places, known, directory_of(path)));
    let problems = origin.locate(findings);
    if problems.has_errors() {
        return Err(problems);
    }
    Ok(build::build(&file, path, known, origin, problems))
}

/// The directory of own provider packs that a file names, whatever else is wrong with it: what
/// is in there has to be known before the rest can be checked.
pub fn providers_directory(path: &Path) -> Option<PathBuf> {
    let text = text_of(path).ok()?;
    let (root, _) = DeTable::parse_recoverable(&text);
    let DeValue::Table(receiver) = root.get_ref().get("receiver")?.get_ref() else {
        return None;
    };
    match receiver.get("providers")?.get_ref() {
        DeValue::String(named) if !named.is_empty() => {
            Some(directory_of(path).join(named.as_ref()))
        }
        _ => None,
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|b| **b == b'\n').count() + 1;
        format!("is not UTF-8: line {line}")
    })
}

/// What is no TOML, and what is wrong before that.
///
/// Behind the first such place the tree is a guess, and what is missing may stand there.
fn syntax(origin: &Origin, broken: &[toml::de::Error], findings: Vec<Finding>) -> Problems {
    let mut problems: Vec<Problem> = broken
        .iter()
        .map(|error| origin.problem_at(error.span().unwrap_or(0..0), syntax_message(error)))
        .collect();
    // one slip often makes several errors in its line
    problems.sort_by_key(|p| p.line);
    problems.dedup_by_key(|p| p.line);
    let first = problems.first().and_then(|p| p.line);
    let present = findings
        .into_iter()
        .filter(|finding| finding.about != About::Absence);
    let located = origin.locate(present.collect());
    let before = located.iter().filter(|p| p.line < first).cloned();
    problems.extend(before);
    origin.problems(problems)
}

fn syntax_message(error: &toml::de::Error) -> String {
    format!("not TOML: {}", error.message())
}
