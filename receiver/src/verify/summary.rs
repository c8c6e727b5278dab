//! A pack's verification in a few words, for lists and tables.

use serde::Serialize;

use super::document::{Fields, Value};

/// One way in which a pack verifies. Several are alternatives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `HMAC-SHA256`, `token`, `Basic`, …
    pub algorithm: String,
    /// Where the signature or credential stands, such as `header:X-Hub-Signature-256`.
    pub place: Option<String>,
    /// What is signed, as the pack writes it: alternatives.
    pub signed: Vec<String>,
    /// Where the key is fetched from, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_from: Option<String>,
}

impl Check {
    pub(crate) fn read(fields: &Fields<'_>) -> Self {
        let texts = |key| fields.each(key, |text| Ok(text.to_owned()));
        let mut places = texts("sig");
        places.extend(texts("sig_any"));
        if let Some(series) = fields.table("sig_series") {
            places.extend(series.text("header").map(|name| format!("header:{name}")));
        }
        let place = places.into_iter().next();
        let place = place.map(|sig| sig.split(" | ").next().unwrap_or("").to_owned());
        let mut signed = Vec::new();
        for chosen in fields.tables("signed_if") {
            signed.extend(chosen.each("signed", |text| Ok(text.to_owned())));
        }
        signed.extend(texts("signed"));
        signed.extend(fields.text("code").map(|code| format!("code:{code}")));
        signed.extend(fields.table("jwt").iter().flat_map(hashes));
        Self {
            algorithm: algorithm(fields, place.as_deref()),
            place,
            signed,
            key_from: fetched_from(fields),
        }
    }

    /// `HMAC-SHA256 in header X-Hub-Signature-256`.
    pub fn short(&self) -> String {
        match &self.place {
            Some(place) if place != "basic" => {
                format!("{} in {}", self.algorithm, place.replacen(':', " ", 1))
            }
            _ => self.algorithm.clone(),
        }
    }
}

fn algorithm(fields: &Fields<'_>, place: Option<&str>) -> String {
    match fields.text("alg") {
        Some("equal") if place == Some("basic") => "Basic".into(),
        Some("equal") => "token".into(),
        Some("none") => "nothing".into(),
        Some("map") => named(fields),
        Some("jwt") => token(fields),
        Some(name) => pretty(name),
        None => String::new(),
    }
}

/// The hosts of a pattern or URL as the pack writes it, or the option that names one.
fn fetched_from(fields: &Fields<'_>) -> Option<String> {
    let by_url = fields
        .text("key")
        .is_some_and(|key| key.starts_with("x509-url:"));
    let text = match by_url {
        true => fields.text("key_url")?,
        false => fields.text("jwks_url")?,
    };
    let host = text.trim_start_matches('^').strip_prefix("https://");
    Some(match host {
        Some(rest) => rest.split('/').next().unwrap_or(rest).replace('\\', ""),
        None => text.to_owned(),
    })
}

/// What the claims of a token say of the request: `payload_hash=sha256-hex:body`.
fn hashes(jwt: &Fields<'_>) -> Vec<String> {
    let table = jwt.table("hash");
    let entries = table.iter().flat_map(|table| table.entries());
    let hashes = entries.filter_map(|entry| match &entry.node.value {
        Value::Text(of) => Some(format!("{}={of}", entry.name)),
        _ => None,
    });
    hashes.collect()
}

/// The algorithms that may sign a token.
fn token(fields: &Fields<'_>) -> String {
    let jwt = fields.table("jwt");
    let names = jwt.map(|jwt| jwt.each("algs", |name| Ok(name.to_owned())));
    format!("JWT ({})", names.unwrap_or_default().join(" or "))
}

/// The algorithms that a message may name.
fn named(fields: &Fields<'_>) -> String {
    let map = fields.table("alg_map");
    let entries = map.iter().flat_map(|map| map.entries());
    let names = entries.filter_map(|entry| match &entry.node.value {
        Value::Text(name) => Some(pretty(name)),
        _ => None,
    });
    names.collect::<Vec<_>>().join(" or ")
}

fn pretty(name: &str) -> String {
    match name {
        "ed25519" => "Ed25519".into(),
        other => other.to_ascii_uppercase(),
    }
}
