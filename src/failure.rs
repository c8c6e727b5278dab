//! How a command ends when it does not end well: the exit code and what is said.

use std::fmt;

/// Failed.
pub const FAILED: u8 = 1;
/// Wrong usage or configuration.
pub const USAGE: u8 = 2;
/// The disk failed; starting again will not help (EX_IOERR).
pub const DISK: u8 = 74;

/// An ending with an exit code of its own. Any other error ends with [`FAILED`].
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage or configuration: 2.
    Usage(String),
    /// The disk failed: 74.
    Disk(String),
    /// This code, and all that is to be said was said already.
    Said(u8),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Disk(text) => f.write_str(text),
            Self::Said(code) => write!(f, "exit code {code}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Wrong usage or configuration.
pub fn usage(text: impl Into<String>) -> anyhow::Error {
    Failure::Usage(text.into()).into()
}

/// Ends with 1 without a further word.
pub fn said() -> anyhow::Error {
    Failure::Said(FAILED).into()
}

/// The exit code an error ends with.
pub fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Failure>() {
        Some(Failure::Usage(_)) => USAGE,
        Some(Failure::Disk(_)) => DISK,
        Some(Failure::Said(code)) => *code,
        None => FAILED,
    }
}

/// What is to be printed, if anything is.
pub fn text(error: &anyhow::Error) -> Option<String> {
    match error.downcast_ref::<Failure>() {
        Some(Failure::Said(_)) => None,
        _ => Some(format!("{error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn each_ending_has_its_code() {
        assert_eq!(code(&anyhow::anyhow!("x")), 1);
        assert_eq!(code(&usage("x")), 2);
        assert_eq!(code(&Failure::Disk("x".into()).into()), 74);
        assert_eq!(code(&said()), 1);
    }

    #[test]
    fn context_does_not_hide_the_code() {
        let error = Err::<(), _>(usage("bad")).context("while starting");
        assert_eq!(code(&error.expect_err("it is one")), 2);
    }

    #[test]
    fn what_was_said_is_not_said_again() {
        assert_eq!(text(&said()), None);
        assert_eq!(text(&usage("bad")), Some("bad".into()));
    }
}
