//! Sample deliveries, as each provider would send them: data of its pack.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sha2::{Digest, Sha256};

use super::clock::Clock;
use super::document::{Fields, Value};
use super::pack::Pack;

/// A delivery that is not signed yet. The same `n` gives the same id.
#[derive(Debug, Clone)]
pub struct SampleRequest {
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub id: String,
    pub event_type: Option<String>,
}

/// A sample as the pack writes it. Known marks are replaced everywhere:
/// `@n@`, `@hex@` (32 digits), `@uuid@`, `@unix@`, `@unix-ms@`, `@rfc3339@`. Where the
/// signature stands in the body, `@signature@` is left for the one who signs.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    event_type: Option<String>,
    id: String,
    headers: Vec<(HeaderName, String)>,
    body: String,
}

impl Sample {
    pub fn read(fields: Fields<'_>) -> Self {
        let text = |key| fields.text(key).map(str::to_owned);
        let sample = Self {
            event_type: text("type"),
            id: text("id").unwrap_or_else(|| "@uuid@".into()),
            headers: headers(&fields),
            body: text("body").unwrap_or_default(),
        };
        fields.finish();
        sample
    }

    /// For packs that have none of their own.
    fn generic() -> Self {
        Self {
            event_type: Some("creel.sample".into()),
            id: "@uuid@".into(),
            headers: vec![(CONTENT_TYPE, "application/json".into())],
            body: r#"{"id":"@uuid@","type":"creel.sample","number":@n@,"at":"@rfc3339@"}"#.into(),
        }
    }
}

fn headers(fields: &Fields<'_>) -> Vec<(HeaderName, String)> {
    let Some(table) = fields.table("headers") else {
        return Vec::new();
    };
    let mut headers = Vec::new();
    for entry in table.entries() {
        match (
            HeaderName::from_bytes(entry.name.as_bytes()),
            &entry.node.value,
        ) {
            (Ok(name), Value::Text(value)) => headers.push((name, value.clone())),
            _ => table.problem(&entry.span, &entry.name, "expected a header and its text"),
        }
    }
    headers
}

impl Pack {
    /// The `n`-th sample delivery. Different `n` are different events; packs
    /// with several samples take turns.
    pub fn sample(&self, n: u64, now_unix_ms: i64) -> SampleRequest {
        let generic = [Sample::generic()];
        let samples = match self.samples() {
            [] => &generic[..],
            own => own,
        };
        let sample = &samples[(n % samples.len() as u64) as usize];
        let marks = Marks::new(self.name(), n, now_unix_ms);
        let mut headers = HeaderMap::new();
        for (name, value) in &sample.headers {
            if let Ok(value) = HeaderValue::from_str(&marks.fill(value)) {
                headers.append(name.clone(), value);
            }
        }
        SampleRequest {
            method: Method::POST,
            headers,
            body: marks.fill(&sample.body).into_bytes(),
            id: marks.fill(&sample.id),
            event_type: sample.event_type.clone(),
        }
    }
}

struct Marks([(&'static str, String); 6]);

impl Marks {
    fn new(pack: &str, n: u64, now_unix_ms: i64) -> Self {
        let hex = hex::encode(&Sha256::digest(format!("{pack} {n}"))[..16]);
        let uuid = format!(
            "{}-{}-4{}-8{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[13..16],
            &hex[17..20],
            &hex[20..]
        );
        Self([
            ("@n@", n.to_string()),
            ("@hex@", hex),
            ("@uuid@", uuid),
            ("@unix@", Clock::Unix.write(now_unix_ms)),
            ("@unix-ms@", Clock::UnixMs.write(now_unix_ms)),
            ("@rfc3339@", Clock::Rfc3339.write(now_unix_ms)),
        ])
    }

    fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (mark, value)| {
            text.replace(mark, value)
        })
    }
}
