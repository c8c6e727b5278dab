//! Pipelines: where in a request a value stands, and how it is cut out.
//!
//! `locator | filter | … | decoder`, as in
//! `header:Stripe-Signature | list:, | pair:=,v1 | hex`. A pipeline yields no
//! value (the place is not there), or any number of them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use http::HeaderName;
use http::header::AUTHORIZATION;

use super::clock::{self, Clock};
use super::document::unknown;
use super::reason::Reason;
use super::request::View;
use creel_common::json::{self, Pointer};

/// More signatures than this in one request are refused.
pub(crate) const VALUES_MAX: usize = 32;
/// Longer signatures, times and ids than this are refused.
pub(crate) const VALUE_BYTES_MAX: usize = 8 * 1024;

/// Settings of the operator that a pack refers to as `param:NAME`.
pub(crate) type Params = BTreeMap<String, Option<String>>;

#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    pub locator: Locator,
    pub filters: Vec<Filter>,
    pub end: End,
}

#[derive(Debug, Clone)]
pub(crate) enum Locator {
    Header(HeaderName),
    Query(String),
    Form(String),
    Json(Pointer),
    Const(String),
    /// `user:password` out of an `Authorization: Basic` header.
    Basic,
}

#[derive(Debug, Clone)]
pub(crate) enum Filter {
    /// Split, trim, drop what is empty.
    List(String),
    /// Values whose part before the first separator is one of the keys.
    Pair {
        separator: String,
        keys: Vec<String>,
    },
    At(usize),
    From(usize),
    Last,
    Strip(String),
    Optional(String),
    StripIgnoringCase(String),
    Json(Pointer),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    None,
    Hex,
    Base64,
    Base64Url,
    Text,
    Time(Clock),
}

const DECODERS: &[(&str, End)] = &[
    ("hex", End::Hex),
    ("base64", End::Base64),
    ("base64url", End::Base64Url),
    ("text", End::Text),
];

/// What a pipeline is for, which decides how it has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Signature,
    Time,
    Text,
}

pub(crate) type Values<'r> = Vec<Cow<'r, [u8]>>;

impl Pipeline {
    /// # Errors
    /// What is wrong with the text, and what was expected.
    pub fn parse(text: &str, role: Role, params: &Params) -> Result<Self, String> {
        let mut steps = text.split(" | ");
        let locator = Locator::parse(steps.next().unwrap_or(""), params)?;
        let mut pipeline = Pipeline {
            locator,
            filters: Vec::new(),
            end: End::None,
        };
        for step in steps {
            pipeline.push(step, params)?;
        }
        pipeline.fits(role, text)?;
        Ok(pipeline)
    }

    fn push(&mut self, step: &str, params: &Params) -> Result<(), String> {
        if self.end != End::None {
            return Err(format!("nothing can follow a decoder or clock: `{step}`"));
        }
        let named = |name: &str| {
            let decoder = DECODERS.iter().find(|(other, _)| *other == name);
            decoder.map(|(_, end)| *end).or_else(|| {
                let clock = clock::NAMES.iter().find(|(other, _)| *other == name);
                clock.map(|(_, clock)| End::Time(*clock))
            })
        };
        match named(step.trim()) {
            Some(end) => self.end = end,
            None => self.filters.push(Filter::parse(step, params)?),
        }
        Ok(())
    }

    fn fits(&self, role: Role, text: &str) -> Result<(), String> {
        let problem = match (role, self.end) {
            (Role::Signature, End::None | End::Time(_)) => {
                "a signature has to end with a decoder: hex, base64, base64url or text"
            }
            (Role::Time, End::Time(_)) => return Ok(()),
            (Role::Time, _) => {
                "a time has to end with a clock: unix, unix-ms, unix-us, unix-ns, unix-auto, rfc3339 or http-date"
            }
            (Role::Text, End::None | End::Text) | (Role::Signature, _) => return Ok(()),
            (Role::Text, _) => "a text takes no decoder and no clock",
        };
        Err(format!("{problem}: `{text}`"))
    }

    /// The values before decoding; `None` if the place is not in the request.
    pub fn texts<'r>(&self, view: &View<'r>) -> Result<Option<Values<'r>>, Reason> {
        let Some(mut values) = self.locator.read(view)? else {
            return Ok(None);
        };
        for filter in &self.filters {
            values = filter.apply(values);
        }
        if values.len() > VALUES_MAX {
            return Err(Reason::TooManySignatures);
        }
        if values.iter().any(|value| value.len() > VALUE_BYTES_MAX) {
            return Err(Reason::TooLong);
        }
        Ok(Some(values))
    }

    /// The decoded values; what cannot be decoded is left out.
    pub fn decoded<'r>(&self, view: &View<'r>) -> Result<Option<Values<'r>>, Reason> {
        let Some(values) = self.texts(view)? else {
            return Ok(None);
        };
        Ok(Some(
            values
                .into_iter()
                .filter_map(|value| self.end.decode(value))
                .collect(),
        ))
    }
}

impl End {
    fn decode(self, value: Cow<'_, [u8]>) -> Option<Cow<'_, [u8]>> {
        match self {
            End::Hex => hex::decode(&*value).ok().map(Cow::Owned),
            End::Base64 => STANDARD.decode(&*value).ok().map(Cow::Owned),
            End::Base64Url => {
                let engine = if value.contains(&b'=') {
                    &URL_SAFE
                } else {
                    &URL_SAFE_NO_PAD
                };
                engine.decode(&*value).ok().map(Cow::Owned)
            }
            End::None | End::Text | End::Time(_) => Some(value),
        }
    }

    /// The inverse, for signing.
    pub fn encode(self, value: &[u8]) -> Vec<u8> {
        match self {
            End::Hex => hex::encode(value).into_bytes(),
            End::Base64 => STANDARD.encode(value).into_bytes(),
            End::Base64Url => URL_SAFE_NO_PAD.encode(value).into_bytes(),
            End::None | End::Text | End::Time(_) => value.to_vec(),
        }
    }
}

/// The values of the first pipeline whose place is in the request, and which
/// one it was.
pub(crate) fn first<'p, 'r>(
    pipelines: &'p [Pipeline],
    view: &View<'r>,
) -> Result<Option<(&'p Pipeline, Values<'r>)>, Reason> {
    for pipeline in pipelines {
        if let Some(values) = pipeline.texts(view)? {
            return Ok(Some((pipeline, values)));
        }
    }
    Ok(None)
}

const LOCATORS: &[&str] = &["header", "query", "form", "json", "param", "basic", "const"];

impl Locator {
    pub fn parse(text: &str, params: &Params) -> Result<Self, String> {
        let (kind, name) = text
            .trim_start()
            .split_once(':')
            .unwrap_or((text.trim(), ""));
        if kind == "basic" && name.is_empty() {
            return Ok(Locator::Basic);
        }
        let needs_name = matches!(kind, "header" | "query" | "form" | "param");
        if needs_name && name.is_empty() {
            return Err(format!("`{kind}:` needs a name"));
        }
        match kind {
            "header" => header(name).map(Locator::Header),
            "query" => Ok(Locator::Query(name.to_owned())),
            "form" => Ok(Locator::Form(name.to_owned())),
            "json" => Pointer::parse(name).map(Locator::Json),
            "const" => Ok(Locator::Const(name.to_owned())),
            "param" => param(name, params).map(Locator::Const),
            _ => Err(unknown("locator", kind, LOCATORS.iter().copied())),
        }
    }

    /// `None` if it is not there.
    pub fn read<'r>(&self, view: &View<'r>) -> Result<Option<Values<'r>>, Reason> {
        let values: Values<'r> = match self {
            Locator::Header(name) => match view.header(name)? {
                Some(value) => vec![Cow::Borrowed(value)],
                None => return Ok(None),
            },
            Locator::Query(name) => view.query(name),
            Locator::Form(name) => view
                .form()
                .into_iter()
                .flatten()
                .filter(|pair| *pair.name == *name.as_bytes())
                .map(|pair| pair.value.clone())
                .take(VALUES_MAX + 1)
                .collect(),
            Locator::Json(pointer) => json::scalar(view.request.body, pointer)
                .into_iter()
                .collect(),
            Locator::Const(value) => vec![Cow::Owned(value.clone().into_bytes())],
            Locator::Basic => return basic(view),
        };
        if values.len() > VALUES_MAX {
            return Err(Reason::TooManySignatures);
        }
        Ok((!values.is_empty()).then_some(values))
    }
}

/// `Some` without values if the header is there and says Basic but cannot be read.
fn basic<'r>(view: &View<'r>) -> Result<Option<Values<'r>>, Reason> {
    let Some(value) = view.header(&AUTHORIZATION)? else {
        return Ok(None);
    };
    let Some(encoded) = strip_ignoring_case(value, b"basic ") else {
        return Ok(None);
    };
    Ok(Some(
        STANDARD
            .decode(encoded.trim_ascii())
            .ok()
            .map(Cow::Owned)
            .into_iter()
            .collect(),
    ))
}

pub(crate) fn header(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no header name"))
}

pub(crate) fn param(name: &str, params: &Params) -> Result<String, String> {
    match params.get(name) {
        Some(Some(value)) => Ok(value.clone()),
        Some(None) => Err(format!("option `{name}` has no value")),
        None => Err(unknown("option", name, params.keys().map(String::as_str))),
    }
}

const FILTERS: &[&str] = &[
    "list",
    "pair",
    "pairkey",
    "at",
    "from",
    "last",
    "strip",
    "opt",
    "istrip",
    "json",
    "hex",
    "base64",
    "base64url",
    "text",
    "unix",
    "unix-ms",
    "unix-us",
    "unix-ns",
    "unix-auto",
    "rfc3339",
    "http-date",
];

impl Filter {
    fn parse(text: &str, params: &Params) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text.trim(), ""));
        let number = || {
            rest.trim()
                .parse()
                .map_err(|_| format!("`{kind}:` needs a number, found `{rest}`"))
        };
        match kind {
            "list" if !rest.is_empty() => Ok(Filter::List(rest.to_owned())),
            "list" => Err("`list:` needs a separator".into()),
            "pair" | "pairkey" => {
                let (separator, keys) = separator_and_keys(rest)?;
                let keys: Vec<String> = match kind {
                    "pair" => keys.split(',').map(str::to_owned).collect(),
                    _ => vec![param(keys, params)?],
                };
                Ok(Filter::Pair { separator, keys })
            }
            "at" => number().map(Filter::At),
            "from" => number().map(Filter::From),
            "last" if rest.is_empty() => Ok(Filter::Last),
            "strip" => Ok(Filter::Strip(rest.to_owned())),
            "opt" => Ok(Filter::Optional(rest.to_owned())),
            "istrip" => Ok(Filter::StripIgnoringCase(rest.to_owned())),
            "json" => Pointer::parse(rest).map(Filter::Json),
            _ => Err(unknown("filter", kind, FILTERS.iter().copied())),
        }
    }

    fn apply<'r>(&self, values: Values<'r>) -> Values<'r> {
        match self {
            Filter::List(separator) => values
                .into_iter()
                .flat_map(|value| split(value, separator.as_bytes()))
                .take(VALUES_MAX * 4)
                .collect(),
            Filter::Pair { separator, keys } => values
                .into_iter()
                .filter_map(|value| {
                    let at = position(&value, separator.as_bytes())?;
                    keys.iter()
                        .any(|key| *key.as_bytes() == value[..at])
                        .then(|| drop_front(value, at + separator.len()))
                })
                .collect(),
            Filter::At(index) => values.into_iter().nth(*index).into_iter().collect(),
            Filter::From(index) => values.into_iter().skip(*index).collect(),
            Filter::Last => values.into_iter().last().into_iter().collect(),
            Filter::Strip(prefix) => values
                .into_iter()
                .filter(|value| value.starts_with(prefix.as_bytes()))
                .map(|value| drop_front(value, prefix.len()))
                .collect(),
            Filter::Optional(prefix) => values
                .into_iter()
                .map(|value| match value.starts_with(prefix.as_bytes()) {
                    true => drop_front(value, prefix.len()),
                    false => value,
                })
                .collect(),
            Filter::StripIgnoringCase(prefix) => values
                .into_iter()
                .filter(|value| strip_ignoring_case(value, prefix.as_bytes()).is_some())
                .map(|value| drop_front(value, prefix.len()))
                .collect(),
            Filter::Json(pointer) => values
                .iter()
                .filter_map(|value| json::scalar(value, pointer))
                .map(|value| Cow::Owned(value.into_owned()))
                .collect(),
        }
    }
}

/// `=,v1,v2`: the separator, a comma, the keys. A separator that is a comma
/// itself is written `,,v1`.
fn separator_and_keys(text: &str) -> Result<(String, &str), String> {
    let at = match text.strip_prefix(',') {
        Some(rest) if rest.starts_with(',') => Some(1),
        _ => text.find(','),
    };
    match at {
        Some(at) if at > 0 && at + 1 < text.len() => Ok((text[..at].to_owned(), &text[at + 1..])),
        _ => Err(format!(
            "expected a separator, a comma and a key, such as `=,v1`; found `{text}`"
        )),
    }
}

fn strip_ignoring_case<'v>(value: &'v [u8], prefix: &[u8]) -> Option<&'v [u8]> {
    let head = value.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| &value[prefix.len()..])
}

fn drop_front(value: Cow<'_, [u8]>, count: usize) -> Cow<'_, [u8]> {
    match value {
        Cow::Borrowed(value) => Cow::Borrowed(&value[count..]),
        Cow::Owned(mut value) => {
            value.drain(..count);
            Cow::Owned(value)
        }
    }
}

fn position(value: &[u8], needle: &[u8]) -> Option<usize> {
    if let [only] = needle {
        return value.iter().position(|byte| byte == only);
    }
    value
        .windows(needle.len())
        .position(|window| window == needle)
}

fn split<'r>(value: Cow<'r, [u8]>, separator: &[u8]) -> Values<'r> {
    match value {
        Cow::Borrowed(value) => pieces(value, separator).map(Cow::Borrowed).collect(),
        Cow::Owned(value) => pieces(&value, separator)
            .map(|piece| Cow::Owned(piece.to_vec()))
            .collect(),
    }
}

fn pieces<'v>(value: &'v [u8], separator: &[u8]) -> impl Iterator<Item = &'v [u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let here = rest?;
        match position(here, separator) {
            Some(at) => {
                rest = Some(&here[at + separator.len()..]);
                Some(&here[..at])
            }
            None => {
                rest = None;
                Some(here)
            }
        }
    })
    .map(<[u8]>::trim_ascii)
    .filter(|piece| !piece.is_empty())
}
