//! JSON Web Tokens (RFC 7519) as senders sign requests with them: compact, with the algorithms that the
//! pack names and no others, and with claims that tie them to the request.
//!
//! The token's header says which algorithm made it, but not which may have: that is the pack's list, and
//! each key is made ready for the algorithms of its own kind only. A secret never checks RS256, a public
//! key never HS256, and nothing checks `none`.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::algorithm::Algorithm;
use super::clock::Tolerance;
use super::reason::Reason;
use crate::tag::same;
use creel_common::json::{self, Pointer};

/// As tokens call them; case counts.
pub(crate) const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("HS256", Algorithm::HmacSha256),
    ("HS384", Algorithm::HmacSha384),
    ("HS512", Algorithm::HmacSha512),
    ("RS256", Algorithm::RsaSha256),
    ("ES256", Algorithm::EcdsaP256Sha256Fixed),
    ("EdDSA", Algorithm::Ed25519),
];

/// How long after `exp` a token still counts, unless the pack says otherwise.
pub(crate) const LEEWAY: Duration = Duration::from_secs(5);

/// What a pack wants of a token.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub algorithms: Vec<Algorithm>,
    /// Claims that have to be there.
    pub require: Vec<String>,
    pub equal: Vec<(String, String)>,
    pub hashes: Vec<ClaimedHash>,
    /// How long ago `iat` may be.
    pub max_age: Option<Duration>,
    pub leeway: Duration,
}

/// A claim that is the SHA-256 of a part of the request.
#[derive(Debug, Clone)]
pub(crate) struct ClaimedHash {
    pub claim: String,
    pub of: Hashed,
    pub base64: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hashed {
    Body,
    Url,
}

impl ClaimedHash {
    pub const KINDS: &[(&str, Hashed, bool)] = &[
        ("sha256-hex:body", Hashed::Body, false),
        ("sha256-b64:body", Hashed::Body, true),
        ("sha256-hex:url", Hashed::Url, false),
        ("sha256-b64:url", Hashed::Url, true),
    ];

    fn of(&self, body: &[u8], url: &str) -> String {
        let hash = match self.of {
            Hashed::Body => Sha256::digest(body),
            Hashed::Url => Sha256::digest(url),
        };
        match self.base64 {
            true => STANDARD.encode(hash),
            false => hex::encode(hash),
        }
    }
}

/// What a token is judged against.
pub(crate) struct Meets<'m> {
    pub body: &'m [u8],
    pub url: &'m str,
    pub now_unix_ms: i64,
    /// The source's own tolerance, instead of the pack's.
    pub tolerance: Option<Tolerance>,
}

/// A token, taken apart and not believed.
pub(crate) struct Token<'t> {
    pub signed: &'t [u8],
    pub signature: Vec<u8>,
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    claims: Vec<u8>,
}

impl<'t> Token<'t> {
    pub fn parse(text: &'t [u8], rules: &Rules) -> Result<Self, Reason> {
        let parts: Vec<&[u8]> = text.splitn(4, |byte| *byte == b'.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err(Reason::BadEncoding);
        };
        let decode = |part: &[u8]| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| Reason::BadEncoding)
        };
        let signed = &text[..header.len() + 1 + claims.len()];
        let (header, claims, signature) = (decode(header)?, decode(claims)?, decode(signature)?);
        if !is_object(&header) || !is_object(&claims) {
            return Err(Reason::BadEncoding);
        }
        let text_of = |name| string(&header, &Pointer::member(name));
        let name = text_of("alg").ok_or(Reason::UnknownAlgorithm)?;
        let algorithm = ALGORITHMS
            .iter()
            .find(|(known, algorithm)| *known == name && rules.algorithms.contains(algorithm))
            .map(|(_, algorithm)| *algorithm)
            .ok_or(Reason::UnknownAlgorithm)?;
        // extensions that have to be understood, and are not
        if json::raw(&header, &Pointer::member("crit")).is_some() {
            return Err(Reason::UnknownAlgorithm);
        }
        Ok(Self {
            signed,
            signature,
            algorithm,
            kid: text_of("kid"),
            claims,
        })
    }

    /// Judges the claims. Only after the signature.
    pub fn judge(&self, rules: &Rules, meets: &Meets<'_>) -> Result<(), Reason> {
        for name in &rules.require {
            self.raw(name).ok_or(Reason::MissingClaim)?;
        }
        for (name, wanted) in &rules.equal {
            self.equals(name, wanted)?;
        }
        self.times(rules, meets)?;
        rules
            .hashes
            .iter()
            .try_for_each(|hash| self.hash(hash, meets))
    }

    /// A claim as it stands; `null` is none.
    fn raw(&self, name: &str) -> Option<&str> {
        json::raw(&self.claims, &Pointer::member(name)).filter(|raw| *raw != "null")
    }

    fn equals(&self, name: &str, wanted: &str) -> Result<(), Reason> {
        let raw = self.raw(name).ok_or(Reason::MissingClaim)?;
        let is = |value: Option<Cow<'_, [u8]>>| {
            value.is_some_and(|value| same(&value, wanted.as_bytes()))
        };
        let whole = Pointer::parse("").map_err(|_| Reason::Claim)?;
        // who a token is for may be a list
        let found = match name == "aud" && raw.starts_with('[') {
            true => {
                let items = json::items(raw.as_bytes(), &whole, 64).unwrap_or_default();
                items
                    .iter()
                    .any(|item| is(json::scalar(item.as_bytes(), &whole)))
            }
            false => is(json::scalar(raw.as_bytes(), &whole)),
        };
        found.then_some(()).ok_or(Reason::Claim)
    }

    fn times(&self, rules: &Rules, meets: &Meets<'_>) -> Result<(), Reason> {
        let now = i128::from(meets.now_unix_ms);
        let ms = |duration: Duration| duration.as_millis() as i128;
        let ahead = ms(meets.tolerance.unwrap_or(Tolerance::DEFAULT).future);
        let (expires, not_before, issued) =
            (self.time("exp")?, self.time("nbf")?, self.time("iat")?);
        if expires.is_some_and(|time| now > time + ms(rules.leeway)) {
            return Err(Reason::Stale);
        }
        if [not_before, issued]
            .into_iter()
            .flatten()
            .any(|time| time > now + ahead)
        {
            return Err(Reason::Future);
        }
        let Some(max_age) = rules.max_age else {
            return Ok(());
        };
        let max_age = meets.tolerance.map_or(max_age, |tolerance| tolerance.past);
        let issued = issued.ok_or(Reason::MissingClaim)?;
        match now - issued > ms(max_age) {
            true => Err(Reason::Stale),
            false => Ok(()),
        }
    }

    /// A number of seconds since 1970, in milliseconds.
    fn time(&self, name: &str) -> Result<Option<i128>, Reason> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let (whole, fraction) = raw.split_once('.').unwrap_or((raw, "0"));
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = whole
            .parse::<i64>()
            .ok()
            .filter(|_| digits(whole) && digits(fraction));
        let seconds = seconds.ok_or(Reason::BadTimestamp)?;
        Ok(Some(i128::from(seconds) * 1000))
    }

    fn hash(&self, hash: &ClaimedHash, meets: &Meets<'_>) -> Result<(), Reason> {
        let Some(claimed) = string(&self.claims, &Pointer::member(&hash.claim)) else {
            // where there is no body there is nothing that could be another
            let spared = matches!(hash.of, Hashed::Body) && meets.body.is_empty();
            return spared.then_some(()).ok_or(Reason::MissingClaim);
        };
        let expected = hash.of(meets.body, meets.url);
        let same = match hash.base64 {
            true => same(claimed.as_bytes(), expected.as_bytes()),
            false => same(claimed.to_ascii_lowercase().as_bytes(), expected.as_bytes()),
        };
        same.then_some(()).ok_or(Reason::BodyHash)
    }
}

fn is_object(text: &[u8]) -> bool {
    let whole = Pointer::parse("").ok();
    whole
        .and_then(|whole| json::raw(text, &whole))
        .is_some_and(|raw| raw.starts_with('{'))
}

/// A string, and nothing that only looks like one.
fn string(text: &[u8], at: &Pointer) -> Option<String> {
    json::raw(text, at).filter(|raw| raw.starts_with('"'))?;
    String::from_utf8(json::scalar(text, at)?.into_owned()).ok()
}

impl Rules {
    /// Whether a token says something about the body.
    pub fn covers_body(&self) -> bool {
        self.hash_of(Hashed::Body)
    }

    fn hash_of(&self, part: Hashed) -> bool {
        self.hashes
            .iter()
            .map(|claim| claim.of)
            .any(|of| of == part)
    }

    pub fn uses_url(&self) -> bool {
        self.hash_of(Hashed::Url)
    }

    /// What a token that meets these rules says, but for its signature: header and claims, a dot between.
    pub fn unsigned(&self, id: &str, meets: &Meets<'_>) -> Option<(Algorithm, String)> {
        let algorithm = *self.algorithms.first()?;
        let (name, _) = ALGORITHMS.iter().find(|(_, other)| *other == algorithm)?;
        let now = meets.now_unix_ms.div_euclid(1000);
        let mut claims = serde_json::Map::new();
        for (name, value) in [("iat", now), ("nbf", now), ("exp", now + 300)] {
            claims.insert(name.into(), value.into());
        }
        claims.insert("jti".into(), id.into());
        for (name, value) in &self.equal {
            let value = match value.as_str() {
                "true" => true.into(),
                text => serde_json::Value::from(text),
            };
            claims.insert(name.clone(), value);
        }
        for hash in &self.hashes {
            claims.insert(hash.claim.clone(), hash.of(meets.body, meets.url).into());
        }
        let header = format!(r#"{{"alg":"{name}","typ":"JWT"}}"#);
        let claims = serde_json::Value::Object(claims).to_string();
        let coded = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        Some((algorithm, coded.join(".")))
    }
}
