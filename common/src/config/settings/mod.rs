//! Every setting there is.

mod body_schema;
mod log;
mod receiver;
mod route;
mod secret;
mod source;
mod split;
mod tls;
mod worker;

use std::time::Duration;

pub use self::body_schema::BODY_SCHEMA;
pub use self::log::{KEYS, LOG, QUARANTINE};
pub use self::receiver::RECEIVER;
pub use self::route::{DESTINATION, ROUTE};
pub use self::secret::{SECRET, SOURCE_SECRET, TOKEN};
pub use self::source::SOURCE;
pub use self::split::SPLIT;
pub use self::tls::{PRIVATE_TLS, TLS, WORKER_TLS};
pub use self::worker::WORKER;
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
pub const RELOADED: [&str; 6] = [
    "receiver.public_url",
    "receiver.tls",
    "receiver.private_tls",
    "receiver.tokens",
    "receiver.rate_per_address",
    "receiver.burst_per_address",
];

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
