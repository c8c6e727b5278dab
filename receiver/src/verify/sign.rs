//! Signing as the provider would: for `creel send`, the demo and tests.
//!
//! Runs the same pack backwards: what the check reads out of a header, this
//! puts there.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::algorithm::{Algorithm, Mac};
use super::check;
use super::condition;
use super::jwt::{Meets, Rules};
use super::pipeline::{End, Filter, Locator, Pipeline};
use super::request::{Request, View};
use super::scheme::{Block, BodyHash, Choice, Remote};
use super::template::Context;
use super::url;
use super::verifier::Verifier;

/// A request that is about to be signed.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned<'s> {
    pub method: &'s Method,
    /// In full, as it would be entered at the provider.
    pub url: &'s str,
    /// With the content type, where that matters.
    pub headers: &'s HeaderMap,
    pub body: &'s [u8],
    /// For schemes that sign an id and packs that read one from a header.
    pub id: &'s str,
    /// For packs that read it from a header.
    pub event_type: Option<&'s str>,
}

/// A request that its own verifier accepts.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Longer than before where a scheme carries the body's hash there.
    pub url: String,
    pub headers: HeaderMap,
    /// Instead of the one that was given, where the signature stands in it.
    pub body: Option<Vec<u8>>,
}

/// Where a body that holds its signature leaves room for it.
const SIGNATURE_MARK: &str = "@signature@";

/// Why a request cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("provider `{0}` signs with a private key, which only the provider has")]
    PrivateKey(String),
    #[error("provider `{provider}` cannot be signed for: {what}")]
    Unsupported { provider: String, what: String },
    #[error("the source has no secret to sign with that is valid now")]
    NoSecret,
    #[error("`{0}` is no http(s) URL")]
    Url(String),
    #[error("a value does not fit into a header")]
    Header,
}

impl Verifier {
    /// Signs with the source's first secret that is valid at the time.
    ///
    /// # Errors
    /// [`SignError`]: the scheme needs a private key or puts its signature where
    /// only the provider can, or the request cannot be one.
    pub fn sign(&self, unsigned: &Unsigned<'_>, now_unix_ms: i64) -> Result<Signed, SignError> {
        let url = unsigned.url.split('#').next().unwrap_or(unsigned.url);
        let mut draft = Draft {
            verifier: self,
            method: unsigned.method,
            url: url.to_owned(),
            headers: unsigned.headers.clone(),
            body: Cow::Borrowed(unsigned.body),
        };
        draft.announce(unsigned)?;
        if let Some((index, block)) = draft.block()? {
            draft.sign(index, block, unsigned.id, now_unix_ms)?;
        }
        Ok(Signed {
            url: draft.url,
            headers: draft.headers,
            body: match draft.body {
                Cow::Borrowed(_) => None,
                Cow::Owned(body) => Some(body),
            },
        })
    }
}

struct Draft<'s> {
    verifier: &'s Verifier,
    method: &'s Method,
    url: String,
    headers: HeaderMap,
    body: Cow<'s, [u8]>,
}

impl<'s> Draft<'s> {
    fn unsupported(&self, what: &str) -> SignError {
        SignError::Unsupported {
            provider: self.verifier.pack.name().to_owned(),
            what: what.to_owned(),
        }
    }

    /// Puts id and type into the headers where the pack looks for them.
    fn announce(&mut self, unsigned: &Unsigned<'_>) -> Result<(), SignError> {
        let event = &self.verifier.scheme.event;
        let wanted = [
            (&event.id, Some(unsigned.id)),
            (&event.kind, unsigned.event_type),
        ];
        for (pipelines, text) in wanted {
            let (Some(first), Some(text)) = (pipelines.first(), text) else {
                continue;
            };
            if let Locator::Header(name) = &first.locator
                && !self.headers.contains_key(name)
                && !text.is_empty()
            {
                self.place(first, text.as_bytes())?;
            }
        }
        Ok(())
    }

    fn with_view<T>(&self, ask: impl FnOnce(&View<'_>) -> T) -> Result<T, SignError> {
        let wrong = || SignError::Url(self.url.clone());
        let (scheme, rest) = self.url.split_once("://").ok_or_else(wrong)?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let request = Request {
            method: self.method,
            scheme,
            host: &rest[..at],
            target: &rest[at..],
            headers: &self.headers,
            body: &self.body,
        };
        Ok(ask(&View::new(&request)))
    }

    /// The block to sign for: the first that applies or, where its condition is
    /// the signature's own header, the first of all.
    fn block(&self) -> Result<Option<(usize, &'s Block)>, SignError> {
        let blocks = &self.verifier.scheme.blocks;
        let applies = self.with_view(|view| {
            blocks
                .iter()
                .position(|block| condition::all_hold(&block.when, view))
        })?;
        let index = applies.unwrap_or(0);
        Ok(blocks.get(index).map(|block| (index, block)))
    }

    fn sign(
        &mut self,
        index: usize,
        block: &'s Block,
        id: &str,
        now_unix_ms: i64,
    ) -> Result<(), SignError> {
        if block.key.is_public() || matches!(block.remote, Some(Remote::Certificate { .. })) {
            return Err(SignError::PrivateKey(self.verifier.pack.name().to_owned()));
        }
        if !block.needs_key() {
            return Ok(());
        }
        let keys = self.verifier.secrets().of_block(index).iter();
        let mut keys = keys.filter(|key| key.is_valid(now_unix_ms));
        let key = keys.next().ok_or(SignError::NoSecret)?;
        if let Some(hash) = &block.body_hash {
            self.add_body_hash(hash)?;
        }
        if let Choice::Token(rules) = &block.algorithm {
            return self.sign_token(block, rules, key.bytes.expose_secret(), id, now_unix_ms);
        }
        let chosen = self.with_view(|view| check::algorithm(block, view))?;
        let algorithm = chosen.map_err(|reason| self.unsupported(reason.name()))?;
        if algorithm.is_asymmetric() {
            return Err(SignError::PrivateKey(self.verifier.pack.name().to_owned()));
        }
        let secret = key.bytes.expose_secret();
        if let Some(items) = block.items {
            let items = items(&self.body).map_err(|reason| self.unsupported(reason.name()))?;
            let tags = items.iter().filter_map(|item| {
                let mut mac = Mac::new(algorithm, secret)?;
                mac.update(&item.message);
                Some(STANDARD.encode(mac.finish().into_bytes()))
            });
            return self.place_in_items(tags.collect());
        }
        let time = self.place_time(block, now_unix_ms)?;
        let id = self.place_id(block, id)?;
        let tag = match algorithm {
            Algorithm::Equal => secret.clone(),
            _ => self.tag(block, algorithm, secret, time.as_deref(), &id)?,
        };
        let place = self.signature_place(block)?;
        self.place(place, &place.end.encode(&tag))
    }

    fn sign_token(
        &mut self,
        block: &'s Block,
        rules: &Rules,
        secret: &[u8],
        id: &str,
        now_unix_ms: i64,
    ) -> Result<(), SignError> {
        let meets = Meets {
            body: &self.body,
            url: &self.url,
            now_unix_ms,
            tolerance: None,
        };
        let made = rules.unsigned(id, &meets).and_then(|(algorithm, text)| {
            let mut mac = Mac::new(algorithm, secret)?;
            mac.update(text.as_bytes());
            let tag = End::Base64Url.encode(&mac.finish().into_bytes());
            Some([text.as_bytes(), b".", &tag].concat())
        });
        let token =
            made.ok_or_else(|| self.unsupported("its tokens are signed with a key pair"))?;
        let place = self.signature_place(block)?;
        self.place(place, &token)
    }

    /// Writes each signature into its item.
    fn place_in_items(&mut self, tags: Vec<String>) -> Result<(), SignError> {
        let body = String::from_utf8(self.body.to_vec()).map_err(|_| SignError::Header)?;
        let places = body.matches(SIGNATURE_MARK).count();
        if places != tags.len() {
            let what = format!("each item has to leave room for its signature: `{SIGNATURE_MARK}`");
            return Err(self.unsupported(&what));
        }
        let filled = tags
            .iter()
            .fold(body, |body, tag| body.replacen(SIGNATURE_MARK, tag, 1));
        self.body = Cow::Owned(filled.into_bytes());
        Ok(())
    }

    fn signature_place(&self, block: &'s Block) -> Result<&'s Pipeline, SignError> {
        let mut places = block.signatures.iter().chain(&block.signatures_any);
        places
            .next()
            .ok_or_else(|| self.unsupported("no place for a signature"))
    }

    fn add_body_hash(&mut self, hash: &BodyHash) -> Result<(), SignError> {
        let Locator::Query(name) = &hash.from.locator else {
            return Err(self.unsupported("its body hash is not in the query"));
        };
        let (is_form, given) =
            self.with_view(|view| (view.is_form(), !view.query(name).is_empty()))?;
        let needed =
            hash.required || hash.required_unless_form && !is_form && !self.body.is_empty();
        if needed && !given {
            let digest = hash.from.end.encode(&Sha256::digest(&self.body));
            let digest = String::from_utf8_lossy(&digest).into_owned();
            let joint = if self.url.contains('?') { '&' } else { '?' };
            self.url.push_str(&format!("{joint}{name}={digest}"));
        }
        Ok(())
    }

    fn place_time(&mut self, block: &Block, now_unix_ms: i64) -> Result<Option<String>, SignError> {
        let Some(first) = block.time.first() else {
            return Ok(None);
        };
        let End::Time(clock) = first.end else {
            return Ok(None);
        };
        if let Some(text) = self.in_body(&block.time)? {
            return Ok(Some(text));
        }
        let text = clock.write(now_unix_ms);
        self.place(first, text.as_bytes())?;
        Ok(Some(text))
    }

    fn place_id(&mut self, block: &Block, id: &str) -> Result<String, SignError> {
        let Some(first) = block.id.first().filter(|_| block.uses_id()) else {
            return Ok(id.to_owned());
        };
        if let Some(text) = self.in_body(&block.id)? {
            return Ok(text);
        }
        self.place(first, id.as_bytes())?;
        Ok(id.to_owned())
    }

    /// What the body says already where it is the body that is read.
    fn in_body(&self, pipelines: &[Pipeline]) -> Result<Option<String>, SignError> {
        let reads_body =
            |pipeline: &&Pipeline| matches!(pipeline.locator, Locator::Json(_) | Locator::Form(_));
        self.with_view(|view| {
            let texts = pipelines.iter().filter(reads_body).filter_map(|pipeline| {
                let values = pipeline.texts(view).ok()??;
                String::from_utf8(values.first()?.to_vec()).ok()
            });
            texts.into_iter().next()
        })
    }

    fn tag(
        &self,
        block: &Block,
        algorithm: Algorithm,
        secret: &[u8],
        time: Option<&str>,
        id: &str,
    ) -> Result<Vec<u8>, SignError> {
        let made = self.with_view(|view| {
            let template = check::templates(block, view).first()?;
            let spelled = url::spellings(&self.url, block.variants, None);
            let context = Context {
                view,
                url: spelled.first()?,
                time: time.map(str::as_bytes),
                id: Some(id.as_bytes()),
                secret: Some(secret),
            };
            let mut mac = Mac::new(algorithm, secret)?;
            let rendered = template.render(&context, &mut |piece| mac.update(piece));
            rendered.ok().map(|()| mac.finish().into_bytes())
        })?;
        made.ok_or_else(|| self.unsupported("the request lacks something that is signed"))
    }

    /// Writes `text` where `pipeline` reads it.
    fn place(&mut self, pipeline: &Pipeline, text: &[u8]) -> Result<(), SignError> {
        let name: &HeaderName = match &pipeline.locator {
            Locator::Header(name) => name,
            Locator::Basic => {
                let value = format!("Basic {}", STANDARD.encode(text));
                let value = HeaderValue::from_str(&value).map_err(|_| SignError::Header)?;
                self.headers.insert(AUTHORIZATION, value);
                return Ok(());
            }
            Locator::Query(name) => {
                let joint = if self.url.contains('?') { '&' } else { '?' };
                let value = percent_encode(text, NON_ALPHANUMERIC);
                self.url.push_str(&format!("{joint}{name}={value}"));
                return Ok(());
            }
            Locator::Json(_) | Locator::Form(_) => return self.place_in_body(pipeline, text),
            Locator::Const(_) => return Err(self.unsupported("a signed value is a constant")),
        };
        let mut item = text.to_vec();
        let mut separator = None;
        for filter in pipeline.filters.iter().rev() {
            let prefix = match filter {
                Filter::Pair { separator, keys } => {
                    format!("{}{separator}", keys.first().map_or("", String::as_str))
                }
                Filter::Strip(prefix) | Filter::StripIgnoringCase(prefix) => prefix.clone(),
                Filter::List(by) => {
                    separator = Some(by.clone());
                    continue;
                }
                Filter::Optional(_) | Filter::At(_) | Filter::From(_) | Filter::Last => continue,
                Filter::Json(_) => return Err(self.unsupported("a signed value is inside JSON")),
            };
            item.splice(0..0, prefix.into_bytes());
        }
        let value = match (separator, self.headers.get(name)) {
            (Some(by), Some(there)) => [there.as_bytes(), by.as_bytes(), &item].concat(),
            _ => item,
        };
        let value = HeaderValue::from_bytes(&value).map_err(|_| SignError::Header)?;
        self.headers.insert(name, value);
        Ok(())
    }

    /// Writes `text` where the body leaves room for it.
    fn place_in_body(&mut self, pipeline: &Pipeline, text: &[u8]) -> Result<(), SignError> {
        let mut value = String::from_utf8(text.to_vec()).map_err(|_| SignError::Header)?;
        let form = matches!(pipeline.locator, Locator::Form(_));
        let inside = |filter: &Filter| matches!(filter, Filter::Json(_));
        if !form || pipeline.filters.iter().any(inside) {
            let quoted = serde_json::Value::from(value).to_string();
            value = quoted[1..quoted.len() - 1].to_owned();
        }
        if form {
            value = percent_encode(value.as_bytes(), NON_ALPHANUMERIC).to_string();
        }
        let body = String::from_utf8(self.body.to_vec()).ok();
        let body = body.filter(|body| body.contains(SIGNATURE_MARK));
        let body = body.ok_or_else(|| {
            let what = format!("its signature stands in the body, which has no `{SIGNATURE_MARK}`");
            self.unsupported(&what)
        })?;
        self.body = Cow::Owned(body.replace(SIGNATURE_MARK, &value).into_bytes());
        Ok(())
    }
}
