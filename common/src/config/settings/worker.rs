//! `[worker]`.

use super::*;

/// `[worker]`
pub static WORKER: Section = section(
    "[worker]",
    "The workers.",
    &[
        key(
            "receivers",
            Shape::List(&Shape::Url, 100),
            Means("the address of `receiver.private`"),
            "Receivers to lease from.",
        ),
        key(
            "token",
            Shape::Secret(&SECRET),
            Means("the one that `creel up` makes"),
            "The token for them.",
        ),
        key(
            "tls",
            Shape::Section(&WORKER_TLS),
            Default("{}"),
            "Certificates for `https` receivers.",
        ),
        key(
            "concurrency",
            Shape::Count(1, 100_000),
            Default("256"),
            "Most deliveries under way at once in one worker, over all routes.",
        ),
        key(
            "drain_timeout",
            seconds(0, HOUR),
            Default(r#""20s""#),
            "How long a stop waits for deliveries under way before they are given back.",
        ),
        key(
            "processes",
            Shape::Count(0, 256),
            Default("2"),
            "How many workers `creel up` runs.",
        ),
    ],
);
