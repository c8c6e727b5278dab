//! The algorithms a scheme can use, and the keyed hashes among them.

use hmac::{Hmac, KeyInit, Mac as _};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::tag::Tag;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    HmacSha1,
    HmacSha256,
    HmacSha384,
    HmacSha512,
    /// A plain digest over text that contains the secret.
    Sha1,
    Sha256,
    Ed25519,
    EcdsaP256Sha256,
    /// The same with a signature of two numbers of 32 bytes, as in a JSON Web Token.
    EcdsaP256Sha256Fixed,
    RsaSha1,
    RsaSha256,
    RsaSha512,
    /// The credential itself, compared in constant time.
    Equal,
    /// Nothing is checked.
    None,
}

pub(crate) const NAMES: &[(&str, Algorithm)] = &[
    ("hmac-sha1", Algorithm::HmacSha1),
    ("hmac-sha256", Algorithm::HmacSha256),
    ("hmac-sha384", Algorithm::HmacSha384),
    ("hmac-sha512", Algorithm::HmacSha512),
    ("sha1", Algorithm::Sha1),
    ("sha256", Algorithm::Sha256),
    ("ed25519", Algorithm::Ed25519),
    ("ecdsa-p256-sha256", Algorithm::EcdsaP256Sha256),
    ("rsa-sha1", Algorithm::RsaSha1),
    ("rsa-sha256", Algorithm::RsaSha256),
    ("rsa-sha512", Algorithm::RsaSha512),
    ("equal", Algorithm::Equal),
    ("none", Algorithm::None),
];

impl Algorithm {
    pub fn is_asymmetric(self) -> bool {
        matches!(
            self,
            Algorithm::Ed25519
                | Algorithm::EcdsaP256Sha256
                | Algorithm::EcdsaP256Sha256Fixed
                | Algorithm::RsaSha1
                | Algorithm::RsaSha256
                | Algorithm::RsaSha512
        )
    }
}

/// A keyed hash on its way; a clone of it starts from the same state, so the
/// key is set up once per source.
#[derive(Clone)]
pub(crate) enum Mac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
    PlainSha1(Sha1),
    PlainSha256(Sha256),
}

impl Mac {
    /// `None` if the algorithm is no hash. A plain digest ignores the key: its
    /// template names the secret.
    pub fn new(algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::HmacSha1 => Hmac::new_from_slice(key).ok().map(Mac::Sha1),
            Algorithm::HmacSha256 => Hmac::new_from_slice(key).ok().map(Mac::Sha256),
            Algorithm::HmacSha384 => Hmac::new_from_slice(key).ok().map(Mac::Sha384),
            Algorithm::HmacSha512 => Hmac::new_from_slice(key).ok().map(Mac::Sha512),
            Algorithm::Sha1 => Some(Mac::PlainSha1(Sha1::new())),
            Algorithm::Sha256 => Some(Mac::PlainSha256(Sha256::new())),
            _ => None,
        }
    }

    /// Whether the algorithm is a hash under a key.
    pub fn is_keyed(algorithm: Algorithm) -> bool {
        matches!(
            algorithm,
            Algorithm::HmacSha1
                | Algorithm::HmacSha256
                | Algorithm::HmacSha384
                | Algorithm::HmacSha512
        )
    }

    pub fn update(&mut self, piece: &[u8]) {
        match self {
            Mac::Sha1(mac) => mac.update(piece),
            Mac::Sha256(mac) => mac.update(piece),
            Mac::Sha384(mac) => mac.update(piece),
            Mac::Sha512(mac) => mac.update(piece),
            Mac::PlainSha1(hash) => Digest::update(hash, piece),
            Mac::PlainSha256(hash) => Digest::update(hash, piece),
        }
    }

    /// Whether one of the signatures is the whole tag, in constant time each.
    pub fn matches_one_of(self, signatures: &[std::borrow::Cow<'_, [u8]>]) -> bool {
        let expected = self.finish();
        let given = signatures.iter();
        given.fold(false, |found, signature| found | expected.is(signature))
    }

    /// The whole tag.
    pub fn finish(self) -> Tag {
        match self {
            Mac::Sha1(mac) => Tag::new(mac.finalize().into_bytes().as_slice()),
            Mac::Sha256(mac) => Tag::new(mac.finalize().into_bytes().as_slice()),
            Mac::Sha384(mac) => Tag::new(mac.finalize().into_bytes().as_slice()),
            Mac::Sha512(mac) => Tag::new(mac.finalize().into_bytes().as_slice()),
            Mac::PlainSha1(hash) => Tag::new(hash.finalize().as_slice()),
            Mac::PlainSha256(hash) => Tag::new(hash.finalize().as_slice()),
        }
    }
}
