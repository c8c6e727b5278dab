//! Secrets by reference, and the value once a role has resolved it.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

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
