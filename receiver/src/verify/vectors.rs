//! Runs files of test vectors against the packs: `creel providers test FILE…`.
//!
//! A file is a JSON array of requests, each with what a correct verifier says
//! about it. Vectors of class `ambiguous` are skipped; those of a provider that
//! there is no pack for are counted, and are no mismatch.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};

use super::handshake::Effect;
use super::key::SourceKey;
use super::keyring::{KeyKind, Keyring};
use super::pack::Pack;
use super::registry::Registry;
use super::request::Request;
use super::verifier::{SourceKeys, Verdict};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names that vectors use for a provider whose pack is called otherwise.
const ALIASES: &[(&str, &str)] = &[("basic-auth", "basic")];

/// A file that is not one of vectors.
#[derive(Debug, thiserror::Error)]
pub enum VectorsError {
    #[error("{}: {error}", path.display())]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{file}: {error}")]
    Format {
        file: String,
        error: serde_json::Error,
    },
}

/// What came out, for all files.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Report {
    pub totals: Counts,
    pub files: Vec<FileReport>,
}

#[derive(Debug, Default, Clone, Serialize)]
pub struct FileReport {
    pub file: String,
    pub counts: Counts,
    /// Providers that there is no pack for.
    pub unknown_providers: Vec<String>,
    pub mismatches: Vec<Mismatch>,
}

/// Vectors, counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub vectors: usize,
    pub passed: usize,
    pub mismatched: usize,
    /// Vectors on which vendors disagree.
    pub skipped: usize,
    pub unknown_provider: usize,
}

/// One difference; a vector can have several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    pub id: String,
    pub class: String,
    /// `verdict`, `event_id`, `event_type`, `event_ids`, `status`, `body`, …
    pub field: &'static str,
    pub expected: String,
    pub got: String,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.totals.mismatched == 0
    }
}

/// Runs the vectors of these files.
///
/// # Errors
/// [`VectorsError`] for the first file that cannot be read.
pub fn run(registry: &Registry, files: &[impl AsRef<Path>]) -> Result<Report, VectorsError> {
    let mut report = Report::default();
    for path in files.iter().map(AsRef::as_ref) {
        let file = run_text(registry, &path.display().to_string(), &text(path)?)?;
        report.totals.add(&file.counts);
        report.files.push(file);
    }
    Ok(report)
}

/// Runs the vectors in `text`; `file` is its name in the report.
///
/// # Errors
/// [`VectorsError::Format`] if it is no array of vectors.
pub fn run_text(registry: &Registry, file: &str, text: &str) -> Result<FileReport, VectorsError> {
    let vectors = parse(file, text)?;
    let mut report = FileReport {
        file: file.to_owned(),
        ..FileReport::default()
    };
    for vector in &vectors {
        report.take(registry, vector);
    }
    Ok(report)
}

/// The vectors of a file.
pub(super) fn read(path: &Path) -> Result<Vec<Vector>, VectorsError> {
    parse(&path.display().to_string(), &text(path)?)
}

fn text(path: &Path) -> Result<String, VectorsError> {
    std::fs::read_to_string(path).map_err(|error| VectorsError::Read {
        path: path.to_owned(),
        error,
    })
}

fn parse(file: &str, text: &str) -> Result<Vec<Vector>, VectorsError> {
    serde_json::from_str(text).map_err(|error| VectorsError::Format {
        file: file.to_owned(),
        error,
    })
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.vectors += other.vectors;
        self.passed += other.passed;
        self.mismatched += other.mismatched;
        self.skipped += other.skipped;
        self.unknown_provider += other.unknown_provider;
    }
}

impl FileReport {
    fn take(&mut self, registry: &Registry, vector: &Vector) {
        self.counts.vectors += 1;
        if vector.class == "ambiguous" {
            self.counts.skipped += 1;
            return;
        }
        let Some(pack) = vector.pack(registry) else {
            self.counts.unknown_provider += 1;
            if !self.unknown_providers.contains(&vector.provider) {
                self.unknown_providers.push(vector.provider.clone());
            }
            return;
        };
        let differences = vector.judge(pack);
        match differences.is_empty() {
            true => self.counts.passed += 1,
            false => self.counts.mismatched += 1,
        }
        self.mismatches
            .extend(differences.into_iter().map(|difference| Mismatch {
                id: vector.id.clone(),
                class: vector.class.clone(),
                field: difference.field,
                expected: difference.expected,
                got: difference.got,
            }));
    }
}

/// One vector. Fields that only inform (source, notes, reason) are not read.
#[derive(Debug, Deserialize)]
pub(super) struct Vector {
    pub(super) id: String,
    provider: String,
    kind: String,
    #[serde(default)]
    pub(super) class: String,
    secret: Option<String>,
    #[serde(default)]
    more_secrets: Option<Vec<String>>,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: String,
    now: Option<i64>,
    #[serde(default)]
    config: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    pub(super) expected: Option<String>,
    /// What libraries say of it.
    #[serde(default)]
    pub(super) checked_by: Option<Vec<CheckedBy>>,
    event_id: Option<String>,
    event_type: Option<String>,
    event_ids: Option<Vec<String>>,
    response: Option<Response>,
}

/// A library's verdict.
#[derive(Debug, Deserialize)]
pub(super) struct CheckedBy {
    pub(super) sdk: String,
    /// `accept` or `reject`.
    pub(super) verdict: String,
}

/// The expected answer to a handshake.
#[derive(Debug, Deserialize)]
struct Response {
    status: u16,
    body: Option<String>,
    json: Option<serde_json::Value>,
    #[serde(rename = "type")]
    media_type: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    effect: Option<String>,
}

struct Difference {
    field: &'static str,
    expected: String,
    got: String,
}

/// What came out of a vector, in a form that can be compared.
struct Outcome {
    verdict: Result<Verdict, String>,
    event_ids: Vec<String>,
}

impl Vector {
    /// The pack of its provider.
    pub(super) fn pack<'r>(&self, registry: &'r Registry) -> Option<&'r Arc<Pack>> {
        let alias = ALIASES.iter().find(|(name, _)| *name == self.provider);
        registry.get(alias.map_or(self.provider.as_str(), |(_, pack)| pack))
    }

    fn judge(&self, pack: &Arc<Pack>) -> Vec<Difference> {
        let outcome = self.outcome(pack);
        match self.kind.as_str() {
            "handshake" => self.compare_handshake(pack, &outcome),
            _ => self.compare_verdict(&outcome),
        }
    }

    fn outcome(&self, pack: &Arc<Pack>) -> Outcome {
        self.try_outcome(pack).unwrap_or_else(|problem| Outcome {
            verdict: Err(problem),
            event_ids: Vec::new(),
        })
    }

    fn try_outcome(&self, pack: &Arc<Pack>) -> Result<Outcome, String> {
        let verifier = pack
            .prepare(&self.source(pack))
            .map_err(|error| error.to_string())?;
        let method = Method::from_bytes(self.method.as_bytes()).map_err(|e| e.to_string())?;
        let headers = self.headers()?;
        let body = STANDARD.decode(&self.body).map_err(|e| e.to_string())?;
        let (scheme, rest) = self.url.split_once("://").ok_or("the url has no scheme")?;
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let request = Request {
            method: &method,
            scheme,
            host: &rest[..at],
            target: &rest[at..],
            headers: &headers,
            body: &body,
        };
        let now_unix_ms = self.now.unwrap_or(0).saturating_mul(1000);
        let verdict = verifier.check(&request, now_unix_ms);
        let event_ids = match verdict {
            Verdict::Verified(_) => verifier
                .items(&request)
                .into_iter()
                .filter_map(|item| item.id)
                .collect(),
            _ => Vec::new(),
        };
        Ok(Outcome {
            verdict: Ok(verdict),
            event_ids,
        })
    }

    fn source(&self, pack: &Pack) -> SourceKeys {
        let secrets = self.secret.iter().chain(self.more_secrets.iter().flatten());
        let config = self.config.clone().unwrap_or_default();
        let text = |name: &str| config.get(name)?.as_str().map(str::to_owned);
        let options = pack
            .facts()
            .options
            .iter()
            .filter_map(|option| text(&option.name).map(|value| (option.name.clone(), value)));
        SourceKeys {
            secrets: secrets
                .enumerate()
                .map(|(index, secret)| SourceKey::new(index.to_string(), secret.clone()))
                .collect(),
            public_url: text("public_url"),
            options: options.collect(),
            tolerance: None,
            idempotency_key: None,
            keyring: Arc::new(self.keyring()),
        }
    }

    /// The certificates that the vector gives in the place of a fetch.
    fn keyring(&self) -> Keyring {
        let keyring = Keyring::default();
        let certs = self
            .config
            .as_ref()
            .and_then(|config| config.get("certs")?.as_object());
        for (url, pem) in certs.into_iter().flatten() {
            let pem = pem.as_str().unwrap_or_default();
            let now_unix_ms = self.now.unwrap_or(0).saturating_mul(1000);
            // one that cannot be read is as good as none
            let _ = keyring.recall(url, KeyKind::Certificate, pem.as_bytes(), now_unix_ms);
        }
        keyring
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())?;
            let value = HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes());
            headers.append(name, value.map_err(|e| e.to_string())?);
        }
        Ok(headers)
    }

    fn compare_verdict(&self, outcome: &Outcome) -> Vec<Difference> {
        let mut found = Vec::new();
        let (got, why) = match &outcome.verdict {
            Ok(Verdict::Verified(_)) => ("valid", String::new()),
            // a confirmation is answered as a handshake, once its signature was checked
            Ok(Verdict::Handshake(reply)) if reply.verified => ("valid", String::new()),
            Ok(Verdict::Handshake(_)) => ("handshake", String::new()),
            Ok(Verdict::Refused(reason)) => ("invalid", format!(" ({reason})")),
            Err(problem) => ("invalid", format!(" ({problem})")),
        };
        let expected = self.expected.as_deref().unwrap_or("valid");
        if got != expected {
            found.push(Difference::new("verdict", expected, format!("{got}{why}")));
        }
        if let Ok(Verdict::Verified(accepted)) = &outcome.verdict {
            let fields = [
                ("event_id", &self.event_id, &accepted.event_id),
                ("event_type", &self.event_type, &accepted.event_type),
            ];
            for (field, expected, got) in fields {
                if expected.is_some() && expected != got {
                    found.push(Difference::of(field, expected, got));
                }
            }
            if let Some(expected) = &self.event_ids
                && *expected != outcome.event_ids
            {
                found.push(Difference::of("event_ids", expected, &outcome.event_ids));
            }
        }
        found
    }

    fn compare_handshake(&self, pack: &Pack, outcome: &Outcome) -> Vec<Difference> {
        let Some(expected) = &self.response else {
            return vec![Difference::new(
                "response",
                "a response",
                "none in the vector",
            )];
        };
        let reply = match &outcome.verdict {
            Ok(Verdict::Handshake(reply)) => reply,
            Ok(Verdict::Refused(reason)) => {
                let status = pack.refusal_status(*reason);
                return Difference::unless_same("status", &expected.status, &status);
            }
            Ok(Verdict::Verified(_)) => {
                return vec![Difference::new("verdict", "handshake", "valid")];
            }
            Err(problem) => return vec![Difference::new("verdict", "handshake", problem)],
        };
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        let mut found = Difference::unless_same("status", &expected.status, &reply.status);
        if let Some(expected) = &expected.body {
            found.extend(Difference::unless_same("body", expected, &body));
        }
        if let Some(expected) = &expected.json {
            let got = serde_json::from_str(&body).unwrap_or(serde_json::Value::Null);
            found.extend(Difference::unless_same("json", expected, &got));
        }
        if let Some(expected) = &expected.media_type {
            let got = reply.content_type.as_deref().unwrap_or("");
            let got = got.split(';').next().unwrap_or("").trim().to_owned();
            found.extend(Difference::unless_same("type", expected, &got));
        }
        for (name, expected) in &expected.headers {
            let got = reply
                .headers
                .iter()
                .find(|(other, _)| other.as_str() == name)
                .map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned());
            found.extend(Difference::unless_same(
                "headers",
                &Some(expected.clone()),
                &got,
            ));
        }
        let effect = match &reply.effect {
            None => None,
            Some(Effect::StoreSecret(_)) => Some("store-secret"),
            Some(Effect::Fetch(_)) => Some("fetch"),
        };
        let expected = expected
            .effect
            .as_deref()
            .map(|e| e.split(':').next().unwrap_or(e));
        found.extend(Difference::unless_same("effect", &expected, &effect));
        found
    }
}

impl Difference {
    fn new(field: &'static str, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self {
            field,
            expected: expected.into(),
            got: got.into(),
        }
    }

    fn of<T: Serialize>(field: &'static str, expected: &T, got: &T) -> Self {
        let text = |value: &T| serde_json::to_string(value).unwrap_or_default();
        Self::new(field, text(expected), text(got))
    }

    fn unless_same<T: Serialize + PartialEq>(
        field: &'static str,
        expected: &T,
        got: &T,
    ) -> Vec<Self> {
        match expected == got {
            true => Vec::new(),
            false => vec![Self::of(field, expected, got)],
        }
    }
}
