//! `[[routes]] split`.

use super::*;

/// `[[routes]] split`
pub static SPLIT: Section = section(
    "routes[].split",
    "Where the items of a delivery are that carries several.",
    &[
        key(
            "path",
            Shape::Text,
            Means("the pack's; `/` with `form`"),
            "JSON pointer of the array in the body, such as `/events`; `/` is all of it.",
        ),
        key(
            "form",
            Shape::Text,
            Means("the body is JSON"),
            "The body is a form, and this field of it holds the JSON.",
        ),
        key(
            "id",
            Shape::Text,
            Means("the pack's, if `path` is"),
            "JSON pointer of an item's own id, in the item.",
        ),
        key(
            "type",
            Shape::Text,
            Means("the pack's, if `path` is"),
            "JSON pointer of an item's event type, in the item; `match` goes by it.",
        ),
        key(
            "otherwise",
            Shape::Choice(&["dead-letter", "whole"]),
            Means("`\"dead-letter\"`"),
            "What becomes of a delivery that has no array there: a dead letter at once, or it is sent as it is.",
        ),
    ],
);
