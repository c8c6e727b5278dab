//! A provider pack: what creel knows about a kind of sender, as data.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::compile;
use super::document::{self, Fields, Node, Problem, Problems, Value, nearest, unknown};
use super::pipeline::Params;
use super::proof::{self, Proof};
use super::reason::Reason;
use super::registration::Registration;
use super::sample::Sample;
use super::scheme::Scheme;
use super::summary::Check;
use super::template::Template;

/// A pack that cannot be used, with everything that is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("pack `{pack}` has {}", list(.problems))]
pub struct PackError {
    /// The name under which it was read.
    pub pack: String,
    pub problems: Vec<Problem>,
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|p| format!("\n  {p}")).collect();
    let noun = if problems.len() == 1 {
        "problem"
    } else {
        "problems"
    };
    format!("{} {noun}{}", problems.len(), lines.concat())
}

/// What creel answers when a delivery is durable, if not its own JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ack {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

/// What the sender does when it gets no 2xx.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// What makes it try again: `connect`, `timeout`, `3xx`, `4xx`, `5xx` or a
    /// status. Empty: nothing does.
    pub on: Vec<String>,
    /// Further attempts, where the sender says how many.
    pub attempts: Option<u64>,
    /// For how long, in the sender's words.
    pub over: Option<String>,
    pub note: Option<String>,
}

impl Retry {
    /// Whether an answer with this status makes the sender try again.
    pub fn on_status(&self, status: u16) -> bool {
        let class = format!("{}xx", status / 100);
        let status = status.to_string();
        self.on.iter().any(|on| *on == class || *on == status)
    }
}

/// A setting that a source may give, in its `options` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OptionSpec {
    pub name: String,
    pub help: String,
    pub default: Option<String>,
    pub required: bool,
    /// If not empty, the only values.
    pub one_of: Vec<String>,
    #[serde(skip)]
    example: Option<String>,
}

/// By what a delivery is recognised when it comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repeats {
    /// The sender's own id.
    Id,
    /// The ids of all events of a batch.
    Items,
    /// The signed string, which covers a time or an id.
    Signed,
    /// Whatever the source's options name.
    Option,
    /// Nothing: it is not recognised.
    Unknown,
}

/// Where the events of a request that carries several stand, as JSON pointers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Batches {
    /// The array in the body; `/` is all of it.
    pub path: String,
    /// An event's own id, in it.
    pub id: Option<String>,
    /// An event's own type, in it.
    pub event_type: Option<String>,
}

/// What is known about a sender besides its scheme.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    pub name: String,
    pub title: String,
    /// The sender's own documentation.
    pub docs: Option<String>,
    /// What to give as the source's secret.
    pub secret: Option<String>,
    /// Whether a source can do without one: it then answers handshakes and refuses the rest.
    pub secret_required: bool,
    /// What the pack's verification was tried with; the configurable packs have nothing to try.
    pub proof: Option<Proof>,
    /// Parts that are known less well: `retry`, `deadline`, `id`, …
    pub weak: Vec<String>,
    /// How requests are verified; several are alternatives. Empty: only handshakes are.
    pub checks: Vec<Check>,
    /// The registration handshakes, each as the conditions by which it is known.
    pub handshakes: Vec<String>,
    /// Where the sender's id stands; the first that is there counts.
    pub id: Vec<String>,
    pub repeats: Repeats,
    /// Where the events are, if it sends several at once.
    pub batches: Option<Batches>,
    /// The largest body the sender is known to send, in bytes.
    pub body_max: Option<u64>,
    /// Whether a valid signature says anything about the body.
    pub body_authenticated: bool,
    /// Whether the sender's id names one event and no other, so that it may
    /// serve as idempotency key.
    pub id_unique: bool,
    pub retry: Retry,
    /// What is to be done at the sender.
    pub registration: Registration,
    /// How long the sender waits for the answer.
    pub deadline_ms: Option<u64>,
    pub ack: Option<Ack>,
    /// The answer to what is not verified.
    pub reject_status: u16,
    pub options: Vec<OptionSpec>,
}

/// A pack, read and checked.
#[derive(Debug)]
pub struct Pack {
    facts: Facts,
    text: String,
    root: Node,
    /// As it is with every option at its default.
    scheme: Arc<Scheme>,
    samples: Vec<Sample>,
    replaces_built_in: bool,
}

impl Pack {
    /// Reads a pack. `name` is the name of the file without `.toml`, and of the pack.
    ///
    /// # Errors
    /// [`PackError`] with every problem, each with line and column.
    pub fn parse(name: &str, text: &str) -> Result<Self, PackError> {
        let fail = |problems| PackError {
            pack: name.to_owned(),
            problems,
        };
        let root = document::parse(text).map_err(fail)?;
        let specs = options(&root, text).map_err(fail)?;
        let trial = specs
            .iter()
            .map(|spec| {
                let value = spec.default.clone().or_else(|| spec.example.clone());
                (spec.name.clone(), value)
            })
            .collect();
        let parts = read(name, text, &root, specs, &trial).map_err(fail)?;
        Ok(Self {
            facts: parts.facts,
            text: text.to_owned(),
            root,
            scheme: Arc::new(parts.scheme),
            samples: parts.samples,
            replaces_built_in: parts.replaces_built_in,
        })
    }

    pub fn name(&self) -> &str {
        &self.facts.name
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The reply that the sender expects, if creel's own JSON will not do.
    pub fn ack(&self) -> Option<&Ack> {
        self.facts.ack.as_ref()
    }

    /// The status that a refused request is answered with.
    pub fn refusal_status(&self, reason: Reason) -> u16 {
        match reason {
            Reason::HandshakeToken | Reason::SecretKnown => 403,
            Reason::Method => 405,
            _ => self.facts.reject_status,
        }
    }

    pub(crate) fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Whether it says that it takes the place of a built-in pack of its name.
    pub(crate) fn replaces_built_in(&self) -> bool {
        self.replaces_built_in
    }

    /// The pack as it was written.
    pub fn source_text(&self) -> &str {
        &self.text
    }

    /// The scheme under these options.
    pub(crate) fn scheme_with(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<Arc<Scheme>, OptionError> {
        let values = self.values(given)?;
        if self.facts.options.is_empty() {
            return Ok(self.scheme.clone());
        }
        let specs = self.facts.options.clone();
        read(self.name(), &self.text, &self.root, specs, &values)
            .map(|parts| Arc::new(parts.scheme))
            .map_err(|problems| OptionError::Together {
                problem: problems
                    .into_iter()
                    .map(|p| format!("{}: {}", p.at, p.message))
                    .collect::<Vec<_>>()
                    .join("; "),
            })
    }

    fn values(&self, given: &BTreeMap<String, String>) -> Result<Params, OptionError> {
        let specs = &self.facts.options;
        for (name, value) in given {
            let Some(spec) = specs.iter().find(|spec| spec.name == *name) else {
                let names = specs.iter().map(|spec| spec.name.as_str());
                return Err(OptionError::Unknown {
                    name: name.clone(),
                    near: nearest(name, names.clone()).map(str::to_owned),
                    known: names.map(str::to_owned).collect(),
                });
            };
            spec.accepts(value)?;
        }
        let missing = |spec: &&OptionSpec| spec.required && !given.contains_key(&spec.name);
        if let Some(spec) = specs.iter().find(missing) {
            return Err(OptionError::Missing {
                name: spec.name.clone(),
            });
        }
        Ok(specs
            .iter()
            .map(|spec| {
                let value = given.get(&spec.name).or(spec.default.as_ref());
                (spec.name.clone(), value.cloned())
            })
            .collect())
    }
}

/// What is wrong with the `options` of a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    #[error("unknown option `{name}`{}", hint(.near, .known))]
    Unknown {
        name: String,
        near: Option<String>,
        known: Vec<String>,
    },
    #[error("option `{name}` is required")]
    Missing { name: String },
    #[error("option `{name}` {problem}")]
    Value { name: String, problem: String },
    #[error("the options do not fit together: {problem}")]
    Together { problem: String },
}

fn hint(near: &Option<String>, known: &[String]) -> String {
    match near {
        Some(near) => format!("; did you mean `{near}`?"),
        None if known.is_empty() => "; this provider has none".into(),
        None => format!("; there are {}", known.join(", ")),
    }
}

const OPTION_BYTES_MAX: usize = 1024;

impl OptionSpec {
    fn accepts(&self, value: &str) -> Result<(), OptionError> {
        let bad = |problem: String| {
            Err(OptionError::Value {
                name: self.name.clone(),
                problem,
            })
        };
        if !self.one_of.is_empty() && !self.one_of.iter().any(|known| known == value) {
            let known = self.one_of.iter().map(String::as_str);
            return bad(format!("has an {}", unknown("value", value, known)));
        }
        if value.len() > OPTION_BYTES_MAX {
            return bad(format!("is longer than {OPTION_BYTES_MAX} bytes"));
        }
        if value.contains(" | ") || value.contains(char::is_control) || value.contains("${") {
            return bad("contains ` | `, `${` or a control character".into());
        }
        Ok(())
    }
}

fn options(root: &Node, text: &str) -> Result<Vec<OptionSpec>, Vec<Problem>> {
    let problems = Problems::new(text);
    let mut specs = Vec::new();
    if let Some(fields) = Fields::of(root, "", &problems)
        && let Some(table) = fields.table("options")
    {
        for entry in table.entries() {
            let at = table.path(&entry.name);
            specs.extend(Fields::of(&entry.node, &at, &problems).map(|f| option(&entry.name, f)));
        }
    }
    problems.finish(specs)
}

fn option(name: &str, fields: Fields<'_>) -> OptionSpec {
    let text = |key| fields.text(key).map(str::to_owned);
    let spec = OptionSpec {
        name: name.to_owned(),
        help: text("help").unwrap_or_default(),
        default: text("default"),
        required: fields.boolean("required").unwrap_or(false),
        one_of: fields.each("one_of", |text| Ok(text.to_owned())),
        example: text("example"),
    };
    if spec.help.is_empty() {
        fields.problem(&fields.span, "help", "is missing: what the option is for");
    }
    if spec.required && spec.default.is_none() && spec.example.is_none() {
        let message = "is missing: a required option needs one, for the pack to be checked with";
        fields.problem(&fields.span, "example", message);
    }
    fields.finish();
    spec
}

/// A pack's file, read under some options.
struct Parts {
    facts: Facts,
    scheme: Scheme,
    samples: Vec<Sample>,
    replaces_built_in: bool,
}

fn read(
    name: &str,
    text: &str,
    root: &Node,
    options: Vec<OptionSpec>,
    values: &Params,
) -> Result<Parts, Vec<Problem>> {
    let problems = Problems::new(text);
    let without_options = Node {
        span: root.span.clone(),
        value: match &root.value {
            Value::Table(entries) => Value::Table(
                entries
                    .iter()
                    .filter(|entry| entry.name != "options")
                    .filter_map(|entry| {
                        document::substitute(&entry.node, values).map(|node| document::Entry {
                            name: entry.name.clone(),
                            span: entry.span.clone(),
                            node,
                        })
                    })
                    .collect(),
            ),
            other => other.clone(),
        },
    };
    let result = Fields::of(&without_options, "", &problems).map(|fields| {
        let scheme = compile::scheme(&fields, values);
        let facts = facts(name, &fields, &scheme, options);
        let samples = fields
            .tables("sample")
            .into_iter()
            .map(Sample::read)
            .collect();
        let replaces_built_in = fields.boolean("replaces_built_in").unwrap_or(false);
        let _ = fields.node("options");
        fields.finish();
        Parts {
            facts,
            scheme,
            samples,
            replaces_built_in,
        }
    });
    match problems.finish(result)? {
        Some(parts) => Ok(parts),
        // A root that is no table was reported above.
        None => Err(Vec::new()),
    }
}

fn facts(name: &str, fields: &Fields<'_>, scheme: &Scheme, options: Vec<OptionSpec>) -> Facts {
    let text = |key| fields.text(key).map(str::to_owned);
    if let Some(own) = fields.text("name")
        && own != name
    {
        let message = format!("the pack is called `{own}` and its file `{name}`");
        fields.problem(&fields.span_of("name"), "name", message);
    }
    if scheme.blocks.is_empty() && scheme.handshakes.is_empty() {
        fields.problem(&fields.span, "verify", "is missing");
    }
    let (ack, deadline_ms) = fields.table("ack").map(ack).unwrap_or_default();
    Facts {
        name: name.to_owned(),
        title: text("title").unwrap_or_else(|| name.to_owned()),
        docs: text("docs"),
        secret: text("secret"),
        secret_required: fields.boolean("secret_required").unwrap_or(true),
        proof: fields.one("proof", Proof::parse),
        weak: fields.each("weak", proof::part),
        checks: fields.tables("verify").iter().map(Check::read).collect(),
        handshakes: fields.tables("handshake").iter().map(conditions).collect(),
        id: ids(fields),
        repeats: repeats(scheme, &options),
        batches: batches(fields),
        body_max: fields.one("body_max", size),
        body_authenticated: body_authenticated(fields, scheme),
        id_unique: scheme.event.id_unique,
        retry: fields.table("retry").map(retry).unwrap_or_default(),
        registration: fields
            .table("registration")
            .map(Registration::read)
            .unwrap_or_default(),
        deadline_ms,
        ack,
        reject_status: reject(fields),
        options,
    }
}

fn body_authenticated(fields: &Fields<'_>, scheme: &Scheme) -> bool {
    let covered = !scheme.blocks.is_empty() && scheme.blocks.iter().all(|b| b.covers_body());
    match fields.boolean("body_authenticated") {
        Some(true) if !covered => {
            let message = "`signed` does not cover the body: name {body} in it";
            fields.problem(
                &fields.span_of("body_authenticated"),
                "body_authenticated",
                message,
            );
            false
        }
        Some(said) => said,
        None => covered,
    }
}

fn retry(fields: Fields<'_>) -> Retry {
    let retry = Retry {
        on: fields.each("on", |text| {
            let classes = ["connect", "timeout", "3xx", "4xx", "5xx"];
            let is_status = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            match classes.contains(&text) || is_status {
                true => Ok(text.to_owned()),
                false => Err(unknown("answer", text, classes.into_iter().chain(["429"]))),
            }
        }),
        attempts: unsigned(&fields, "attempts"),
        over: fields.text("over").map(str::to_owned),
        note: fields.text("note").map(str::to_owned),
    };
    fields.finish();
    retry
}

fn conditions(handshake: &Fields<'_>) -> String {
    handshake
        .each("when", |text| Ok(text.to_owned()))
        .join(", ")
}

fn repeats(scheme: &Scheme, options: &[OptionSpec]) -> Repeats {
    let event = &scheme.event;
    let mut templates = scheme.blocks.iter().flat_map(|block| block.templates());
    if event.id_unique && !event.id.is_empty() {
        return Repeats::Id;
    }
    if event.id_unique && event.item_id.is_some() {
        return Repeats::Items;
    }
    if event.id_unique && options.iter().any(|option| option.name == "id_header") {
        return Repeats::Option;
    }
    match templates.any(Template::covers_time_or_id) {
        true => Repeats::Signed,
        false => Repeats::Unknown,
    }
}

fn ids(fields: &Fields<'_>) -> Vec<String> {
    let event = fields.table("event");
    let texts = event.map(|event| event.each("id", |text| Ok(text.to_owned())));
    texts.unwrap_or_default()
}

fn batches(fields: &Fields<'_>) -> Option<Batches> {
    let event = fields.table("event")?;
    let text = |key| event.text(key).map(str::to_owned);
    Some(Batches {
        path: text("batch")?,
        id: text("item_id"),
        event_type: text("item_type"),
    })
}

/// The answer, and within which time. A table that gives but a time wants creel's own answer.
fn ack(fields: Fields<'_>) -> (Option<Ack>, Option<u64>) {
    let (status, kind, body) = (
        compile::status(&fields),
        fields.text("type"),
        fields.text("body"),
    );
    let says = status.is_some() || kind.is_some() || body.is_some();
    let ack = says.then(|| Ack {
        status: status.unwrap_or(200),
        content_type: kind.unwrap_or("text/plain").to_owned(),
        body: body.unwrap_or_default().to_owned(),
    });
    let deadline_ms = unsigned(&fields, "deadline_ms");
    // read with the scheme: what is in them depends on the request
    let _ = fields.node("headers");
    fields.finish();
    (ack, deadline_ms)
}

fn reject(fields: &Fields<'_>) -> u16 {
    let Some(fields) = fields.table("reject") else {
        return 401;
    };
    let status = compile::status(&fields).unwrap_or(401);
    fields.finish();
    status
}

fn unsigned(fields: &Fields<'_>, key: &'static str) -> Option<u64> {
    let number = fields.integer(key)?;
    let number = u64::try_from(number).ok();
    if number.is_none() {
        fields.problem(&fields.span_of(key), key, "cannot be negative");
    }
    number
}

fn size(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, u64)] = &[("KiB", 1 << 10), ("MiB", 1 << 20), ("B", 1)];
    UNITS
        .iter()
        .find_map(|(unit, factor)| {
            let number = text.strip_suffix(unit)?.trim();
            number.parse::<u64>().ok()?.checked_mul(*factor)
        })
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("expected a size such as `25 MiB`, found `{text}`"))
}
