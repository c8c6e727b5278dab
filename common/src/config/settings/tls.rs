//! `[receiver.tls]`, `[receiver.private_tls]`, `[worker.tls]`: certificates and their keys.

use super::*;

const CERT: Key = key(
    "cert",
    Shape::Path,
    Required,
    "A PEM file with the listener's certificate and those that lead to its authority, its own first.",
);
const KEY: Key = key(
    "key",
    Shape::Path,
    Required,
    "A PEM file with the certificate's private key; only its owner should be able to read it.",
);

/// `[receiver.tls]`
pub static TLS: Section = section(
    "[receiver.tls]",
    "TLS for senders. The files are read again at every reload.",
    &[
        CERT,
        KEY,
        key(
            "client_ca",
            Shape::Path,
            Means("senders need no certificate"),
            "A PEM file of authorities: senders without a certificate of one of them cannot connect.",
        ),
    ],
);

/// `[receiver.private_tls]`
pub static PRIVATE_TLS: Section = section(
    "[receiver.private_tls]",
    "TLS for the private listener, with certificates on both sides. The files are read again at every reload.",
    &[
        CERT,
        KEY,
        key(
            "client_ca",
            Shape::Path,
            Required,
            "A PEM file of authorities: who has no certificate of one of them cannot connect.",
        ),
    ],
);

/// `[worker.tls]`
pub static WORKER_TLS: Section = section(
    "[worker.tls]",
    "How workers, and commands that ask a receiver, connect to `https` receivers.",
    &[
        key(
            "ca",
            Shape::Path,
            Means("the authorities that this machine trusts"),
            "A PEM file of authorities, one of which the receiver's certificate must come from.",
        ),
        key(
            "cert",
            Shape::Path,
            Means("no certificate is shown"),
            "A PEM file with the certificate to show, and those that lead to its authority.",
        ),
        key(
            "key",
            Shape::Path,
            Means("no certificate is shown"),
            "A PEM file with its private key; only its owner should be able to read it.",
        ),
    ],
);
