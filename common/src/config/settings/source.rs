//! `[sources.NAME]`.

use super::*;

/// `[sources.NAME]`
pub static SOURCE: Section = section(
    "[sources.NAME]",
    "A sender, at `/in/NAME`.",
    &[
        key(
            "provider",
            Shape::Provider,
            Required,
            "The provider pack; `creel providers list` shows them.",
        ),
        key(
            "secrets",
            Shape::List(&Shape::Secret(&SOURCE_SECRET), 32),
            Default("[]"),
            "Its secrets; any that is valid when a request arrives may have signed it.",
        ),
        key(
            "options",
            Shape::Texts,
            Default("{}"),
            "Settings of the pack; `creel providers show` names them.",
        ),
        key(
            "public_url",
            Shape::Url,
            Means("`receiver.public_url`"),
            "Overrides `receiver.public_url` for this source.",
        ),
        key(
            "tolerance",
            seconds(1, DAY),
            Means("the pack's"),
            "How far the sender's clock may be off.",
        ),
        key(
            "body_max",
            Shape::Size(1, GIB),
            Means("the pack's"),
            "The largest body that is taken.",
        ),
        key(
            "content_types",
            Shape::OneOrMore(&Shape::MediaType, 100),
            Means("any"),
            "Media types of bodies that are taken; others are refused with 415.",
        ),
        key(
            "allow",
            Shape::OneOrMore(&Shape::Network, 1000),
            Means("any"),
            "Networks that its requests may come from; others are refused with 403.",
        ),
        key(
            "rate",
            Shape::Rate(0.001, 1_000_000.0),
            Means("no limit"),
            "Most of its deliveries that are taken; above it its senders are asked to come back.",
        ),
        key(
            "burst",
            Shape::Count(1, 1_000_000),
            Means("two seconds' worth of `rate`, at least 1"),
            "How many of them may come at once after a pause.",
        ),
        key(
            "rate_per_address",
            Shape::Rate(0.001, 1_000_000.0),
            Means("`receiver.rate_per_address`"),
            "Most requests to this source that one address may make: instead of the receiver's, and counted apart.",
        ),
        key(
            "burst_per_address",
            Shape::Count(1, 1_000_000),
            Means("two seconds' worth of `rate_per_address`, at least 1"),
            "How many of them may come at once after a pause.",
        ),
        key(
            "reply",
            Shape::Section(&REPLY),
            Means("the pack's"),
            "What the sender is answered once a delivery is durable.",
        ),
        key(
            "quota",
            Shape::Size(MIB, 1024 * TIB),
            Means("no bound but the log's"),
            "Most bytes of its deliveries that are kept, settled ones too: its history goes early before that is reached, then nothing more of it is taken.",
        ),
        key(
            "dedupe",
            Shape::Section(&DEDUPE),
            Default("{}"),
            "How repeats are recognised.",
        ),
        key(
            "schema",
            Shape::Section(&BODY_SCHEMA),
            Means("bodies are not looked at"),
            "JSON Schemas that its bodies must match.",
        ),
    ],
);

/// `[sources.NAME] reply`
pub static REPLY: Section = section(
    "sources.NAME.reply",
    "An answer instead of the pack's, the same to every delivery; repeats get it too.",
    &[
        key(
            "status",
            Shape::Count(200, 299),
            Means("`200`"),
            "Its status.",
        ),
        key(
            "type",
            Shape::Text,
            Means("the answer has no body"),
            "The media type of `body`, perhaps with parameters, such as `text/xml; charset=utf-8`.",
        ),
        key(
            "body",
            Shape::Lines(64 << 10),
            Means("the answer has no body"),
            "Its body, sent as it stands.",
        ),
    ],
);

/// `[sources.NAME] dedupe`
pub static DEDUPE: Section = section(
    "sources.NAME.dedupe",
    "How a repeated delivery is recognised.",
    &[
        key(
            "window",
            seconds(0, 3650 * DAY),
            Default(r#""72h""#),
            "For how long repeats are recognised; `0s` switches it off.",
        ),
        key(
            "key",
            Shape::Text,
            Means("the pack's, if the sender's id is unique"),
            "Where the idempotency key is, such as `header:X-Id`.",
        ),
    ],
);
