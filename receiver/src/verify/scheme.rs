//! A pack's scheme, compiled: what is checked, in which order, with what.

use http::{HeaderName, Method};

use super::algorithm::Algorithm;
use super::clock::Tolerance;
use super::condition::Condition;
use super::json::Pointer;
use super::key::KeyFormat;
use super::pipeline::{Locator, Pipeline};
use super::template::Template;
use super::url::Variants;

#[derive(Debug, Clone)]
pub(crate) struct Scheme {
    pub methods: Vec<Method>,
    /// The first whose conditions hold and whose signature is there decides.
    pub blocks: Vec<Block>,
    pub handshakes: Vec<Handshake>,
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
    /// Where a request names the secret that it was signed with.
    pub key_name: Vec<Pipeline>,
    /// The first whose place is in the request is read.
    pub signatures: Vec<Pipeline>,
    /// Further places; a signature from any of them counts.
    pub signatures_any: Vec<Pipeline>,
    /// Every item of this array must carry the credential.
    pub all_items: Option<AllItems>,
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
    /// Named by the message, out of a closed list.
    Named {
        from: Vec<Pipeline>,
        names: Vec<(String, Algorithm)>,
        default: Option<Algorithm>,
    },
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
    pub effect: Option<(EffectKind, Locator)>,
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

impl Choice {
    /// All that can be chosen.
    pub fn all(&self) -> Vec<Algorithm> {
        match self {
            Choice::Fixed(algorithm) => vec![*algorithm],
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
        let plain = |templates: &[Template]| {
            !templates.is_empty() && templates.iter().all(Template::covers_body)
        };
        self.body_hash
            .as_ref()
            .is_some_and(|hash| hash.required || hash.required_unless_form)
            || plain(&self.signed) && self.signed_if.iter().all(|(_, templates)| plain(templates))
    }

    pub fn uses_id(&self) -> bool {
        self.templates().any(Template::uses_id)
    }

    /// Whether a check needs a secret at all.
    pub fn needs_key(&self) -> bool {
        self.algorithm.all() != [Algorithm::None]
    }
}
