//! `[destinations.NAME]` and `[[routes]]`.

use super::*;

/// `[destinations.NAME]`
pub static DESTINATION: Section = Section {
    title: "[destinations.NAME]",
    doc: "A place that deliveries are loaded into.",
    keys: &[key(
        "type",
        Shape::Kind,
        Required,
        "Its kind; the other settings are those of the kind.",
    )],
    others: Some("The settings of the kind."),
    one_of: &[],
};

/// `[[routes]]`
pub static ROUTE: Section = section(
    "[[routes]]",
    "From a source to a destination.",
    &[
        key(
            "name",
            Shape::Name,
            Means("`<source>-<destination>`"),
            "Its identity: progress, pause and leases refer to it.",
        ),
        key("source", Shape::Text, Required, "From where."),
        key("destination", Shape::Text, Required, "To where."),
        key(
            "match",
            Shape::Section(&MATCH),
            Default("{}"),
            "Which deliveries it takes.",
        ),
        key(
            "retry",
            Shape::Section(&RETRY),
            Default("{}"),
            "How failed tries are made again.",
        ),
        key(
            "open_max",
            Shape::Count(1, 1_000_000),
            Default("1024"),
            "Most deliveries leased at once.",
        ),
        key(
            "rate",
            Shape::Rate(0.001, 1_000_000.0),
            Means("no limit"),
            "Most deliveries started per second: `\"100/s\"`, `\"30/m\"`, or a number per second.",
        ),
        key(
            "breaker",
            Shape::Section(&BREAKER),
            Default("{}"),
            "When a failing destination is left alone for a while.",
        ),
        key(
            "start",
            Shape::Choice(&["beginning", "now"]),
            Means("`\"beginning\"` for the first route of its source, else `\"now\"`"),
            "Where a new route starts.",
        ),
        key(
            "timeout",
            millis(10, HOUR * 1000),
            Default(r#""30s""#),
            "One try may take this long.",
        ),
        key(
            "split",
            Shape::Switch(&SPLIT),
            Means("deliveries are sent as they came"),
            "A delivery that carries several items is sent item by item.",
        ),
    ],
);

/// `[[routes]] match`
pub static MATCH: Section = section(
    "routes[].match",
    "Which deliveries a route takes.",
    &[key(
        "event",
        Shape::OneOrMore(&Shape::Text, 1000),
        Means("all"),
        "One event type or several.",
    )],
);

/// `[[routes]] retry`
pub static RETRY: Section = section(
    "routes[].retry",
    "Pauses grow from try to try; each is drawn at random between nothing and its longest.",
    &[
        key(
            "max_attempts",
            Shape::Count(1, 10_000),
            Default("16"),
            "Tries in all before a delivery is dead, the first one included.",
        ),
        key(
            "initial",
            millis(1, 30 * DAY * 1000),
            Default(r#""1s""#),
            "The longest pause after the first failure.",
        ),
        key(
            "max",
            millis(1, 30 * DAY * 1000),
            Default(r#""1h""#),
            "The longest pause ever.",
        ),
        key(
            "multiplier",
            Shape::Factor(1.0, 100.0),
            Default("2.0"),
            "How much longer the pause may be each time.",
        ),
        key(
            "give_up_after",
            seconds(1, 3650 * DAY),
            Means("never"),
            "Dead when a try fails this long after the delivery came, whatever the tries left.",
        ),
        key(
            "retry_after_max",
            seconds(0, 30 * DAY),
            Default(r#""24h""#),
            "The longest pause a destination may ask for with `Retry-After`.",
        ),
    ],
);

/// `[[routes]] breaker`
pub static BREAKER: Section = section(
    "routes[].breaker",
    "While a destination is down only probes are sent, and no tries are used up.",
    &[
        key(
            "failures",
            Shape::Count(0, 1_000_000),
            Default("10"),
            "Opens after this many failures in a row; 0 switches it off.",
        ),
        key(
            "pause",
            millis(10, DAY * 1000),
            Default(r#""5s""#),
            "First pause before a probe; doubles with every failed probe.",
        ),
        key(
            "pause_max",
            millis(10, DAY * 1000),
            Default(r#""5m""#),
            "Longest pause before a probe.",
        ),
    ],
);
