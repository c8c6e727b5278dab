//! Secrets by reference, and the value once a role has resolved it.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use crate::time::Timestamp;

/// Where a secret is to be found. Configuration never holds the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file, relative to the configuration file; one trailing newline is not part of it.
    File(PathBuf),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// When a secret is valid: from `not_before` on, and before `not_after`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Not earlier, if there is such a time.
    pub not_before: Option<Timestamp>,
    /// Neither then nor later, if there is such a time.
    pub not_after: Option<Timestamp>,
}

/// How a moment stands to a [`Window`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Its time is still to come.
    NotYet,
    /// It is valid.
    Valid,
    /// Its time is over.
    Expired,
}

impl Window {
    /// How `at` stands to it.
    pub fn at(&self, at: Timestamp) -> Validity {
        if self.not_after.is_some_and(|end| at >= end) {
            Validity::Expired
        } else if self.not_before.is_some_and(|start| at < start) {
            Validity::NotYet
        } else {
            Validity::Valid
        }
    }

    /// Whether a secret is valid then.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.at(at) == Validity::Valid
    }
}

/// A secret that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not there.
    #[error("environment variable {0} is not set")]
    NotSet(String),
    /// The environment variable or file is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotText(SecretRef),
    /// The file could not be read.
    #[error("cannot read {path}: {error}", path = .0.display(), error = .1)]
    Unreadable(PathBuf, String),
    /// Nothing but white space or NULs.
    #[error("{0} is empty")]
    Empty(SecretRef),
}

/// A secret's value. Its `Debug` shows nothing, and it is wiped when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl SecretRef {
    /// Reads the secret now.
    ///
    /// # Errors
    /// [`SecretError`] names the variable or file; never its content.
    pub fn resolve(&self) -> Result<Secret, SecretError> {
        let text = match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(text) => text,
                Err(std::env::VarError::NotPresent) => {
                    return Err(SecretError::NotSet(name.clone()));
                }
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(SecretError::NotText(self.clone()));
                }
            },
            Self::File(path) => read_secret_file(self, path)?,
        };
        if text
            .trim_matches(|c: char| c.is_whitespace() || c == '\0')
            .is_empty()
        {
            return Err(SecretError::Empty(self.clone()));
        }
        Ok(Secret::new(text))
    }
}

fn read_secret_file(reference: &SecretRef, path: &PathBuf) -> Result<String, SecretError> {
    let bytes = std::fs::read(path)
        .map_err(|error| SecretError::Unreadable(path.clone(), error.to_string()))?;
    let mut text = String::from_utf8(bytes).map_err(|_| SecretError::NotText(reference.clone()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_begins_with_its_first_moment_and_ends_before_its_last() {
        let window = Window {
            not_before: Some(Timestamp(10)),
            not_after: Some(Timestamp(20)),
        };
        let states = [9, 10, 19, 20].map(|at| window.at(Timestamp(at)));
        let (valid, not_yet, expired) = (Validity::Valid, Validity::NotYet, Validity::Expired);
        assert_eq!(states, [not_yet, valid, valid, expired]);
        assert!(Window::default().holds(Timestamp(0)));
        assert!(Window::default().holds(Timestamp(u64::MAX)));
    }
}
