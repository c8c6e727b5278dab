//! The parts of a pack that say what is answered.

use http::HeaderName;

use crate::verify::condition::Condition;
use crate::verify::document::{Fields, Node, Value, unknown};
use crate::verify::pin::Pin;
use crate::verify::pipeline::{self, Locator, Params};
use crate::verify::scheme::{Auth, Effect, EffectKind, Handshake, Json, ReplyTemplate};
use crate::verify::template::Template;

/// A `[[handshake]]`.
pub(super) fn handshake(fields: Fields<'_>, params: &Params) -> Handshake {
    let handshake = Handshake {
        when: fields.each("when", |text| Condition::parse(text, params)),
        auth: fields
            .one("auth", |text| match text.split_once('=') {
                Some(("token", place)) => Locator::parse(place, params).map(Auth::Token),
                None if text == "verify" => Ok(Auth::Verify),
                None if text == "none" => Ok(Auth::None),
                _ => Err(unknown("auth", text, ["none", "verify", "token=LOCATOR"])),
            })
            .unwrap_or(Auth::None),
        reply: reply(&fields, params),
        effect: effect(&fields, params),
    };
    if handshake.when.is_empty() {
        fields.problem(
            &fields.span,
            "when",
            "is missing: a handshake needs a condition",
        );
    }
    let fetches = handshake
        .effect
        .as_ref()
        .filter(|effect| effect.kind == EffectKind::Fetch);
    if fetches.is_some() && !matches!(handshake.auth, Auth::Verify) {
        fields.problem(&fields.span, "effect", "`fetch` needs auth=\"verify\"");
    }
    if fetches.is_some_and(|effect| effect.pin.is_none()) {
        let message = "is missing: a pattern of what `fetch` may fetch";
        fields.problem(&fields.span, "effect_url", message);
    }
    fields.finish();
    handshake
}

fn effect(fields: &Fields<'_>, params: &Params) -> Option<Effect> {
    let pin = fields.one("effect_url", Pin::parse);
    let found = fields.one("effect", |text| {
        let (kind, place) = text.split_once(':').unwrap_or((text, ""));
        let kind = match kind {
            "store-secret" => EffectKind::StoreSecret,
            "fetch" => EffectKind::Fetch,
            _ => return Err(unknown("effect", kind, ["store-secret", "fetch"])),
        };
        Locator::parse(place, params).map(|place| (kind, place))
    });
    found.map(|(kind, place)| Effect { kind, place, pin })
}

fn reply(fields: &Fields<'_>, params: &Params) -> ReplyTemplate {
    let template = |text: &str| Template::parse(text, params);
    let mut out = ReplyTemplate {
        status: 200,
        content_type: None,
        body: None,
        json: None,
        headers: Vec::new(),
    };
    let Some(fields) = fields.table("reply") else {
        fields.problem(&fields.span, "reply", "is missing");
        return out;
    };
    if let Some(status) = status(&fields) {
        out.status = status;
    }
    out.content_type = fields.text("type").map(str::to_owned);
    out.body = fields.one("body", template);
    out.json = fields
        .node("json")
        .and_then(|node| json(&fields, node, params));
    out.headers = headers(&fields, params);
    fields.finish();
    out
}

/// What an answer to a delivery can hold: nothing that only a check knows.
pub(super) fn ack_headers(ack: &Fields<'_>, params: &Params) -> Vec<(HeaderName, Template)> {
    let headers = headers(ack, params);
    let known = |value: &Template| !(value.uses_time() || value.uses_id() || value.uses_url());
    if !headers.iter().all(|(_, value)| known(value)) {
        let message = "cannot name {time}, {id} or {url}: say where they stand, as {header:X}";
        ack.problem(&ack.span_of("headers"), "headers", message);
    }
    headers
}

/// The `headers` of a reply.
fn headers(reply: &Fields<'_>, params: &Params) -> Vec<(HeaderName, Template)> {
    let mut found = Vec::new();
    let Some(headers) = reply.table("headers") else {
        return found;
    };
    for entry in headers.entries() {
        let Value::Text(text) = &entry.node.value else {
            headers.problem(&entry.node.span, &entry.name, "expected a string");
            continue;
        };
        match (pipeline::header(&entry.name), Template::parse(text, params)) {
            (Ok(name), Ok(value)) => found.push((name, value)),
            (Err(message), _) | (_, Err(message)) => {
                headers.problem(&entry.node.span, &entry.name, message);
            }
        }
    }
    found
}

/// The `status` of a reply.
pub(crate) fn status(fields: &Fields<'_>) -> Option<u16> {
    let number = fields.integer("status")?;
    let status = u16::try_from(number)
        .ok()
        .filter(|code| (200..600).contains(code));
    if status.is_none() {
        fields.problem(&fields.span_of("status"), "status", "expected 200 to 599");
    }
    status
}

fn json(fields: &Fields<'_>, node: &Node, params: &Params) -> Option<Json> {
    Some(match &node.value {
        Value::Text(text) => match Template::parse(text, params) {
            Ok(template) => Json::Text(template),
            Err(message) => {
                fields.problem(&node.span, "json", message);
                return None;
            }
        },
        Value::Integer(number) => Json::Integer(*number),
        Value::Boolean(value) => Json::Boolean(*value),
        Value::List(items) => Json::List(
            items
                .iter()
                .map(|item| json(fields, item, params))
                .collect::<Option<_>>()?,
        ),
        Value::Table(entries) => Json::Table(
            entries
                .iter()
                .map(|entry| Some((entry.name.clone(), json(fields, &entry.node, params)?)))
                .collect::<Option<_>>()?,
        ),
    })
}
