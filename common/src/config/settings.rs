//! Every setting there is.

use std::time::Duration;

use super::schema::{Absent, Key, Section, Shape};
use Absent::{Default, Means, Required};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

const fn key(name: &'static str, shape: Shape, absent: Absent, doc: &'static str) -> Key {
    Key {
        name,
        shape,
        absent,
        doc,
    }
}

const fn section(title: &'static str, doc: &'static str, keys: &'static [Key]) -> Section {
    Section {
        title,
        doc,
        keys,
        others: None,
        one_of: &[],
    }
}

const fn millis(min: u64, max: u64) -> Shape {
    Shape::Duration(Duration::from_millis(min), Duration::from_millis(max))
}

const fn seconds(min: u64, max: u64) -> Shape {
    Shape::Duration(Duration::from_secs(min), Duration::from_secs(max))
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What a running receiver takes over from a changed file besides sources and routes: everything else
/// outside of [`ELSEWHERE`] needs a restart.
pub const RELOADED: [&str; 2] = ["receiver.public_url", "receiver.tokens"];

/// Sections that a receiver does not live by: workers do.
pub const ELSEWHERE: [&str; 1] = ["worker"];

/// The whole file.
pub static FILE: Section = section(
    "creel.toml",
    "One file for all roles.",
    &[
        key(
            "receiver",
            Shape::Section(&RECEIVER),
            Default("{}"),
            "Listeners and their limits.",
        ),
        key(
            "log",
            Shape::Section(&LOG),
            Default("{}"),
            "The log of deliveries.",
        ),
        key(
            "dedupe",
            Shape::Section(&KEYS),
            Default("{}"),
            "How many idempotency keys are kept.",
        ),
        key(
            "quarantine",
            Shape::Section(&QUARANTINE),
            Default("{}"),
            "Where requests that failed verification are kept for a while.",
        ),
        key(
            "worker",
            Shape::Section(&WORKER),
            Default("{}"),
            "The workers.",
        ),
        key(
            "sources",
            Shape::Named(&SOURCE),
            Default("{}"),
            "Who sends, by name.",
        ),
        key(
            "destinations",
            Shape::Named(&DESTINATION),
            Default("{}"),
            "Where deliveries are loaded into, by name.",
        ),
        key(
            "routes",
            Shape::List(&Shape::Section(&ROUTE), 10_000),
            Default("[]"),
            "Which source goes to which destination.",
        ),
    ],
);

/// `[receiver]`
pub static RECEIVER: Section = section(
    "[receiver]",
    "Listeners and their limits.",
    &[
        key(
            "listen",
            Shape::Address,
            Default(r#""127.0.0.1:8080""#),
            "Where senders connect; port 0 takes any free one.",
        ),
        key(
            "private",
            Shape::Address,
            Default(r#""127.0.0.1:8081""#),
            "Where workers, operators, the console and metrics connect. Loopback only: it has no TLS.",
        ),
        key(
            "public_url",
            Shape::Url,
            Means("taken from the request"),
            "The URL under which senders reach `listen`. Some providers sign it.",
        ),
        key(
            "trusted_proxies",
            Shape::List(&Shape::Network, 1000),
            Default("[]"),
            "Whose `X-Forwarded-*` headers are believed.",
        ),
        key(
            "connections_max",
            Shape::Count(1, 1_000_000),
            Default("10000"),
            "Most open connections.",
        ),
        key(
            "bodies_max",
            Shape::Size(MIB, TIB),
            Default(r#""256MiB""#),
            "Most bytes of bodies in memory at once, over all requests; above it senders get 503.",
        ),
        key(
            "header_timeout",
            millis(10, 5 * MINUTE * 1000),
            Default(r#""10s""#),
            "A request's headers must have come within this time.",
        ),
        key(
            "body_timeout",
            millis(10, HOUR * 1000),
            Default(r#""30s""#),
            "A request's body must have come within this time.",
        ),
        key(
            "idle_timeout",
            millis(10, HOUR * 1000),
            Default(r#""75s""#),
            "A connection may be idle for this long.",
        ),
        key(
            "drain_timeout",
            seconds(0, HOUR),
            Default(r#""10s""#),
            "How long a stop waits for requests in flight.",
        ),
        key(
            "tokens",
            Shape::List(&Shape::Secret(&TOKEN), 1000),
            Default("[]"),
            "Who may use the private listener. `creel up` makes the tokens that it needs itself.",
        ),
        key(
            "providers",
            Shape::Path,
            Means("only the built-in packs"),
            "A directory of provider packs of your own, each `NAME.toml`.",
        ),
    ],
);

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
            Shape::Name,
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

/// `[log]`
pub static LOG: Section = section(
    "[log]",
    "The log of deliveries.",
    &[
        key(
            "engine",
            Shape::Choice(&["sled", "memory"]),
            Default(r#""sled""#),
            "What keeps the log. `memory` is for tests: nothing survives.",
        ),
        key(
            "path",
            Shape::Path,
            Default(r#""data""#),
            "The log's directory.",
        ),
        key(
            "retention",
            seconds(0, 3650 * DAY),
            Default(r#""7d""#),
            "How long settled deliveries are kept, while the disk has room. What is not settled is never removed by age.",
        ),
        key(
            "volume",
            Shape::Size(4 * MIB, 64 * GIB),
            Default(r#""1GiB""#),
            "A volume is closed at this size; disk comes back a volume at a time.",
        ),
        key(
            "reserve",
            Shape::Size(0, 16 * TIB),
            Default(r#""1GiB""#),
            "Intake stops below this much free space; below half as much again settled history goes early, oldest first.",
        ),
        key(
            "reserve_operate",
            Shape::Size(0, 16 * TIB),
            Means("a quarter of `reserve`"),
            "Below this much free space operators' changes that make the state grow stop, too; settling, discarding and recovery never do.",
        ),
        key(
            "max_bytes",
            Shape::Size(16 * MIB, 1024 * TIB),
            Means("no bound but the disk"),
            "Most bytes that the log takes, all in all: history goes early before it is reached, then intake stops.",
        ),
        key(
            "ballast",
            Shape::Size(0, TIB),
            Means("`\"64MiB\"`, or a quarter of `reserve` if that is less"),
            "A file of this size is kept in the log's directory, to be given away when the disk is full; `\"0B\"` for none.",
        ),
        key(
            "attempts",
            Shape::Size(MIB, TIB),
            Default(r#""512MiB""#),
            "Most bytes of kept attempts; the oldest go first.",
        ),
        key(
            "cache",
            Shape::Size(0, 64 * GIB),
            Default(r#""64MiB""#),
            "Most bytes of recent blocks kept in memory.",
        ),
        key(
            "lease",
            millis(100, HOUR * 1000),
            Default(r#""60s""#),
            "How long a worker holds what it leased unless it extends; after that others get it.",
        ),
        key(
            "lost_max",
            Shape::Count(1, 1000),
            Default("3"),
            "This many expired leases of one delivery make a dead letter.",
        ),
    ],
);

/// `[dedupe]`
pub static KEYS: Section = section(
    "[dedupe]",
    "What repeats are recognised by, over all sources.",
    &[key(
        "keys_max",
        Shape::Count(1_000_000, 10_000_000_000),
        Default("50000000"),
        "Most idempotency keys kept; above it the oldest go before their window is over. Each takes 39 bytes of disk and 2.1 of memory.",
    )],
);

/// `[quarantine]`
pub static QUARANTINE: Section = section(
    "[quarantine]",
    "Where requests that failed verification are kept for a while, so that a wrong secret loses nothing.",
    &[
        key(
            "path",
            Shape::Path,
            Means("`quarantine` beside `log.path`"),
            "Its directory, outside the log's; nobody but the receiver's user may read it.",
        ),
        key(
            "max_bytes",
            Shape::Size(0, TIB),
            Default(r#""2GiB""#),
            "Most bytes that it takes; `\"0B\"` keeps nothing. Above it the source, and of that the senders, that take most give way, oldest first.",
        ),
        key(
            "max_count",
            Shape::Count(1, 100_000_000),
            Default("2000000"),
            "Most requests in it; above it the same gives way.",
        ),
        key(
            "max_age",
            seconds(1, 3650 * DAY),
            Default(r#""7d""#),
            "How long a request is kept, and up to an eighth longer.",
        ),
        key(
            "per_address",
            Shape::Rate(0.001, 1e6),
            Default(r#""500/s""#),
            "At most so many requests of one sender's address are kept, in bursts of two seconds' worth; the rest is only counted.",
        ),
    ],
);

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
