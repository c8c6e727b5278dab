//! A pack's scheme, compiled: what is checked, in which order, with what.

use http::{HeaderName, Method};
use regex::Regex;

use super::algorithm::Algorithm;
use super::clock::Tolerance;
use super::condition::Condition;
use super::hooks;
use super::jwt;
use super::key::KeyFormat;
use super::pin::Pin;
use super::pipeline::{Locator, Pipeline};
use super::template::{Asks, Template};
use super::url::Variants;
use creel_common::json::Pointer;

#[derive(Debug, Clone)]
pub(crate) struct Scheme {
    pub methods: Vec<Method>,
    /// The first whose conditions hold and whose signature is there decides.
    pub blocks: Vec<Block>,
    pub handshakes: Vec<Handshake>,
    /// Texts that its handshakes sign for whoever asks.
    pub asks: Vec<Asks>,
    pub event: Event,
    pub secret_headers: Vec<HeaderName>,
    /// Parameters of the query that carry credentials.
    pub secret_query: Vec<String>,
    /// Headers of the answer to a delivery.
    pub ack_headers: Vec<(HeaderName, Template)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub when: Vec<Condition>,
    pub require: Vec<Condition>,
    pub algorithm: Choice,
    pub key: KeyFormat,
    /// Where the key comes from, if not from the source's secrets.
    pub remote: Option<Remote>,
    /// Where a request names the secret that it was signed with.
    pub key_name: Vec<Pipeline>,
    /// The first whose place is in the request is read.
    pub signatures: Vec<Pipeline>,
    /// Further places; a signature from any of them counts.
    pub signatures_any: Vec<Pipeline>,
    /// Every item of this array must carry the credential.
    pub all_items: Option<AllItems>,
    /// Every item of the body is signed by itself.
    pub items: Option<hooks::Items>,
    pub id: Vec<Pipeline>,
    pub time: Vec<Pipeline>,
    pub tolerance: Option<Tolerance>,
    pub signed_if: Vec<(Vec<Condition>, Vec<Template>)>,
    /// Alternatives.
    pub signed: Vec<Template>,
    pub variants: Option<Variants>,
    pub body_hash: Option<BodyHash>,
}

#[derive(Debug, Clone)]
pub(crate) enum Choice {
    Fixed(Algorithm),
    /// Named by a JSON Web Token, out of the pack's list.
    Token(jwt::Rules),
    /// Named by the message, out of a closed list.
    Named {
        from: Vec<Pipeline>,
        names: Vec<(String, Algorithm)>,
        default: Option<Algorithm>,
    },
}

/// A key that is fetched.
#[derive(Debug, Clone)]
pub(crate) enum Remote {
    /// The certificate whose URL stands in the request.
    Certificate {
        place: Locator,
        pin: Pin,
        common_name: Option<Regex>,
    },
    /// The set of keys at this URL, unless the source gives one.
    KeySet(String),
}

#[derive(Debug, Clone)]
pub(crate) struct AllItems {
    pub batch: Pointer,
    pub field: Pointer,
}

#[derive(Debug, Clone)]
pub(crate) struct BodyHash {
    pub from: Pipeline,
    pub required: bool,
    pub required_unless_form: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Handshake {
    pub when: Vec<Condition>,
    pub auth: Auth,
    pub reply: ReplyTemplate,
    pub effect: Option<Effect>,
}

/// What a handshake asks for besides an answer.
#[derive(Debug, Clone)]
pub(crate) struct Effect {
    pub kind: EffectKind,
    pub place: Locator,
    /// What may be fetched.
    pub pin: Option<Pin>,
}

#[derive(Debug, Clone)]
pub(crate) enum Auth {
    None,
    Verify,
    Token(Locator),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EffectKind {
    StoreSecret,
    Fetch,
}

#[derive(Debug, Clone)]
pub(crate) struct ReplyTemplate {
    pub status: u16,
    pub content_type: Option<String>,
    pub body: Option<Template>,
    pub json: Option<Json>,
    pub headers: Vec<(HeaderName, Template)>,
}

impl ReplyTemplate {
    /// The texts that it signs.
    pub fn asks(&self) -> Vec<Asks> {
        let headers = self.headers.iter().map(|(_, value)| value);
        let mut templates: Vec<&Template> = self.body.iter().chain(headers).collect();
        if let Some(json) = &self.json {
            json.templates(&mut templates);
        }
        templates.into_iter().flat_map(Template::asks).collect()
    }
}

/// JSON whose strings are templates.
#[derive(Debug, Clone)]
pub(crate) enum Json {
    Text(Template),
    Integer(i64),
    Boolean(bool),
    List(Vec<Json>),
    Table(Vec<(String, Json)>),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Event {
    pub id: Vec<Pipeline>,
    pub id_unique: bool,
    pub kind: Vec<Pipeline>,
    pub order_key: Vec<Pipeline>,
    pub batch: Option<Pointer>,
    pub item_id: Option<Pointer>,
    pub item_kind: Option<Pointer>,
}

impl Json {
    fn templates<'j>(&'j self, found: &mut Vec<&'j Template>) {
        match self {
            Json::Text(template) => found.push(template),
            Json::Integer(_) | Json::Boolean(_) => {}
            Json::List(items) => items.iter().for_each(|item| item.templates(found)),
            Json::Table(entries) => entries.iter().for_each(|(_, item)| item.templates(found)),
        }
    }
}

impl Scheme {
    /// Whether this could be the text of a handshake, which is signed for whoever asks: then its tag
    /// proves nothing.
    pub fn is_asked(&self, signed: &[u8]) -> bool {
        self.asks.iter().any(|asks| asks.allows(signed))
    }
}

impl Choice {
    /// All that can be chosen.
    pub fn all(&self) -> Vec<Algorithm> {
        match self {
            Choice::Fixed(algorithm) => vec![*algorithm],
            Choice::Token(rules) => rules.algorithms.clone(),
            Choice::Named { names, default, .. } => {
                let mut all: Vec<Algorithm> =
                    names.iter().map(|(_, algorithm)| *algorithm).collect();
                all.extend(*default);
                all
            }
        }
    }
}

impl Block {
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.signed_if
            .iter()
            .flat_map(|(_, templates)| templates)
            .chain(&self.signed)
    }

    /// Whether what is signed covers the body, directly or through its hash.
    pub fn covers_body(&self) -> bool {
        if let Choice::Token(rules) = &self.algorithm {
            return rules.covers_body();
        }
        let plain = |templates: &[Template]| {
            !templates.is_empty() && templates.iter().all(Template::covers_body)
        };
        self.body_hash
            .as_ref()
            .is_some_and(|hash| hash.required || hash.required_unless_form)
            || plain(&self.signed) && self.signed_if.iter().all(|(_, templates)| plain(templates))
    }

    /// Whether it says when it was signed, and how old that may be.
    pub fn has_age(&self) -> bool {
        match &self.algorithm {
            Choice::Token(rules) => rules.max_age.is_some(),
            _ => !self.time.is_empty(),
        }
    }

    pub fn uses_id(&self) -> bool {
        self.templates().any(Template::uses_id)
    }

    /// Whether a check needs a secret at all.
    pub fn needs_key(&self) -> bool {
        self.algorithm.all() != [Algorithm::None] && self.remote.is_none()
    }
}
