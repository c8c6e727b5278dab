//! Keys: from what an operator pastes to what a check uses.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use creel_common::secret::Window;
use creel_common::time::Timestamp;
use icu_normalizer::DecomposingNormalizerBorrowed;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use sha1::Sha1;
use sha2::Digest;

use super::algorithm::{Algorithm, Mac};
use super::der;
use super::document::unknown;
use crate::tag::Tag;

/// How the text of a secret becomes a key.
#[derive(Debug, Clone)]
pub(crate) struct KeyFormat {
    encoding: Encoding,
    modifiers: Vec<Modifier>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Base64,
    Hex,
    /// `v1,` and `whsec_` cut off, then base64.
    Whsec,
    /// `whpk_` cut off, then base64.
    Whpk,
    Ed25519Hex,
    Ed25519Base64,
    SpkiBase64,
    Pem,
}

#[derive(Debug, Clone)]
enum Modifier {
    Sha1,
    Suffix(String),
    Nfkd,
}

const ENCODINGS: &[(&str, Encoding)] = &[
    ("utf8", Encoding::Utf8),
    ("base64", Encoding::Base64),
    ("hex", Encoding::Hex),
    ("whsec", Encoding::Whsec),
    ("whpk", Encoding::Whpk),
    ("ed25519-hex", Encoding::Ed25519Hex),
    ("ed25519-b64", Encoding::Ed25519Base64),
    ("spki-b64", Encoding::SpkiBase64),
    ("pem", Encoding::Pem),
];

/// What is wrong with a secret. Never contains any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("is empty")]
    Empty,
    #[error("consists of blanks")]
    Blank,
    #[error("ends with a line break, which is hardly part of it")]
    LineBreak,
    #[error("is all zero")]
    Zero,
    #[error("is not {0}")]
    Encoding(&'static str),
    #[error("is not the public key of the scheme's algorithm")]
    PublicKey,
    #[error("has to be `user:password`")]
    NotUserPassword,
}

impl KeyFormat {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = text.split('+');
        let name = pieces.next().unwrap_or("");
        if name == "jwks" || name.starts_with("x509-url") {
            return Err(format!(
                "keys fetched by URL (`{name}`) are not supported yet"
            ));
        }
        let names = ENCODINGS.iter().map(|(name, _)| *name);
        let encoding = ENCODINGS
            .iter()
            .find(|(other, _)| *other == name)
            .map(|(_, encoding)| *encoding)
            .ok_or_else(|| unknown("key format", name, names))?;
        let modifiers = pieces.map(Modifier::parse).collect::<Result<_, _>>()?;
        Ok(Self {
            encoding,
            modifiers,
        })
    }

    pub fn utf8() -> Self {
        Self {
            encoding: Encoding::Utf8,
            modifiers: Vec::new(),
        }
    }

    /// The bytes of the key.
    pub fn decode(&self, secret: &str) -> Result<SecretBox<Vec<u8>>, SecretError> {
        if secret.is_empty() {
            return Err(SecretError::Empty);
        }
        if secret.trim().is_empty() {
            return Err(SecretError::Blank);
        }
        let mut key = self.encoding.decode(secret)?;
        if key.is_empty() {
            return Err(SecretError::Empty);
        }
        if key.iter().all(|byte| matches!(byte, 0 | b'0')) {
            return Err(SecretError::Zero);
        }
        for modifier in &self.modifiers {
            key = modifier.apply(key)?;
        }
        Ok(SecretBox::new(Box::new(key)))
    }
}

impl Encoding {
    fn decode(self, text: &str) -> Result<Vec<u8>, SecretError> {
        if self == Encoding::Utf8 {
            if text.ends_with(['\n', '\r']) {
                return Err(SecretError::LineBreak);
            }
            return Ok(text.as_bytes().to_vec());
        }
        let text = text.trim();
        match self {
            Encoding::Whsec => {
                let text = text.strip_prefix("v1,").unwrap_or(text);
                base64(text.strip_prefix("whsec_").unwrap_or(text))
            }
            Encoding::Whpk => base64(text.strip_prefix("whpk_").unwrap_or(text)),
            Encoding::Hex | Encoding::Ed25519Hex => {
                hex::decode(text).map_err(|_| SecretError::Encoding("hexadecimal"))
            }
            Encoding::Pem => pem(text),
            _ => base64(text),
        }
    }
}

fn base64(text: &str) -> Result<Vec<u8>, SecretError> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    LENIENT
        .decode(text)
        .map_err(|_| SecretError::Encoding("base64"))
}

fn pem(text: &str) -> Result<Vec<u8>, SecretError> {
    let wrong = SecretError::Encoding("a PEM public key");
    let body = text
        .split_once("-----BEGIN PUBLIC KEY-----")
        .and_then(|(_, rest)| rest.split_once("-----END PUBLIC KEY-----"))
        .map(|(body, _)| body)
        .ok_or(wrong)?;
    let joined: String = body.split_whitespace().collect();
    base64(&joined).map_err(|_| wrong)
}

impl Modifier {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("suffix", suffix)) => Ok(Modifier::Suffix(suffix.to_owned())),
            None if text == "sha1" => Ok(Modifier::Sha1),
            None if text == "nfkd" => Ok(Modifier::Nfkd),
            _ => Err(unknown("key modifier", text, ["sha1", "suffix", "nfkd"])),
        }
    }

    fn apply(&self, mut key: Vec<u8>) -> Result<Vec<u8>, SecretError> {
        match self {
            Modifier::Sha1 => Ok(Sha1::digest(&key).to_vec()),
            Modifier::Suffix(suffix) => {
                key.extend_from_slice(suffix.as_bytes());
                Ok(key)
            }
            Modifier::Nfkd => {
                let text = String::from_utf8(key).map_err(|_| SecretError::Encoding("UTF-8"))?;
                let normal = DecomposingNormalizerBorrowed::new_nfkd().normalize(&text);
                Ok(normal.into_owned().into_bytes())
            }
        }
    }
}

/// A key made ready for one algorithm.
pub(crate) enum Ready {
    Mac(Box<Mac>),
    Public {
        key: UnparsedPublicKey<Vec<u8>>,
    },
    /// SHA-256 of the credential.
    Token(Tag),
}

impl Ready {
    pub fn new(algorithm: Algorithm, key: &[u8]) -> Result<Self, SecretError> {
        if let Some(mac) = Mac::new(algorithm, key) {
            return Ok(Ready::Mac(Box::new(mac)));
        }
        let ring: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::Ed25519 => &signature::ED25519,
            Algorithm::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
            Algorithm::RsaSha1 => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::RsaSha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::RsaSha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            _ => return Ok(Ready::Token(Tag::sha256(key))),
        };
        let key = public(algorithm, key).ok_or(SecretError::PublicKey)?;
        Ok(Ready::Public {
            key: UnparsedPublicKey::new(ring, key),
        })
    }
}

/// What ring wants: a point, or an RSA key without its wrapping.
fn public(algorithm: Algorithm, key: &[u8]) -> Option<Vec<u8>> {
    match algorithm {
        Algorithm::Ed25519 if key.len() == 32 => Some(key.to_vec()),
        Algorithm::Ed25519 => der::public_key(key, der::ED25519).filter(|key| key.len() == 32),
        Algorithm::EcdsaP256Sha256 => der::public_key(key, der::EC_PUBLIC_KEY)
            .filter(|point| point.len() == 65 && point[0] == 4),
        _ => der::public_key(key, der::RSA),
    }
}

/// A secret of a source, with the name it goes by in logs.
#[derive(Debug, Clone)]
pub struct SourceKey {
    /// Never the secret: a number, or where it came from.
    pub id: String,
    pub secret: SecretString,
    /// When it is valid; always, unless something else is said.
    pub window: Window,
}

impl SourceKey {
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: SecretString::from(secret.into()),
            window: Window::default(),
        }
    }

    /// The same, valid at these times only.
    pub fn within(self, window: Window) -> Self {
        Self { window, ..self }
    }
}

/// One key of a prepared source.
pub(crate) struct Key {
    pub bytes: SecretBox<Vec<u8>>,
    ready: Vec<(Algorithm, Ready)>,
    window: Window,
}

impl Key {
    pub fn new(
        format: &KeyFormat,
        algorithms: &[Algorithm],
        key: &SourceKey,
    ) -> Result<Self, SecretError> {
        let bytes = format.decode(key.secret.expose_secret())?;
        let ready = algorithms
            .iter()
            .map(|algorithm| {
                Ready::new(*algorithm, bytes.expose_secret()).map(|ready| (*algorithm, ready))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            bytes,
            ready,
            window: key.window,
        })
    }

    /// Whether it may verify what arrived at this time, in milliseconds since 1970.
    pub fn is_valid(&self, now_unix_ms: i64) -> bool {
        let now = u64::try_from(now_unix_ms).unwrap_or_default();
        self.window.holds(Timestamp(now))
    }

    pub fn ready(&self, algorithm: Algorithm) -> Option<&Ready> {
        self.ready
            .iter()
            .find(|(other, _)| *other == algorithm)
            .map(|(_, ready)| ready)
    }
}
