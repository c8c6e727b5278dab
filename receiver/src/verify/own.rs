//! Packs of a user's own: a directory of files like the built-in ones.
//!
//! The same checks, the same messages. A pack of the same name as a built-in one
//! takes its place only if it says so itself: nobody's signatures should be
//! checked otherwise than the documentation says because two files met.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::document::Problem;
use super::pack::Pack;
use super::registry::Registry;

/// Most bytes of one file.
const PACK_BYTES_MAX: u64 = 256 << 10;
/// Most files of a directory.
const PACKS_MAX: usize = 1000;
const NAME_BYTES_MAX: usize = 64;

/// One thing wrong with a file of own packs, or with the directory.
#[derive(Debug, thiserror::Error)]
pub enum PackFile {
    #[error("{}: {error}", path.display())]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{}: {message}", path.display())]
    Unfit { path: PathBuf, message: String },
    #[error("{}, {problem}", path.display())]
    Pack { path: PathBuf, problem: Problem },
}

/// Everything that is wrong with a directory of own packs.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct OwnPacksError(pub Vec<PackFile>);

fn lines(problems: &[PackFile]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl Registry {
    /// Adds every `NAME.toml` of a directory as the pack `NAME`. What is not
    /// wrong is added even if something else is.
    ///
    /// # Errors
    /// [`OwnPacksError`] with all problems of all files, each with line and column.
    pub fn add_directory(&mut self, directory: &Path) -> Result<(), OwnPacksError> {
        let mut problems = Vec::new();
        let files = files(directory).unwrap_or_else(|problem| {
            problems.push(problem);
            Vec::new()
        });
        for path in files {
            if let Err(mut found) = self.add_file(&path) {
                problems.append(&mut found);
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(OwnPacksError(problems)),
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Vec<PackFile>> {
        let name = name(path).map_err(|problem| vec![problem])?;
        let text = text(path).map_err(|problem| vec![problem])?;
        let pack = Pack::parse(&name, &text).map_err(|error| {
            let problem = |problem| PackFile::Pack {
                path: path.to_owned(),
                problem,
            };
            error.problems.into_iter().map(problem).collect::<Vec<_>>()
        })?;
        self.place(pack).map_err(|problem| {
            vec![PackFile::Pack {
                path: path.to_owned(),
                problem,
            }]
        })
    }
}

/// In order of their names.
fn files(directory: &Path) -> Result<Vec<PathBuf>, PackFile> {
    let failed = |error| PackFile::Read {
        path: directory.to_owned(),
        error,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|end| end == "toml") {
            files.push(path);
        }
        if files.len() > PACKS_MAX {
            return Err(PackFile::Unfit {
                path: directory.to_owned(),
                message: format!("has more than {PACKS_MAX} packs"),
            });
        }
    }
    files.sort();
    Ok(files)
}

fn name(path: &Path) -> Result<String, PackFile> {
    let name = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or("");
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    match fits {
        true => Ok(name.to_owned()),
        false => Err(PackFile::Unfit {
            path: path.to_owned(),
            message: "a pack is called by its file: small letters, digits and `-`".into(),
        }),
    }
}

fn text(path: &Path) -> Result<String, PackFile> {
    let failed = |error| PackFile::Read {
        path: path.to_owned(),
        error,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(PACK_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    match text.len() as u64 > PACK_BYTES_MAX {
        true => Err(PackFile::Unfit {
            path: path.to_owned(),
            message: format!("is larger than {PACK_BYTES_MAX} bytes"),
        }),
        false => Ok(text),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const OWN: &str = "title = \"Own\"\n[verify]\nalg = \"hmac-sha256\"\nsig = \"header:X-Own | hex\"\nsigned = \"{body}\"\n";

    fn read(files: &[(&str, &str)]) -> (Registry, Result<(), OwnPacksError>) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let mut registry = Registry::built_in();
        let result = registry.add_directory(directory.path());
        (registry, result)
    }

    #[test]
    fn every_pack_of_the_directory_is_there_beside_the_built_in_ones() {
        let (registry, result) = read(&[
            ("acme.toml", OWN),
            ("other-1.toml", OWN),
            ("README.md", "no pack"),
        ]);
        result.unwrap();
        for name in ["acme", "other-1", "github"] {
            assert!(registry.get(name).is_some(), "{name}");
        }
        assert_eq!(registry.get("acme").unwrap().facts().title, "Own");
    }

    #[test]
    fn all_problems_are_told_with_file_line_and_column() {
        let broken = OWN.replace("hmac-sha256", "hmac-sha265");
        let (registry, result) = read(&[
            ("acme.toml", broken.as_str()),
            ("bad.toml", "[verify\n"),
            ("Bad Name.toml", OWN),
            ("good.toml", OWN),
        ]);
        let text = result.unwrap_err().to_string();
        for wanted in [
            "acme.toml, line 3, column 7: verify.alg",
            "did you mean `hmac-sha256`?",
            "bad.toml, line 1",
            "Bad Name.toml: a pack is called by its file",
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
        assert!(registry.get("good").is_some());
        assert!(registry.get("acme").is_none());
    }

    #[test]
    fn a_built_in_pack_is_replaced_only_by_one_that_says_so() {
        let (registry, result) = read(&[("github.toml", OWN)]);
        let text = result.unwrap_err().to_string();
        assert!(text.contains("replaces_built_in = true"), "{text}");
        assert_eq!(registry.get("github").unwrap().facts().title, "GitHub");
        let says_so = format!("replaces_built_in = true\n{OWN}");
        let (registry, result) = read(&[("github.toml", says_so.as_str())]);
        result.unwrap();
        assert_eq!(registry.get("github").unwrap().facts().title, "Own");
        let (_, result) = read(&[("acme.toml", says_so.as_str())]);
        let text = result.unwrap_err().to_string();
        assert!(text.contains("no built-in pack `acme`"), "{text}");
    }

    #[test]
    fn a_directory_that_is_not_there_is_a_problem() {
        let mut registry = Registry::built_in();
        let error = registry.add_directory(Path::new("/nonexistent/packs"));
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("/nonexistent/packs")
        );
    }
}
