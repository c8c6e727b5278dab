//! The parts of a pack that say how its tokens are judged, and where its keys come from.

use regex::Regex;

use super::seconds;
use crate::verify::document::{Fields, Value, unknown};
use crate::verify::jwt::{ALGORITHMS, ClaimedHash, LEEWAY, Rules};
use crate::verify::key::KeyFormat;
use crate::verify::pin::{self, Pin};
use crate::verify::pipeline::{self, Locator, Params};
use crate::verify::scheme::{Block, Choice, Remote};

/// The `jwt` table of a block.
pub(crate) fn rules(fields: &Fields<'_>, params: &Params) -> Rules {
    let mut rules = Rules {
        algorithms: Vec::new(),
        require: Vec::new(),
        equal: Vec::new(),
        hashes: Vec::new(),
        max_age: None,
        leeway: LEEWAY,
    };
    let Some(table) = fields.table("jwt") else {
        fields.problem(&fields.span, "jwt", "is missing: what the token has to say");
        return rules;
    };
    rules.algorithms = table.each("algs", |name| {
        let found = ALGORITHMS.iter().find(|(other, _)| *other == name);
        let names = ALGORITHMS.iter().map(|(name, _)| *name);
        found
            .map(|(_, algorithm)| *algorithm)
            .ok_or_else(|| unknown("algorithm", name, names))
    });
    rules.require = table.each("require", |claim| Ok(claim.to_owned()));
    rules.equal = texts(&table, "equal", |claim, text| {
        let value = text
            .strip_prefix("{param:")
            .and_then(|rest| rest.strip_suffix('}'));
        let value = match value {
            Some(name) => pipeline::param(name, params)?,
            None => text.to_owned(),
        };
        Ok((claim.to_owned(), value))
    });
    rules.hashes = texts(&table, "hash", |claim, text| {
        let found = ClaimedHash::KINDS.iter().find(|(name, ..)| *name == text);
        let (_, of, base64) = found.ok_or_else(|| {
            unknown(
                "hash",
                text,
                ClaimedHash::KINDS.iter().map(|(name, ..)| *name),
            )
        })?;
        Ok(ClaimedHash {
            claim: claim.to_owned(),
            of: *of,
            base64: *base64,
        })
    });
    rules.max_age = seconds(&table, "max_age");
    rules.leeway = seconds(&table, "leeway").unwrap_or(LEEWAY);
    if rules.algorithms.is_empty() {
        table.problem(
            &table.span,
            "algs",
            "is missing: the algorithms that may sign",
        );
    }
    table.finish();
    rules
}

/// A table of texts, each read by `read`.
fn texts<T>(
    fields: &Fields<'_>,
    key: &'static str,
    read: impl Fn(&str, &str) -> Result<T, String>,
) -> Vec<T> {
    let table = fields.table(key);
    let entries = table.iter().flat_map(|table| table.entries());
    let mut found = Vec::new();
    for entry in entries {
        let result = match &entry.node.value {
            Value::Text(text) => read(&entry.name, text),
            _ => Err("expected a string".into()),
        };
        match result {
            Ok(value) => found.push(value),
            Err(message) => fields.problem(&entry.node.span, key, message),
        }
    }
    found
}

const BY_URL: &str = "x509-url:";

/// How a secret of the source becomes a key.
pub(crate) fn key(fields: &Fields<'_>) -> KeyFormat {
    let format = match fields.text("key") {
        Some(text) if text.starts_with(BY_URL) => None,
        _ => fields.one("key", KeyFormat::parse),
    };
    format.unwrap_or_else(KeyFormat::utf8)
}

/// The key's URL, or where it stands.
pub(crate) fn remote(fields: &Fields<'_>, params: &Params) -> Option<Remote> {
    let pin = fields.one("key_url", Pin::parse);
    let common_name = fields.one("key_cn", |text| {
        Regex::new(text).map_err(|error| format!("`{text}` is no pattern: {error}"))
    });
    let set = fields.one("jwks_url", |text| match pin::plain_host(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!(
            "expected a plain https URL, without a user, found `{text}`"
        )),
    });
    let Some(place) = fields.text("key").and_then(|key| key.strip_prefix(BY_URL)) else {
        return set.map(Remote::KeySet);
    };
    let span = fields.span_of("key");
    let place =
        Locator::parse(place, params).map_err(|message| fields.problem(&span, "key", message));
    if pin.is_none() {
        let message = "is missing: a pattern of the URLs that keys may come from";
        fields.problem(&span, "key_url", message);
    }
    Some(Remote::Certificate {
        place: place.ok()?,
        pin: pin?,
        common_name,
    })
}

/// A secret cannot check what a private key signs, and what is published must not pass for a secret.
pub(crate) fn consistent(fields: &Fields<'_>, block: &Block) {
    let Choice::Token(rules) = &block.algorithm else {
        return;
    };
    let public = block.key.is_public() || block.remote.is_some();
    if rules
        .algorithms
        .iter()
        .any(|algorithm| algorithm.is_asymmetric() != public)
    {
        let message = match public {
            true => "names HS…, but the key is a public one",
            false => "names an algorithm of public keys: `key` has to be `jwks` or `pem`",
        };
        fields.problem(&fields.span_of("jwt"), "jwt.algs", message);
    }
    let set = matches!(block.remote, Some(Remote::KeySet(_)));
    if set && !block.key.is_set() {
        fields.problem(
            &fields.span_of("jwks_url"),
            "jwks_url",
            "needs key = \"jwks\"",
        );
    }
}
