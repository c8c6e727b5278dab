//! Templates: what exactly is signed, and what a handshake answers.
//!
//! Literals with `{…}` in them: `v0:{time}:{body}`. Rendering hands the pieces
//! to a sink one by one, so that a body is hashed where it lies.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use sha2::{Digest, Sha256};

use super::algorithm::{Algorithm, Mac};
use super::document::unknown;
use super::form;
use super::hooks::{self, Message};
use super::pipeline::{self, Locator, Params, Pipeline, Role, VALUE_BYTES_MAX};
use super::reason::Reason;
use super::request::View;
use creel_common::json::{self, Pointer};

#[derive(Debug, Clone)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    Body,
    Time,
    Id,
    Url,
    UrlWithoutQuery,
    Path,
    Method,
    Secret,
    Header(HeaderName),
    /// One value of the request, as text.
    Value(Locator),
    FormSorted,
    FormSortedLast,
    Crc32OfBody,
    Sha256HexOfBody,
    JsonLines(Vec<(String, Pointer)>),
    /// What a hook makes.
    Code(Message),
    Optional {
        before: String,
        value: Pipeline,
        after: String,
    },
    Hmac {
        algorithm: Algorithm,
        base64: bool,
        value: Locator,
        /// What may be asked.
        asks: Asks,
    },
}

/// Whoever asks chooses the text and is told its tag, under the key that signs deliveries: so it has to
/// be one that no body could be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asks {
    Token,
    /// A few hexadecimal digits, where a body looks like a token itself.
    Digits,
}

impl Asks {
    /// Whether this is such a text.
    pub fn allows(self, value: &[u8]) -> bool {
        let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match self {
            Asks::Token => value
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte)),
            Asks::Digits => (20..=32).contains(&value.len()) && value.iter().all(digit),
        }
    }
}

/// What a template is rendered with.
pub(crate) struct Context<'c, 'r> {
    pub view: &'c View<'r>,
    pub url: &'c str,
    /// The time as the sender wrote it.
    pub time: Option<&'c [u8]>,
    pub id: Option<&'c [u8]>,
    pub secret: Option<&'c [u8]>,
}

/// Takes the pieces of a rendered template.
pub(crate) type Sink<'s> = &'s mut dyn FnMut(&[u8]);

const WORDS: &[(&str, Part)] = &[
    ("body", Part::Body),
    ("time", Part::Time),
    ("id", Part::Id),
    ("url", Part::Url),
    ("url.noquery", Part::UrlWithoutQuery),
    ("path", Part::Path),
    ("method", Part::Method),
    ("secret", Part::Secret),
    ("form-sorted", Part::FormSorted),
    ("form-sorted-last", Part::FormSortedLast),
    ("crc32:body", Part::Crc32OfBody),
    ("sha256hex:body", Part::Sha256HexOfBody),
];

impl Template {
    /// # Errors
    /// What is wrong with the text, and what was expected.
    pub fn parse(text: &str, params: &Params) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            if start > 0 {
                parts.push(Part::Literal(rest[..start].to_owned()));
            }
            let Some(length) = rest[start..].find('}') else {
                return Err(format!("`{{` without `}}`: `{text}`"));
            };
            parts.push(Part::parse(&rest[start + 1..start + length], params)?);
            rest = &rest[start + length + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// What a hook makes instead of a text with placeholders.
    pub fn of_hook(message: hooks::Message) -> Self {
        Self(vec![Part::Code(message)])
    }

    /// The texts that it signs for whoever asks.
    pub fn asks(&self) -> impl Iterator<Item = Asks> {
        self.0.iter().filter_map(|part| match part {
            Part::Hmac { asks, .. } => Some(*asks),
            _ => None,
        })
    }

    /// Whether the body, or all of it that means anything, is part of the result.
    pub fn covers_body(&self) -> bool {
        self.0.iter().any(|part| {
            matches!(
                part,
                Part::Body
                    | Part::FormSorted
                    | Part::FormSortedLast
                    | Part::Sha256HexOfBody
                    | Part::Crc32OfBody
            ) || part.code().is_some_and(|code| code.covers_body)
        })
    }

    /// Whether two events can hardly give the same result.
    pub fn covers_time_or_id(&self) -> bool {
        self.0.iter().any(|part| {
            matches!(part, Part::Time | Part::Id)
                || part.code().is_some_and(|code| code.covers_time_or_id)
        })
    }

    pub fn uses_time(&self) -> bool {
        self.0.iter().any(|part| {
            matches!(part, Part::Time) || part.code().is_some_and(|code| code.uses_time)
        })
    }

    pub fn uses_id(&self) -> bool {
        self.0
            .iter()
            .any(|part| matches!(part, Part::Id) || part.code().is_some_and(|code| code.uses_id))
    }

    pub fn uses_url(&self) -> bool {
        self.0.iter().any(|part| {
            matches!(part, Part::Url | Part::UrlWithoutQuery | Part::Path)
                || part.code().is_some_and(|code| code.uses_url)
        })
    }

    /// # Errors
    /// A [`Reason`] if something that the template names is not in the request.
    pub fn render(&self, context: &Context<'_, '_>, sink: Sink<'_>) -> Result<(), Reason> {
        for part in &self.0 {
            part.render(context, sink)?;
        }
        Ok(())
    }

    pub fn bytes(&self, context: &Context<'_, '_>) -> Result<Vec<u8>, Reason> {
        let mut out = Vec::new();
        self.render(context, &mut |piece| out.extend_from_slice(piece))?;
        Ok(out)
    }

    /// The result as text, for a reply.
    pub fn text(&self, context: &Context<'_, '_>) -> Result<String, Reason> {
        String::from_utf8(self.bytes(context)?).map_err(|_| Reason::BadBody)
    }
}

impl Part {
    fn code(&self) -> Option<&Message> {
        match self {
            Part::Code(message) => Some(message),
            _ => None,
        }
    }

    fn parse(text: &str, params: &Params) -> Result<Self, String> {
        if let Some((_, part)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(part.clone());
        }
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "header" => pipeline::header(rest).map(Part::Header),
            "param" => pipeline::param(rest, params).map(Part::Literal),
            "query" | "form" | "json" => Locator::parse(text, params).map(Part::Value),
            "json-lines" => Self::json_lines(rest),
            "opt" => Self::optional(rest, params),
            "hmac" => Self::hmac(rest, params),
            // Braintree: the block's key, which is the secret's SHA-1.
            "hmacsha1key" => Ok(Part::Hmac {
                algorithm: Algorithm::HmacSha1,
                base64: false,
                value: Locator::parse(rest, params)?,
                asks: Asks::Digits,
            }),
            _ => {
                let words = WORDS.iter().map(|(word, _)| *word);
                let kinds = [
                    "header",
                    "param",
                    "query",
                    "form",
                    "json",
                    "json-lines",
                    "opt",
                    "hmac",
                ];
                Err(unknown("placeholder", kind, words.chain(kinds)))
            }
        }
    }

    fn json_lines(names: &str) -> Result<Self, String> {
        let names = names.split(',').map(|name| {
            Pointer::parse(&format!("/{name}")).map(|pointer| (name.to_owned(), pointer))
        });
        names.collect::<Result<_, _>>().map(Part::JsonLines)
    }

    fn optional(text: &str, params: &Params) -> Result<Self, String> {
        let pieces: Vec<&str> = text.splitn(3, '|').collect();
        let [before, value, after] = pieces[..] else {
            return Err(format!(
                "expected `opt:before|locator|after`, found `opt:{text}`"
            ));
        };
        Ok(Part::Optional {
            before: before.to_owned(),
            value: Pipeline::parse(value, Role::Text, params)?,
            after: after.to_owned(),
        })
    }

    fn hmac(text: &str, params: &Params) -> Result<Self, String> {
        let pieces: Vec<&str> = text.splitn(3, ':').collect();
        let [hash, encoding, value] = pieces[..] else {
            return Err(format!(
                "expected `hmac:sha256:hex:locator`, found `hmac:{text}`"
            ));
        };
        let algorithm = match hash {
            "sha1" => Algorithm::HmacSha1,
            "sha256" => Algorithm::HmacSha256,
            "sha512" => Algorithm::HmacSha512,
            _ => return Err(unknown("hash", hash, ["sha1", "sha256", "sha512"])),
        };
        let base64 = match encoding {
            "hex" => false,
            "base64" => true,
            _ => return Err(unknown("encoding", encoding, ["hex", "base64"])),
        };
        Ok(Part::Hmac {
            algorithm,
            base64,
            value: Locator::parse(value, params)?,
            asks: Asks::Token,
        })
    }

    fn render(&self, context: &Context<'_, '_>, sink: Sink<'_>) -> Result<(), Reason> {
        let request = &context.view.request;
        match self {
            Part::Literal(text) => sink(text.as_bytes()),
            Part::Body => sink(request.body),
            Part::Time => sink(context.time.ok_or(Reason::MissingTimestamp)?),
            Part::Id => sink(context.id.ok_or(Reason::MissingId)?),
            Part::Url => sink(context.url.as_bytes()),
            Part::UrlWithoutQuery => sink(cut(context.url, &['?', '#']).as_bytes()),
            Part::Path => sink(path(context.url).as_bytes()),
            Part::Method => sink(request.method.as_str().as_bytes()),
            Part::Secret => sink(context.secret.ok_or(Reason::MissingValue)?),
            Part::Header(name) => sink(context.view.header(name)?.ok_or(Reason::MissingValue)?),
            Part::Value(locator) => sink(&single(locator, context)?),
            Part::FormSorted => sink(context.view.form_sorted().ok_or(Reason::BadBody)?),
            Part::FormSortedLast => {
                let pairs = context.view.form().ok_or(Reason::BadBody)?;
                sink(&form::sorted_last(pairs));
            }
            Part::Crc32OfBody => sink(crc32fast::hash(request.body).to_string().as_bytes()),
            Part::Sha256HexOfBody => sink(hex::encode(Sha256::digest(request.body)).as_bytes()),
            Part::JsonLines(names) => json_lines(names, request.body, sink),
            Part::Optional {
                before,
                value,
                after,
            } => {
                let values = value.texts(context.view)?.unwrap_or_default();
                if let Some(value) = values.first() {
                    sink(before.as_bytes());
                    sink(value);
                    sink(after.as_bytes());
                }
            }
            Part::Code(message) => return (message.render)(context, sink),
            Part::Hmac { .. } => sink(self.mac_of_value(context)?.as_bytes()),
        }
        Ok(())
    }

    fn mac_of_value(&self, context: &Context<'_, '_>) -> Result<String, Reason> {
        let Part::Hmac {
            algorithm,
            base64,
            value,
            asks,
        } = self
        else {
            return Err(Reason::MissingValue);
        };
        let secret = context.secret.ok_or(Reason::MissingValue)?;
        let value = single(value, context)?;
        if !asks.allows(&value) {
            return Err(Reason::BadEncoding);
        }
        let mut mac = Mac::new(*algorithm, secret).ok_or(Reason::UnknownAlgorithm)?;
        mac.update(&value);
        let tag = mac.finish().into_bytes();
        Ok(match base64 {
            true => STANDARD.encode(tag),
            false => hex::encode(tag),
        })
    }
}

fn single<'r>(
    locator: &Locator,
    context: &Context<'_, 'r>,
) -> Result<std::borrow::Cow<'r, [u8]>, Reason> {
    let values = locator.read(context.view)?.unwrap_or_default();
    let value = values.into_iter().next().ok_or(Reason::MissingValue)?;
    // A form field may be the whole payload; what comes from a query or header is short.
    if !matches!(locator, Locator::Form(_) | Locator::Json(_)) && value.len() > VALUE_BYTES_MAX {
        return Err(Reason::TooLong);
    }
    Ok(value)
}

fn json_lines(names: &[(String, Pointer)], body: &[u8], sink: Sink<'_>) {
    for (name, pointer) in names {
        if let Some(value) = json::scalar(body, pointer) {
            sink(name.as_bytes());
            sink(b"\n");
            sink(&value);
            sink(b"\n");
        }
    }
}

fn cut<'u>(url: &'u str, at: &[char]) -> &'u str {
    url.split(at).next().unwrap_or(url)
}

fn path(url: &str) -> &str {
    cut(target(url), &['?', '#'])
}

/// Path and query of a URL.
pub(crate) fn target(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let from = rest.find('/').unwrap_or(rest.len());
    cut(&rest[from..], &['#'])
}
