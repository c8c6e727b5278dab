//! `[log]`, `[dedupe]`, `[quarantine]`: what is kept, where, and how much of it.

use super::*;

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
