//! Where creel decides otherwise than a vendor's library, by name and with its reason.
//!
//! A vector of class `policy` is a request on which careful people can differ:
//! a time in the future, a header that comes twice. Its `checked_by` says what
//! libraries make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::registry::Registry;
use super::vectors::{self, Vector, VectorsError};

/// Vectors of one name, for all providers.
#[derive(Debug, Default)]
pub struct Policy {
    /// What creel says; the same for all of them.
    pub accepts: bool,
    /// Libraries that say otherwise.
    pub libraries: BTreeSet<String>,
}

/// Why, for each name of a vector on which some library differs. The only list of them.
const REASONS: &[(&str, &str)] = &[
    (
        "credentials-dropped",
        "Twilio documents that it drops `user:password@` before it signs; the libraries do not try the URL without",
    ),
    (
        "duplicate-header-conflict",
        "two signature headers with different values: one of them came from somebody else, and no rule says which is meant",
    ),
    (
        "fragment-not-signed",
        "the fragment of a URL (`#rc=5`) is for Twilio itself and never sent, so it is not signed",
    ),
    (
        "future-timestamp",
        "a time beyond the tolerance is refused in both directions: one that is far ahead would make a request replayable for as long",
    ),
    (
        "garbage-timestamp",
        "a time is digits and nothing else; libraries that read the digits and ignore the rest check another text than was signed",
    ),
    (
        "get-apostrophe-unescaped",
        "Twilio signs the query as it was before the characters `'`, `:` and `@` were escaped; all spellings are tried",
    ),
    (
        "get-signed-unescaped",
        "Twilio signs the query as it was before the characters `'`, `:` and `@` were escaped; all spellings are tried",
    ),
    (
        "multi-signature-first-good",
        "Paddle documents several signatures while a secret is replaced; the library looks at the last one only",
    ),
    (
        "no-hash",
        "a token that does not hold the body's hash says nothing about the body",
    ),
    (
        "pub-special-chars",
        "Twilio signs the query as it was before the characters `'`, `:` and `@` were escaped; all spellings are tried",
    ),
    (
        "stale",
        "a signed time that is too old is refused, also where the library leaves that to its caller",
    ),
    (
        "stale-timestamp",
        "a signed time that is too old is refused, also where the library leaves that to its caller",
    ),
    (
        "tampered-body",
        "the token's hash of the body has to be that of the body, also where the library leaves that to its caller",
    ),
    (
        "unknown-version",
        "only signatures under the label that the documentation names count; an unknown label is another scheme",
    ),
    (
        "unsubscribe-v1",
        "AWS documents `Token` and `SubscribeURL` as part of what is signed for this type as well; the library leaves `Token` out",
    ),
    (
        "v3-encoded-query",
        "HubSpot documents that certain escapes in the URL are undone before it signs; the library does not undo them",
    ),
    (
        "valid-not-utf8",
        "a signature is about bytes; libraries that make text of the body first sign other bytes than came",
    ),
    (
        "valid-odd-bytes",
        "a signature is about bytes; libraries that parse and write the body again sign other bytes than came",
    ),
];

/// Why creel decides as it does on vectors of this name.
pub fn reason(name: &str) -> Option<&'static str> {
    REASONS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, why)| *why)
}

/// What differs from a library in these files, by the name of the vector. Vectors of providers
/// that there is no pack for are left out.
///
/// # Errors
/// [`VectorsError`] for the first file that cannot be read.
pub fn policies(
    registry: &Registry,
    files: &[impl AsRef<Path>],
) -> Result<BTreeMap<String, Policy>, VectorsError> {
    let mut found: BTreeMap<String, Policy> = BTreeMap::new();
    for file in files {
        for vector in vectors::read(file.as_ref())? {
            if vector.pack(registry).is_some() {
                add(&mut found, &vector);
            }
        }
    }
    Ok(found)
}

fn add(found: &mut BTreeMap<String, Policy>, vector: &Vector) {
    let accepts = vector.expected.as_deref() == Some("valid");
    let says = if accepts { "accept" } else { "reject" };
    let others = vector.checked_by.iter().flatten();
    for other in others.filter(|other| vector.class == "policy" && other.verdict != says) {
        let policy = found.entry(name(&vector.id).to_owned()).or_default();
        policy.accepts = accepts;
        policy.libraries.insert(other.sdk.clone());
    }
}

/// `paddle/o-stale-timestamp` → `stale-timestamp`.
fn name(id: &str) -> &str {
    let name = id.split_once('/').map_or(id, |(_, name)| name);
    name.strip_prefix("o-").unwrap_or(name)
}

/// The same as a table in Markdown.
pub fn table(policies: &BTreeMap<String, Policy>) -> String {
    let mut lines = vec![
        "| vectors named | creel | says otherwise | why |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    for (name, policy) in policies {
        let says = if policy.accepts { "accepts" } else { "refuses" };
        let libraries: Vec<String> = policy
            .libraries
            .iter()
            .map(|library| format!("`{library}`"))
            .collect();
        lines.push(format!(
            "| `{name}` | {says} | {} | {} |",
            libraries.join(", "),
            reason(name).unwrap_or("")
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}
