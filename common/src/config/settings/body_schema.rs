//! `[sources.NAME] schema`.

use super::*;

/// `[sources.NAME] schema`
pub static BODY_SCHEMA: Section = section(
    "sources.NAME.schema",
    "JSON Schemas that a source's bodies must match.",
    &[
        key(
            "file",
            Shape::Path,
            Means("only types in `events` are checked"),
            "The schema of every body whose event type has none of its own in `events`.",
        ),
        key(
            "events",
            Shape::Texts,
            Means("none"),
            "Files of schemas by event type: `{ \"order.created\" = \"order.json\" }`.",
        ),
        key(
            "on_mismatch",
            Shape::Choice(&["dead-letter", "refuse"]),
            Means("`\"dead-letter\"`"),
            "What becomes of a body that does not match: kept, and a dead letter of every route at once, or refused with 422.",
        ),
    ],
);
