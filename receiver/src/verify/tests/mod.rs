//! Packs with secrets that are known, and deliveries that can be changed on their way.

mod arbitrary;
mod every_pack;
mod registry;
mod schemes;
mod secrets;
mod splitting;
mod twilio;
mod twilio_accounts;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderValue, Method};

use super::*;

const NOW_UNIX_MS: i64 = 1_767_806_829_000;
const URL: &str = "https://hooks.example.com/in/test";
/// base64 of 24 bytes each, with and without what some packs want around it.
const SECRET_A: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SECRET_B: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Packs whose deliveries can be signed here; the others need a private key or nothing.
const SIGNABLE: &[&str] = &[
    "basic",
    "github",
    "gitlab",
    "gitlab-signed",
    "hmac",
    "shopify",
    "slack",
    "standardwebhooks",
    "stripe",
    "svix",
    "token",
    "twilio",
];

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::built_in);
static VERIFIERS: LazyLock<BTreeMap<&str, Arc<Verifier>>> = LazyLock::new(|| {
    let prepare = |name: &&'static str| {
        let secret = secret_for(name, SECRET_A);
        (
            *name,
            Arc::new(pack(name).prepare(&source(&[&secret])).unwrap()),
        )
    };
    SIGNABLE.iter().map(prepare).collect()
});

fn pack(name: &str) -> Arc<Pack> {
    REGISTRY.get(name).unwrap().clone()
}

fn source(secrets: &[&str]) -> SourceKeys {
    SourceKeys {
        secrets: secrets
            .iter()
            .enumerate()
            .map(|(i, secret)| SourceKey::new(format!("key{i}"), *secret))
            .collect(),
        ..SourceKeys::default()
    }
}

fn with_options(secret: &str, options: &[(&str, &str)]) -> SourceKeys {
    SourceKeys {
        options: options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..source(&[secret])
    }
}

fn secret_for(name: &str, secret: &str) -> String {
    match name {
        "basic" => format!("hook:{secret}"),
        _ => secret.to_owned(),
    }
}

fn verifier(name: &str) -> Arc<Verifier> {
    VERIFIERS[name].clone()
}

/// A delivery on its way: what a sender signed, and what can be changed in it.
#[derive(Clone)]
struct Delivery {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Delivery {
    fn sample(verifier: &Verifier, n: u64) -> Self {
        let sample = verifier.pack().sample(n, NOW_UNIX_MS);
        Self::signed(
            verifier,
            sample.method,
            URL,
            sample.headers,
            sample.body,
            &sample.id,
            sample.event_type,
        )
    }

    fn signed(
        verifier: &Verifier,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        id: &str,
        event_type: Option<String>,
    ) -> Self {
        let unsigned = Unsigned {
            method: &method,
            url,
            headers: &headers,
            body: &body,
            id,
            event_type: event_type.as_deref(),
        };
        let signed = verifier.sign(&unsigned, NOW_UNIX_MS).unwrap();
        Self {
            method,
            url: signed.url,
            headers: signed.headers,
            body,
        }
    }

    fn check(&self, verifier: &Verifier) -> Verdict {
        self.check_at(verifier, NOW_UNIX_MS)
    }

    fn check_at(&self, verifier: &Verifier, now_unix_ms: i64) -> Verdict {
        let (scheme, rest) = self.url.split_once("://").unwrap();
        let at = rest.find('/').unwrap();
        let request = Request {
            method: &self.method,
            scheme,
            host: &rest[..at],
            target: &rest[at..],
            headers: &self.headers,
            body: &self.body,
        };
        verifier.check(&request, now_unix_ms)
    }

    fn with(&self, name: &str, value: &[u8]) -> Self {
        let mut changed = self.clone();
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        changed
            .headers
            .insert(name, HeaderValue::from_bytes(value).unwrap());
        changed
    }
}

fn accepted(verdict: Verdict) -> Accepted {
    match verdict {
        Verdict::Verified(accepted) => accepted,
        other => panic!("not accepted: {other:?}"),
    }
}

fn refused(verdict: Verdict) -> Reason {
    match verdict {
        Verdict::Refused(reason) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

/// The header that holds the signature: the one that depends on the secret.
fn signature_header(name: &str) -> String {
    let [a, b] = [SECRET_A, SECRET_B].map(|secret| {
        let secret = secret_for(name, secret);
        let verifier = pack(name).prepare(&source(&[&secret])).unwrap();
        Delivery::sample(&verifier, 0).headers
    });
    let mut differing = a.iter().filter(|(name, value)| b.get(*name) != Some(value));
    let (header, _) = differing.next().unwrap();
    assert!(differing.next().is_none());
    header.to_string()
}
