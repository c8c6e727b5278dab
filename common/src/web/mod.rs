//! Requests to other people's hosts: which addresses they may go to, and how their failures are told.

mod guard;
mod resolve;

use std::error::Error as _;

pub use self::guard::{Guard, Refused};
pub use self::resolve::{GuardedResolver, Lookup, Resolved, SystemLookup};

/// The error and what is behind it, without the URL: its path may be a secret.
pub fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(behind) = source {
        let more = behind.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = behind.source();
    }
    text
}
