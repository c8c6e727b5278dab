//! Why a request was refused: for metrics and the log, never for the sender.

use std::fmt;

/// Closed list with short stable names. The sender always gets the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The method is none of the pack's.
    Method,
    /// The pack verifies nothing but handshakes, and this is none.
    NoScheme,
    /// No signature (or credential) where one belongs.
    MissingSignature,
    /// A signature is there but cannot be read: prefix, encoding, label.
    BadEncoding,
    /// More than 32 signatures.
    TooManySignatures,
    /// A signature, time or id of more than 8 KiB.
    TooLong,
    /// No key of the source made any of the signatures.
    NoMatch,
    /// A secret of the source made the signature, but outside of its `not_before` and `not_after`.
    SecretNotValid,
    /// A header that decides occurs twice, with different values.
    DuplicateHeader,
    /// No timestamp where the scheme signs one.
    MissingTimestamp,
    /// A timestamp that is not exactly what the scheme says.
    BadTimestamp,
    /// The signed time is too long ago.
    Stale,
    /// The signed time is too far ahead.
    Future,
    /// No message id where the scheme signs one.
    MissingId,
    /// Something else that the scheme signs is not in the request.
    MissingValue,
    /// The message names an algorithm that the pack does not allow.
    UnknownAlgorithm,
    /// The body's hash is required and absent.
    BodyHashMissing,
    /// The body is not the one that was hashed.
    BodyHash,
    /// The body cannot be read in the way the scheme needs.
    BadBody,
    /// A header or field does not have the value the pack requires.
    Condition,
    /// A registration handshake carried a wrong token.
    HandshakeToken,
    /// The token or request names a key that is not among those of the sender.
    UnknownKey,
    /// The key is still to be fetched: our own fault, the sender comes again.
    KeyPending,
    /// The certificate is not valid at this time, or is somebody else's.
    KeyNotValid,
    /// The key's URL, or the one to call back, is none of the provider's.
    UntrustedUrl,
    /// The token lacks a claim that the pack requires.
    MissingClaim,
    /// A claim of the token does not have the value that it must have.
    Claim,
    /// A handshake names a secret, but the source has one already.
    SecretKnown,
}

impl Reason {
    pub const ALL: &[Reason] = &[
        Reason::Method,
        Reason::NoScheme,
        Reason::MissingSignature,
        Reason::BadEncoding,
        Reason::TooManySignatures,
        Reason::TooLong,
        Reason::NoMatch,
        Reason::SecretNotValid,
        Reason::DuplicateHeader,
        Reason::MissingTimestamp,
        Reason::BadTimestamp,
        Reason::Stale,
        Reason::Future,
        Reason::MissingId,
        Reason::MissingValue,
        Reason::UnknownAlgorithm,
        Reason::BodyHashMissing,
        Reason::BodyHash,
        Reason::BadBody,
        Reason::Condition,
        Reason::HandshakeToken,
        Reason::UnknownKey,
        Reason::KeyPending,
        Reason::KeyNotValid,
        Reason::UntrustedUrl,
        Reason::MissingClaim,
        Reason::Claim,
        Reason::SecretKnown,
    ];

    /// The reason of that stable name.
    pub fn named(name: &[u8]) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|reason| reason.name().as_bytes() == name)
    }

    /// The stable name, as in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Method => "method",
            Reason::NoScheme => "no_scheme",
            Reason::MissingSignature => "missing_signature",
            Reason::BadEncoding => "bad_encoding",
            Reason::TooManySignatures => "too_many_signatures",
            Reason::TooLong => "too_long",
            Reason::NoMatch => "no_match",
            Reason::SecretNotValid => "secret_not_valid",
            Reason::DuplicateHeader => "duplicate_header",
            Reason::MissingTimestamp => "missing_timestamp",
            Reason::BadTimestamp => "bad_timestamp",
            Reason::Stale => "stale",
            Reason::Future => "future",
            Reason::MissingId => "missing_id",
            Reason::MissingValue => "missing_value",
            Reason::UnknownAlgorithm => "unknown_algorithm",
            Reason::BodyHashMissing => "body_hash_missing",
            Reason::BodyHash => "body_hash",
            Reason::BadBody => "bad_body",
            Reason::Condition => "condition",
            Reason::HandshakeToken => "handshake_token",
            Reason::UnknownKey => "unknown_key",
            Reason::KeyPending => "key_pending",
            Reason::KeyNotValid => "key_not_valid",
            Reason::UntrustedUrl => "untrusted_url",
            Reason::MissingClaim => "missing_claim",
            Reason::Claim => "claim",
            Reason::SecretKnown => "secret_known",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
