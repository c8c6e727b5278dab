//! From the tree of a pack file to its [`Scheme`].

mod handshake;
mod token;

use std::time::Duration;

use http::Method;

pub(super) use self::handshake::status;
use super::algorithm::{self, Algorithm};
use super::clock::Tolerance;
use super::condition::Condition;
use super::document::{Entry, Fields, Value, unknown};
use super::hooks::{HOOKS, Hook};
use super::pipeline::{self, Locator, Params, Pipeline, Role};
use super::scheme::{AllItems, Block, BodyHash, Choice, Event, Handshake, ReplyTemplate, Scheme};
use super::template::Template;
use super::url::Variants;
use creel_common::json::Pointer;

/// Reads the parts of a pack that depend on its options: everything but facts.
pub(crate) fn scheme(fields: &Fields<'_>, params: &Params) -> Scheme {
    let blocks = fields
        .tables("verify")
        .into_iter()
        .map(|fields| block(fields, params))
        .collect();
    let handshakes: Vec<Handshake> = fields
        .tables("handshake")
        .into_iter()
        .map(|fields| handshake::handshake(fields, params))
        .collect();
    let replies = handshakes.iter().map(|handshake| &handshake.reply);
    Scheme {
        methods: methods(fields),
        blocks,
        asks: replies.flat_map(ReplyTemplate::asks).collect(),
        handshakes,
        event: fields
            .table("event")
            .map(|fields| event(fields, params))
            .unwrap_or_default(),
        secret_headers: fields.each("secret_headers", pipeline::header),
        secret_query: fields.each("secret_query", |name| Ok(name.to_owned())),
        ack_headers: fields
            .table("ack")
            .map(|ack| handshake::ack_headers(&ack, params))
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
    let mut signatures_any = pipelines("sig_any", Role::Signature);
    if let Some(series) = fields.table("sig_series") {
        signatures_any.extend(signature_series(series, params));
    }
    let hook = fields.one("code", hook);
    let block = Block {
        when: conditions("when"),
        require: conditions("require"),
        algorithm: choice(&fields, params),
        key: token::key(&fields),
        remote: token::remote(&fields, params),
        key_name: pipelines("key_name", Role::Text),
        signatures: pipelines("sig", Role::Signature),
        signatures_any,
        all_items: fields.table("all_items").and_then(all_items),
        items: match hook {
            Some(Hook::Items(items)) => Some(items),
            _ => None,
        },
        id: pipelines("id", Role::Text),
        time: pipelines("time", Role::Time),
        tolerance: tolerance(&fields),
        signed_if: fields
            .tables("signed_if")
            .into_iter()
            .map(|fields| signed_if(fields, params))
            .collect(),
        signed: match hook {
            Some(Hook::Message(message)) => vec![Template::of_hook(message)],
            _ => fields.each("signed", |text| Template::parse(text, params)),
        },
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

fn named_algorithm(name: &str) -> Result<Algorithm, String> {
    algorithm::NAMES
        .iter()
        .find(|(other, _)| *other == name)
        .map(|(_, algorithm)| *algorithm)
        .ok_or_else(|| {
            let names = algorithm::NAMES.iter().map(|(name, _)| *name);
            unknown("algorithm", name, names.chain(["jwt", "map"]))
        })
}

fn hook(name: &str) -> Result<Hook, String> {
    let found = HOOKS.iter().find(|(other, _)| *other == name);
    let names = HOOKS.iter().map(|(name, _)| *name);
    found
        .map(|(_, hook)| *hook)
        .ok_or_else(|| unknown("code", name, names))
}

fn choice(fields: &Fields<'_>, params: &Params) -> Choice {
    if fields.text("alg") == Some("map") {
        return named_by_message(fields, params);
    }
    if fields.text("alg") == Some("jwt") {
        return Choice::Token(token::rules(fields, params));
    }
    match fields.one("alg", named_algorithm) {
        Some(algorithm) => Choice::Fixed(algorithm),
        None => {
            if fields.node("alg").is_none() {
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

pub(crate) fn seconds(fields: &Fields<'_>, key: &'static str) -> Option<Duration> {
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
    let token = matches!(block.algorithm, Choice::Token(_));
    let has_signature = !(block.signatures.is_empty() && block.signatures_any.is_empty());
    if !nothing && !has_signature && block.items.is_none() {
        complain("sig", "is missing: where the signature stands");
    }
    if !nothing && !compares && !token && block.items.is_none() && block.signed.is_empty() {
        complain("signed", "is missing: what is signed, such as `{body}`");
    }
    if (compares || token || block.items.is_some()) && !block.signed.is_empty() {
        complain(
            "signed",
            "has no meaning where a credential is compared, a token says it itself, or `code` does",
        );
    }
    token::consistent(fields, block);
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
