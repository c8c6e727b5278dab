//! `[receiver]`: listeners and their limits.

use super::*;

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
            "Where workers, operators, the console and metrics connect. Without `private_tls` only on loopback.",
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
            "tls",
            Shape::Section(&TLS),
            Means("senders connect in clear: something in front speaks TLS"),
            "TLS on `listen`.",
        ),
        key(
            "private_tls",
            Shape::Section(&PRIVATE_TLS),
            Means("in clear, on loopback"),
            "TLS on `private`, with certificates on both sides.",
        ),
        key(
            "connections_max",
            Shape::Count(1, 1_000_000),
            Default("10000"),
            "Most open connections of senders. Beyond, the one that has been slow or idle longest gives way to a new one.",
        ),
        key(
            "connections_per_address_max",
            Shape::Count(1, 1_000_000),
            Default("5000"),
            "Most open connections of one address (of IPv6, of one network of 64 bits); more are closed at once. Trusted proxies are exempt.",
        ),
        key(
            "bodies_max",
            Shape::Size(MIB, TIB),
            Default(r#""256MiB""#),
            "Most bytes of bodies in memory at once, over all requests; above it senders get 503.",
        ),
        key(
            "waiting_max",
            Shape::Count(16, 65_536),
            Default("65536"),
            "Most deliveries that wait for the disk at once; above it senders get 503.",
        ),
        key(
            "source_share",
            Shape::Factor(0.01, 1.0),
            Default("0.5"),
            "How much of what the other sources leave of `bodies_max` and `waiting_max` one source may take; above it its senders get 503. One request alone may take all that is left.",
        ),
        key(
            "rate_per_address",
            Shape::Rate(0.001, 1_000_000.0),
            Means("no limit"),
            "Most requests that one address (of IPv6, one network of 64 bits) may make, to all sources together; above it it is asked to come back.",
        ),
        key(
            "burst_per_address",
            Shape::Count(1, 1_000_000),
            Means("two seconds' worth of `rate_per_address`, at least 1"),
            "How many of them may come at once after a pause.",
        ),
        key(
            "first_byte_timeout",
            millis(10, HOUR * 1000),
            Default(r#""10s""#),
            "A new connection must have begun its first request within this time.",
        ),
        key(
            "header_timeout",
            millis(10, 5 * MINUTE * 1000),
            Default(r#""10s""#),
            "A request's headers must have come within this time; so must a TLS handshake.",
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
            "A connection may be idle between requests for this long.",
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
        key(
            "keys",
            Shape::Path,
            Means("`keys` beside `log.path`"),
            "Its directory, outside the log's, for keys that were fetched and secrets that senders named; nobody but the receiver's user may read it.",
        ),
        key(
            "keys_allow",
            Shape::List(&Shape::Network, 1000),
            Default("[]"),
            "Private networks that keys may be fetched from; link-local and metadata addresses never.",
        ),
    ],
);
