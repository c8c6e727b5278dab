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
use super::jwks;
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
    /// A JSON Web Key Set, as JSON.
    Jwks,
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
    ("jwks", Encoding::Jwks),
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
    #[error("is a public key, which anybody can have: this provider signs with a shared secret")]
    NoSecret,
    #[error("is no JSON Web Key Set with a key for the provider's algorithms")]
    KeySet,
}

impl KeyFormat {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = text.split('+');
        let name = pieces.next().unwrap_or("");
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

    /// Whether such a secret is a public key, or a set of them.
    pub fn is_public(&self) -> bool {
        matches!(
            self.encoding,
            Encoding::Whpk
                | Encoding::Ed25519Hex
                | Encoding::Ed25519Base64
                | Encoding::SpkiBase64
                | Encoding::Pem
                | Encoding::Jwks
        )
    }

    /// Whether it is a JSON Web Key Set.
    pub fn is_set(&self) -> bool {
        self.encoding == Encoding::Jwks
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
            Encoding::Jwks => Ok(text.as_bytes().to_vec()),
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
        if algorithm == Algorithm::Equal {
            return Ok(Ready::Token(Tag::sha256(key)));
        }
        let key = public(algorithm, key).ok_or(SecretError::PublicKey)?;
        Self::public(algorithm, key).ok_or(SecretError::PublicKey)
    }

    /// A public key as ring takes it; `None` if the algorithm has none.
    fn public(algorithm: Algorithm, key: Vec<u8>) -> Option<Self> {
        let ring: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::Ed25519 => &signature::ED25519,
            Algorithm::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
            Algorithm::EcdsaP256Sha256Fixed => &signature::ECDSA_P256_SHA256_FIXED,
            Algorithm::RsaSha1 => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::RsaSha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::RsaSha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            _ => return None,
        };
        Some(Ready::Public {
            key: UnparsedPublicKey::new(ring, key),
        })
    }

    /// Whether it made one of these signatures of `message`.
    pub fn made_one_of(&self, message: &[u8], signatures: &[std::borrow::Cow<'_, [u8]>]) -> bool {
        match self {
            Ready::Mac(start) => {
                let mut mac = Mac::clone(start);
                mac.update(message);
                mac.matches_one_of(signatures)
            }
            Ready::Public { key } => signatures
                .iter()
                .any(|signature| key.verify(message, signature).is_ok()),
            Ready::Token(_) => false,
        }
    }
}

/// What ring wants: a point, or an RSA key without its wrapping.
fn public(algorithm: Algorithm, key: &[u8]) -> Option<Vec<u8>> {
    match algorithm {
        Algorithm::Ed25519 if key.len() == 32 => Some(key.to_vec()),
        Algorithm::Ed25519 => der::public_key(key, der::ED25519).filter(|key| key.len() == 32),
        Algorithm::EcdsaP256Sha256 | Algorithm::EcdsaP256Sha256Fixed => {
            der::public_key(key, der::EC_PUBLIC_KEY)
                .filter(|point| point.len() == 65 && point[0] == 4)
        }
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

/// One key of a source: a secret, a certificate, or a set of public keys.
pub(crate) struct Key {
    pub bytes: SecretBox<Vec<u8>>,
    ready: Vec<Entry>,
    window: Window,
}

/// A key made ready for one algorithm, under the name by which a token can ask for it.
struct Entry {
    algorithm: Algorithm,
    kid: Option<String>,
    ready: Ready,
}

impl Key {
    /// # Errors
    /// What is wrong with the secret. One that fits some of the algorithms is made ready for those.
    pub fn new(
        format: &KeyFormat,
        algorithms: &[Algorithm],
        key: &SourceKey,
    ) -> Result<Self, SecretError> {
        let bytes = format.decode(key.secret.expose_secret())?;
        let window = key.window;
        if matches!(format.encoding, Encoding::Jwks) {
            let set = Self::of_set(bytes.expose_secret()).ok_or(SecretError::KeySet)?;
            let mut entries = set.ready.iter();
            let fits = entries.any(|entry| algorithms.contains(&entry.algorithm));
            let set = Self { window, ..set };
            return fits.then_some(set).ok_or(SecretError::KeySet);
        }
        let shared = !format.is_public() && algorithms.iter().any(|a| Mac::is_keyed(*a));
        if shared && looks_public(key.secret.expose_secret()) {
            return Err(SecretError::NoSecret);
        }
        let (ready, mut problems) = Self::entries(algorithms, bytes.expose_secret());
        match (ready.is_empty(), problems.pop()) {
            (true, Some(problem)) => Err(problem),
            _ => Ok(Self {
                bytes,
                ready,
                window,
            }),
        }
    }

    /// Whether it may verify what arrived at this time, in milliseconds since 1970.
    pub fn is_valid(&self, now_unix_ms: i64) -> bool {
        let now = u64::try_from(now_unix_ms).unwrap_or_default();
        self.window.holds(Timestamp(now))
    }

    /// The public keys of a set, each ready for its own algorithm; `None` if there is none.
    pub fn of_set(text: &[u8]) -> Option<Self> {
        let keys = jwks::parse(text)?;
        let ready: Vec<Entry> = keys
            .into_iter()
            .filter_map(|key| {
                Some(Entry {
                    algorithm: key.algorithm,
                    kid: key.kid,
                    ready: Ready::public(key.algorithm, key.bytes)?,
                })
            })
            .collect();
        (!ready.is_empty()).then(|| Self::published(ready))
    }

    /// A public key (`SubjectPublicKeyInfo`), ready for those of the algorithms that it is of.
    pub fn of_public(key: &[u8], algorithms: &[Algorithm]) -> Self {
        Self::published(Self::entries(algorithms, key).0)
    }

    /// Keys that are no secret of the source.
    fn published(ready: Vec<Entry>) -> Self {
        Self {
            bytes: SecretBox::new(Box::default()),
            ready,
            window: Window::default(),
        }
    }

    fn entries(algorithms: &[Algorithm], bytes: &[u8]) -> (Vec<Entry>, Vec<SecretError>) {
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        for algorithm in algorithms {
            match Ready::new(*algorithm, bytes) {
                Ok(ready) => entries.push(Entry {
                    algorithm: *algorithm,
                    kid: None,
                    ready,
                }),
                Err(problem) => problems.push(problem),
            }
        }
        (entries, problems)
    }

    pub fn ready(&self, algorithm: Algorithm) -> Option<&Ready> {
        self.named(algorithm, None).next()
    }

    /// What may have made a signature: all of the algorithm, or only the one of that name, where the
    /// key has names.
    pub fn named<'k>(
        &'k self,
        algorithm: Algorithm,
        kid: Option<&'k str>,
    ) -> impl Iterator<Item = &'k Ready> {
        let fits = move |entry: &&Entry| {
            let named = match (&entry.kid, kid) {
                (Some(own), Some(wanted)) => own == wanted,
                _ => true,
            };
            entry.algorithm == algorithm && named
        };
        self.ready.iter().filter(fits).map(|entry| &entry.ready)
    }
}

/// Whether a text that should be a secret is a key that is published.
fn looks_public(text: &str) -> bool {
    let pem = [
        "-----BEGIN PUBLIC KEY",
        "-----BEGIN RSA PUBLIC KEY",
        "-----BEGIN CERTIFICATE",
    ];
    pem.iter().any(|opening| text.contains(opening)) || jwks::parse(text.as_bytes()).is_some()
}
