//! From the tree of a pack file to its [`Scheme`].

use std::time::Duration;

use http::{HeaderName, Method};

use super::algorithm::{self, Algorithm};
use super::clock::Tolerance;
use super::condition::Condition;
use super::document::{Entry, Fields, Node, Value, unknown};
use super::json::Pointer;
use super::key::KeyFormat;
use super::pipeline::{self, Locator, Params, Pipeline, Role};
use super::scheme::{
    AllItems, Auth, Block, BodyHash, Choice, EffectKind, Event, Handshake, Json, ReplyTemplate,
    Scheme,
};
use super::template::Template;
use super::url::Variants;

/// Reads the parts of a pack that depend on its options: everything but facts.
pub(crate) fn scheme(fields: &Fields<'_>, params: &Params) -> Scheme {
    let blocks = fields
        .tables("verify")
        .into_iter()
        .map(|fields| block(fields, params))
        .collect();
    let handshakes = fields
        .tables("handshake")
        .into_iter()
        .map(|fields| handshake(fields, params))
        .collect();
    Scheme {
        methods: methods(fields),
        blocks,
        handshakes,
        event: fields
            .table("event")
            .map(|fields| event(fields, params))
            .unwrap_or_default(),
        secret_headers: fields.each("secret_headers", pipeline::header),
        secret_query: fields.each("secret_query", |name| Ok(name.to_owned())),
        ack_headers: fields
            .table("ack")
            .map(|ack| ack_headers(&ack, params))
            .unwrap_or_default(),
    }
}

fn methods(fields: &Fields<'_>) -> Vec<Method> {
    let methods = fields.each("methods", |text| {
        Method::from_bytes(text.as_bytes()).map_err(|_| format!("`{text}` is no method"))
    });
    match methods.is_empty() {
        true => vec![Method::POST],
        false => methods,
    }
}

fn block(fields: Fields<'_>, params: &Params) -> Block {
    let conditions = |key| fields.each(key, |text| Condition::parse(text, params));
    let pipelines = |key, role| fields.each(key, |text| Pipeline::parse(text, role, params));
    refuse_what_comes_later(&fields);
    let mut signatures_any = pipelines("sig_any", Role::Signature);
    if let Some(series) = fields.table("sig_series") {
        signatures_any.extend(signature_series(series, params));
    }
    let block = Block {
        when: conditions("when"),
        require: conditions("require"),
        algorithm: choice(&fields, params),
        key: fields
            .one("key", KeyFormat::parse)
            .unwrap_or_else(KeyFormat::utf8),
        key_name: pipelines("key_name", Role::Text),
        signatures: pipelines("sig", Role::Signature),
        signatures_any,
        all_items: fields.table("all_items").and_then(all_items),
        id: pipelines("id", Role::Text),
        time: pipelines("time", Role::Time),
        tolerance: tolerance(&fields),
        signed_if: fields
            .tables("signed_if")
            .into_iter()
            .map(|fields| signed_if(fields, params))
            .collect(),
        signed: fields.each("signed", |text| Template::parse(text, params)),
        variants: fields.one("url_variants", |name| match name {
            "twilio" => Ok(Variants::Twilio),
            "hubspot" => Ok(Variants::HubSpot),
            _ => Err(unknown("variants", name, ["twilio", "hubspot"])),
        }),
        body_hash: fields.table("body_hash").and_then(|f| body_hash(f, params)),
    };
    consistent(&fields, &block);
    fields.finish();
    block
}

/// Keys of the model that this version reads but cannot serve yet.
fn refuse_what_comes_later(fields: &Fields<'_>) {
    for (key, what) in [
        ("code", "code hooks"),
        ("jwt", "JSON Web Tokens"),
        ("key_url", "keys fetched by URL"),
        ("key_cn", "keys fetched by URL"),
    ] {
        if let Some(node) = fields.node(key) {
            fields.problem(&node.span, key, format!("{what} are not supported yet"));
        }
    }
}

fn named_algorithm(name: &str) -> Result<Algorithm, String> {
    if name == "jwt" {
        return Err("JSON Web Tokens (`jwt`) are not supported yet".into());
    }
    algorithm::NAMES
        .iter()
        .find(|(other, _)| *other == name)
        .map(|(_, algorithm)| *algorithm)
        .ok_or_else(|| {
            let names = algorithm::NAMES.iter().map(|(name, _)| *name);
            unknown("algorithm", name, names.chain(["map"]))
        })
}

fn choice(fields: &Fields<'_>, params: &Params) -> Choice {
    if fields.text("alg") == Some("map") {
        return named_by_message(fields, params);
    }
    match fields.one("alg", named_algorithm) {
        Some(algorithm) => Choice::Fixed(algorithm),
        None => {
            if fields.node("alg").is_none() && fields.node("code").is_none() {
                fields.problem(&fields.span, "alg", "is missing; such as `hmac-sha256`");
            }
            Choice::Fixed(Algorithm::None)
        }
    }
}

fn named_by_message(fields: &Fields<'_>, params: &Params) -> Choice {
    let filters = fields.text("alg_pair").map(|text| format!(" | {text}"));
    let filters = filters.unwrap_or_default();
    let from = fields.each("alg_from", |text| {
        Pipeline::parse(&format!("{text}{filters}"), Role::Text, params)
    });
    let names: Vec<(String, Algorithm)> = fields
        .table("alg_map")
        .map(|map| {
            map.entries()
                .iter()
                .filter_map(|entry| named_entry(&map, entry))
                .collect()
        })
        .unwrap_or_default();
    if from.is_empty() || names.is_empty() {
        fields.problem(&fields.span, "alg", "`map` needs alg_from and alg_map");
    }
    Choice::Named {
        from,
        names,
        default: fields.one("alg_default", named_algorithm),
    }
}

fn named_entry(map: &Fields<'_>, entry: &Entry) -> Option<(String, Algorithm)> {
    let Value::Text(text) = &entry.node.value else {
        map.problem(&entry.node.span, &entry.name, "expected an algorithm");
        return None;
    };
    match named_algorithm(text) {
        Ok(algorithm) => Some((entry.name.clone(), algorithm)),
        Err(message) => {
            map.problem(&entry.node.span, &entry.name, message);
            None
        }
    }
}

fn signature_series(fields: Fields<'_>, params: &Params) -> Vec<Pipeline> {
    const SERIES_MAX: i64 = 100;
    let name = fields.text("header").unwrap_or("").to_owned();
    let decode = fields.text("decode").unwrap_or("").to_owned();
    let (from, to) = (fields.integer("from"), fields.integer("to"));
    let (from, to) = (from.unwrap_or(1), to.unwrap_or(SERIES_MAX));
    if !name.contains("{n}") || from < 0 || to < from || to - from >= SERIES_MAX {
        let message = "expected a header with {n}, and at most 100 numbers";
        fields.problem(&fields.span, "header", message);
        return Vec::new();
    }
    let span = fields.span_of("header");
    let pipelines = (from..=to)
        .map_while(|n| {
            let text = format!("header:{} | {decode}", name.replace("{n}", &n.to_string()));
            Pipeline::parse(&text, Role::Signature, params)
                .map_err(|message| fields.problem(&span, "header", message))
                .ok()
        })
        .collect();
    fields.finish();
    pipelines
}

fn all_items(fields: Fields<'_>) -> Option<AllItems> {
    let batch = fields.one("batch", Pointer::parse);
    let field = fields.one("field", Pointer::parse);
    fields.finish();
    Some(AllItems {
        batch: batch?,
        field: field?,
    })
}

fn tolerance(fields: &Fields<'_>) -> Option<Tolerance> {
    let node = fields.node("tolerance")?;
    if let Value::Table(_) = node.value {
        let inner = fields.table("tolerance")?;
        let (past, future) = (seconds(&inner, "past"), seconds(&inner, "future"));
        inner.finish();
        return Some(Tolerance {
            past: past?,
            future: future?,
        });
    }
    seconds(fields, "tolerance").map(Tolerance::both)
}

fn seconds(fields: &Fields<'_>, key: &'static str) -> Option<Duration> {
    let number = fields.integer(key)?;
    match u64::try_from(number) {
        Ok(seconds @ 1..=604_800) => Some(Duration::from_secs(seconds)),
        _ => {
            let message = "expected seconds, from 1 to 604800 (a week)";
            fields.problem(&fields.span_of(key), key, message);
            None
        }
    }
}

fn signed_if(fields: Fields<'_>, params: &Params) -> (Vec<Condition>, Vec<Template>) {
    let when = fields.each("when", |text| Condition::parse(text, params));
    let signed = fields.each("signed", |text| Template::parse(text, params));
    fields.finish();
    (when, signed)
}

fn body_hash(fields: Fields<'_>, params: &Params) -> Option<BodyHash> {
    let decoder = fields.one("alg", |name| match name {
        "sha256-hex" => Ok("hex"),
        "sha256-b64" => Ok("base64"),
        _ => Err(unknown("body hash", name, ["sha256-hex", "sha256-b64"])),
    });
    let from = fields.one("from", |text| {
        let text = format!("{text} | {}", decoder.unwrap_or("hex"));
        Pipeline::parse(&text, Role::Signature, params)
    });
    let hash = BodyHash {
        from: from?,
        required: fields.boolean("required").unwrap_or(false),
        required_unless_form: fields.boolean("required_unless_form").unwrap_or(false),
    };
    fields.finish();
    Some(hash)
}

/// What the keys of a block say together.
fn consistent(fields: &Fields<'_>, block: &Block) {
    let algorithms = block.algorithm.all();
    let complain = |key: &str, message: &str| {
        fields.problem(&fields.span_of(key), key, message);
    };
    let nothing = algorithms == [Algorithm::None];
    let compares = algorithms == [Algorithm::Equal];
    let has_signature = !(block.signatures.is_empty() && block.signatures_any.is_empty());
    if !nothing && !has_signature {
        complain("sig", "is missing: where the signature stands");
    }
    if !nothing && !compares && block.signed.is_empty() {
        complain("signed", "is missing: what is signed, such as `{body}`");
    }
    if compares && !block.signed.is_empty() {
        complain("signed", "has no meaning where a credential is compared");
    }
    if block.templates().any(Template::uses_time) && block.time.is_empty() {
        complain("signed", "names {time}, but there is no `time`");
    }
    if block.uses_id() && block.id.is_empty() {
        complain("signed", "names {id}, but there is no `id`");
    }
    if block.tolerance.is_some() && block.time.is_empty() {
        complain("tolerance", "has no meaning without `time`");
    }
    let unsigned_time = block
        .time
        .iter()
        .any(|time| matches!(time.locator, Locator::Header(_) | Locator::Query(_)));
    if unsigned_time && !block.templates().all(Template::uses_time) {
        complain(
            "time",
            "is not part of what is signed, so it protects nothing: add {time} to `signed`",
        );
    }
}

fn handshake(fields: Fields<'_>, params: &Params) -> Handshake {
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
        effect: fields.one("effect", |text| {
            let (kind, place) = text.split_once(':').unwrap_or((text, ""));
            let kind = match kind {
                "store-secret" => EffectKind::StoreSecret,
                "fetch" => EffectKind::Fetch,
                _ => return Err(unknown("effect", kind, ["store-secret", "fetch"])),
            };
            Locator::parse(place, params).map(|place| (kind, place))
        }),
    };
    if handshake.when.is_empty() {
        fields.problem(
            &fields.span,
            "when",
            "is missing: a handshake needs a condition",
        );
    }
    let fetches = matches!(handshake.effect, Some((EffectKind::Fetch, _)));
    if fetches && !matches!(handshake.auth, Auth::Verify) {
        fields.problem(&fields.span, "effect", "`fetch` needs auth=\"verify\"");
    }
    fields.finish();
    handshake
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
fn ack_headers(ack: &Fields<'_>, params: &Params) -> Vec<(HeaderName, Template)> {
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

fn event(fields: Fields<'_>, params: &Params) -> Event {
    let texts = |key| fields.each(key, |text| Pipeline::parse(text, Role::Text, params));
    let event = Event {
        id: texts("id"),
        id_unique: fields.boolean("id_unique").unwrap_or(false),
        kind: texts("type"),
        order_key: texts("order_key"),
        batch: fields.one("batch", Pointer::parse),
        item_id: fields.one("item_id", Pointer::parse),
        item_kind: fields.one("item_type", Pointer::parse),
    };
    fields.finish();
    event
}
