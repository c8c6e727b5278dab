//! What the senders of the demo send: genuine events as each provider shapes them, some of them
//! again, and forgeries.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use creel_common::time::{Clock, SystemClock};
use creel_receiver::verify::{Registry, SourceKey, SourceKeys, Unsigned, Verifier};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use rand::seq::SliceRandom;

use super::ledger::{Digest, digest};
use super::scene::{PUBLIC_URL, SENDERS, Scene};

/// One in so many genuine events is sent a second time.
const REPEATED_ONE_IN: usize = 20;
/// For so many genuine events there is one forgery.
const FORGED_ONE_IN: usize = 25;
/// One in so many bodies is no text, where the provider does not read it.
const BINARY_ONE_IN: usize = 10;

/// What an event is, as the demo knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Signed by the provider, for the first time.
    Genuine,
    /// Signed by the provider, sent before.
    Repeated,
    /// Not signed by the provider.
    Forged,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Event {
    /// What it is.
    pub kind: Kind,
    /// The same for an event and its repeats.
    pub number: usize,
    /// Its source.
    pub source: &'static str,
    /// The sender's name for it.
    pub name: String,
    /// Path and query.
    pub target: String,
    /// Headers, signature included.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// The body's digest.
    pub digest: Digest,
}

/// All requests, in the order they are sent: repeats some time after their first.
///
/// # Errors
/// When a pack cannot sign, which would be a mistake in it.
pub fn all(scene: &Scene, genuine: usize) -> anyhow::Result<Vec<Event>> {
    let registry = Registry::built_in();
    let now = i64::try_from(SystemClock::default().wall().millis())?;
    let mut signers = Vec::new();
    for (index, sender) in SENDERS.iter().enumerate() {
        let url = format!("{PUBLIC_URL}/in/{}", sender.source);
        signers.push(Signer {
            source: sender.source,
            provider: sender.provider,
            genuine: verifier(&registry, sender.provider, scene.secret(index))?,
            forger: verifier(&registry, sender.provider, &scene.another_secret(index))?,
            url,
            now,
        });
    }
    let mut events = Vec::with_capacity(genuine + genuine / 8);
    let mut repeats = Vec::new();
    for number in 0..genuine {
        let signer = &signers[number % signers.len()];
        let event = signer.genuine(number)?;
        if number % FORGED_ONE_IN == 3 {
            events.push(signer.forged(number / FORGED_ONE_IN, &event)?);
        }
        if number / SENDERS.len() % REPEATED_ONE_IN == 7 {
            repeats.push(Event {
                kind: Kind::Repeated,
                ..event.clone()
            });
        }
        events.push(event);
        // a repeat comes when its first is long answered, or while it is under way
        if number % (2 * REPEATED_ONE_IN) == 9 {
            events.append(&mut repeats);
        }
    }
    repeats.shuffle(&mut rand::rng());
    events.append(&mut repeats);
    Ok(events)
}

fn verifier(registry: &Registry, provider: &str, secret: &str) -> anyhow::Result<Verifier> {
    let pack: &Arc<_> = registry.get(provider).context("the pack is built in")?;
    Ok(pack.prepare(&SourceKeys {
        secrets: vec![SourceKey::new("demo", secret)],
        public_url: Some(PUBLIC_URL.to_owned()),
        ..SourceKeys::default()
    })?)
}

struct Signer {
    source: &'static str,
    provider: &'static str,
    genuine: Verifier,
    forger: Verifier,
    url: String,
    now: i64,
}

/// What is to be signed.
struct Draft {
    id: String,
    event_type: Option<&'static str>,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Signer {
    fn genuine(&self, number: usize) -> anyhow::Result<Event> {
        let draft = draft(self.provider, number);
        self.signed(&self.genuine, draft, number, Kind::Genuine)
    }

    /// Three ways to forge: another secret, no signature, a changed body.
    fn forged(&self, way: usize, genuine: &Event) -> anyhow::Result<Event> {
        let mut draft = draft(self.provider, genuine.number);
        draft.id = format!("forged-{}", draft.id);
        match way % 3 {
            0 => self.signed(&self.forger, draft, genuine.number, Kind::Forged),
            1 => {
                let mut event = self.signed(&self.genuine, draft, genuine.number, Kind::Forged)?;
                let signature = |name: &str| name.contains("signature");
                let names: Vec<_> = event
                    .headers
                    .keys()
                    .filter(|n| signature(n.as_str()))
                    .cloned()
                    .collect();
                for name in names {
                    event.headers.remove(name);
                }
                Ok(event)
            }
            _ => {
                let mut event = self.signed(&self.genuine, draft, genuine.number, Kind::Forged)?;
                let mut body = event.body.to_vec();
                // the last but one byte is inside a value, whatever the format
                let at = body.len() - 3;
                body[at] ^= 1;
                event.digest = digest(&body);
                event.body = body.into();
                Ok(event)
            }
        }
    }

    fn signed(
        &self,
        by: &Verifier,
        draft: Draft,
        number: usize,
        kind: Kind,
    ) -> anyhow::Result<Event> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(draft.content_type));
        let signed = by.sign(
            &Unsigned {
                method: &Method::POST,
                url: &self.url,
                headers: &headers,
                body: &draft.body,
                id: &draft.id,
                event_type: draft.event_type,
            },
            self.now,
        )?;
        let target = signed.url.strip_prefix(PUBLIC_URL).unwrap_or(&signed.url);
        Ok(Event {
            kind,
            number,
            source: self.source,
            name: draft.id,
            target: target.to_owned(),
            headers: signed.headers,
            digest: digest(&draft.body),
            body: draft.body.into(),
        })
    }
}

/// An event in the shape of its provider.
fn draft(provider: &str, number: usize) -> Draft {
    let binary = (number / SENDERS.len()).is_multiple_of(BINARY_ONE_IN);
    let json = |body: String| (body.into_bytes(), "application/json");
    let (id, event_type, (body, content_type)) = match provider {
        "github" => {
            let id = format!("72d3162e-cc78-11e3-81ab-{number:012x}");
            let body = format!(
                r#"{{"ref":"refs/heads/main","commits":[{{"id":"{number:040x}","message":"fix é {number}"}}]}}"#
            );
            (id, Some("push"), binary_or(binary, number, json(body)))
        }
        "stripe" => {
            let id = format!("evt_1Nv{number:021}");
            let body = format!(
                "{{\n  \"id\": \"{id}\",\n  \"object\": \"event\",\n  \"type\": \"invoice.paid\",\n  \
                 \"data\": {{\"object\": {{\"amount_paid\": {number}}}}}\n}}"
            );
            (id, None, json(body))
        }
        "twilio" => {
            let id = format!("{number:08x}-5d6e-4cbb-9d31-6f1c2e7a9b00");
            let body = format!(
                "MessageSid=SM{number:032x}&MessageStatus=delivered&To=%2B4915112345678&Body=caf%C3%A9+{number}"
            );
            let form = (body.into_bytes(), "application/x-www-form-urlencoded");
            (id, None, form)
        }
        _ => {
            let id = format!("msg_2yZwUKmDmb{number:013}");
            let body = format!(r#"{{"type":"order.placed","data":{{"order":{number}}}}}"#);
            (id, None, binary_or(binary, number, json(body)))
        }
    };
    Draft {
        id,
        event_type,
        content_type,
        body,
    }
}

/// Now and then a body that is no text at all, NUL and all other bytes in it.
fn binary_or(
    binary: bool,
    number: usize,
    text: (Vec<u8>, &'static str),
) -> (Vec<u8>, &'static str) {
    if !binary {
        return text;
    }
    let mut body: Vec<u8> = (0..=255).collect();
    body.rotate_left(number % 256);
    body.extend_from_slice(&number.to_be_bytes());
    (body, "application/octet-stream")
}
