//! Registration handshakes: a sender asks whether this endpoint is ours.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::check;
use super::key::Key;
use super::pipeline::VALUE_BYTES_MAX;
use super::reason::Reason;
use super::request::View;
use super::scheme::{Auth, EffectKind, Handshake, Json};
use super::template::{Context, Template};
use super::url;
use super::verifier::Verifier;
use crate::tag::Tag;

/// What to answer to a handshake.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    /// Media type; `None` without a body.
    pub content_type: Option<String>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Vec<u8>,
    /// What else the handshake asks for; to be done by the caller.
    pub effect: Option<Effect>,
    /// Whether one of the source's keys vouched for the request.
    pub verified: bool,
}

#[derive(Debug, Clone)]
pub enum Effect {
    /// The sender names the secret of this source from now on.
    StoreSecret(SecretString),
    /// The sender wants this URL fetched, which is one of the provider's.
    Fetch(String),
}

pub(crate) fn answer(
    verifier: &Verifier,
    handshake: &Handshake,
    view: &View<'_>,
    now_unix_ms: i64,
) -> Result<Reply, Reason> {
    let key = match &handshake.auth {
        Auth::None => valid_keys(verifier, now_unix_ms).next().cloned(),
        Auth::Verify => check::verify(verifier, view, now_unix_ms)?.key,
        Auth::Token(place) => {
            let given = place.read(view)?.unwrap_or_default();
            let named = key_named(verifier, &given, now_unix_ms);
            Some(named.ok_or(Reason::HandshakeToken)?.clone())
        }
    };
    let url = url::of(&view.request, verifier.public_url.as_ref());
    let context = Context {
        view,
        url: &url,
        time: None,
        id: None,
        secret: key.as_ref().map(|key| key.bytes.expose_secret().as_slice()),
    };
    let effect = effect(verifier, handshake, &context)?;
    Ok(Reply {
        effect,
        verified: matches!(handshake.auth, Auth::Verify),
        ..reply(handshake, &context)?
    })
}

/// The keys that are valid at the time, in the source's order.
fn valid_keys(verifier: &Verifier, now_unix_ms: i64) -> impl Iterator<Item = &Arc<Key>> {
    let keys = verifier.secrets().of_block(0).iter();
    keys.filter(move |key| key.is_valid(now_unix_ms))
}

/// The key whose secret is one of `given`.
fn key_named<'v>(
    verifier: &'v Verifier,
    given: &[std::borrow::Cow<'_, [u8]>],
    now_unix_ms: i64,
) -> Option<&'v Arc<Key>> {
    let mut keys = valid_keys(verifier, now_unix_ms);
    keys.find(|key| given.iter().any(|value| is_secret(key, value)))
}

fn is_secret(key: &Key, given: &[u8]) -> bool {
    Tag::sha256(key.bytes.expose_secret()).is_of(given)
}

fn reply(handshake: &Handshake, context: &Context<'_, '_>) -> Result<Reply, Reason> {
    let template = &handshake.reply;
    let (body, kind) = match (&template.json, &template.body) {
        (Some(json), _) => (
            render(json, context)?.to_string().into_bytes(),
            Some("application/json"),
        ),
        (None, Some(body)) => (body.text(context)?.into_bytes(), Some("text/plain")),
        (None, None) => (Vec::new(), None),
    };
    Ok(Reply {
        status: template.status,
        content_type: template.content_type.clone().or(kind.map(str::to_owned)),
        headers: template
            .headers
            .iter()
            .map(|entry| header(entry, context))
            .collect::<Result<_, _>>()?,
        body,
        effect: None,
        verified: false,
    })
}

/// One header of an answer.
pub(crate) fn header(
    (name, value): &(HeaderName, Template),
    context: &Context<'_, '_>,
) -> Result<(HeaderName, HeaderValue), Reason> {
    let value = HeaderValue::from_bytes(&value.bytes(context)?);
    value
        .map(|value| (name.clone(), value))
        .map_err(|_| Reason::BadEncoding)
}

fn render(json: &Json, context: &Context<'_, '_>) -> Result<serde_json::Value, Reason> {
    Ok(match json {
        Json::Text(template) => template.text(context)?.into(),
        Json::Integer(number) => (*number).into(),
        Json::Boolean(value) => (*value).into(),
        Json::List(items) => items
            .iter()
            .map(|item| render(item, context))
            .collect::<Result<Vec<_>, _>>()?
            .into(),
        Json::Table(entries) => serde_json::Value::Object(
            entries
                .iter()
                .map(|(name, value)| Ok((name.clone(), render(value, context)?)))
                .collect::<Result<_, Reason>>()?,
        ),
    })
}

fn effect(
    verifier: &Verifier,
    handshake: &Handshake,
    context: &Context<'_, '_>,
) -> Result<Option<Effect>, Reason> {
    let Some(wanted) = &handshake.effect else {
        return Ok(None);
    };
    let values = wanted.place.read(context.view)?.unwrap_or_default();
    let value = values.into_iter().next().ok_or(Reason::MissingValue)?;
    let text = String::from_utf8(value.into_owned()).map_err(|_| Reason::BadEncoding)?;
    match wanted.kind {
        EffectKind::StoreSecret => learned(verifier, text),
        EffectKind::Fetch => match wanted.pin.as_ref().is_some_and(|pin| pin.allows(&text)) {
            true => Ok(Some(Effect::Fetch(text))),
            false => Err(Reason::UntrustedUrl),
        },
    }
}

/// Nothing vouches for whoever names a secret: the first is believed, and no other after it. A sender
/// that repeats itself is answered again.
fn learned(verifier: &Verifier, secret: String) -> Result<Option<Effect>, Reason> {
    if secret.len() > VALUE_BYTES_MAX {
        return Err(Reason::TooLong);
    }
    match verifier.secrets().of_block(0) {
        [] => Ok(Some(Effect::StoreSecret(SecretString::from(secret)))),
        _ if verifier.has_secret(secret.as_bytes()) => Ok(None),
        _ => Err(Reason::SecretKnown),
    }
}

impl Verifier {
    /// Whether this is one of its secrets.
    pub fn has_secret(&self, given: &[u8]) -> bool {
        let mut keys = self.secrets().of_block(0).iter();
        keys.any(|key| is_secret(key, given))
    }
}
