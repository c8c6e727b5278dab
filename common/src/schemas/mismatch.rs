//! What is said of a body that does not match.

use std::fmt;

/// Where a body does not match its schema, and what the schema wants there. Holds no value of the body;
/// the place holds the names of its fields. Both are cut to a length that fits a log line, and hold
/// nothing that a terminal would act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// JSON pointer into the body; empty for all of it.
    pub at: String,
    /// Such as `string`, or ``minLength 3``.
    pub expected: String,
}

/// `schema: /items/0/id: expected string`
impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = match self.at.as_str() {
            "" => "the body",
            at => at,
        };
        write!(f, "schema: {at}: expected {}", self.expected)
    }
}
