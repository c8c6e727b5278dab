//! Tokens and secrets, by reference.

use super::*;

/// One of `[receiver] tokens`.
pub static TOKEN: Section = Section {
    title: "receiver.tokens[]",
    doc: "A token of the private listener.",
    keys: &[
        key(
            "role",
            Shape::Choice(&["worker", "read", "operate"]),
            Required,
            "`worker` leases and settles, `read` looks at everything, `operate` changes everything too, but does not lease.",
        ),
        key(
            "env",
            Shape::EnvVar,
            Means("`file` is given"),
            "The environment variable that holds the token.",
        ),
        key(
            "file",
            Shape::Path,
            Means("`env` is given"),
            "The file that holds the token; one newline at its end is not part of it.",
        ),
        key(
            "name",
            Shape::Name,
            Means("the role's name"),
            "Who holds it, for the audit.",
        ),
    ],
    others: None,
    one_of: &["env", "file"],
};

/// A secret by reference.
pub static SECRET: Section = Section {
    title: "a secret",
    doc: "Where a secret is to be found.",
    keys: &[
        key(
            "env",
            Shape::EnvVar,
            Means("`file` is given"),
            "The environment variable that holds it.",
        ),
        key(
            "file",
            Shape::Path,
            Means("`env` is given"),
            "The file that holds it; one newline at its end is not part of it.",
        ),
    ],
    others: None,
    one_of: &["env", "file"],
};

/// One of `[sources.NAME] secrets`.
pub static SOURCE_SECRET: Section = Section {
    title: "sources.NAME.secrets[]",
    doc: "A secret of a source, and when it is valid.",
    keys: &[
        key(
            "env",
            Shape::EnvVar,
            Means("`file` is given"),
            "The environment variable that holds it.",
        ),
        key(
            "file",
            Shape::Path,
            Means("`env` is given"),
            "The file that holds it; one newline at its end is not part of it.",
        ),
        key(
            "id",
            Shape::Id,
            Means("the variable or the path, as typed"),
            "Its name in metrics, log lines and `creel sources`; its uses are counted by it.",
        ),
        key(
            "not_before",
            Shape::Time,
            Means("always was"),
            "Requests that arrive before are not verified with it.",
        ),
        key(
            "not_after",
            Shape::Time,
            Means("always will be"),
            "Requests that arrive then or later are not verified with it.",
        ),
    ],
    others: None,
    one_of: &["env", "file"],
};
