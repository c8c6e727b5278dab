//! The check itself: one block of a scheme against one request.

mod items;
mod token;

use std::borrow::Cow;
use std::sync::Arc;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::algorithm::{Algorithm, Mac};
use super::clock::Tolerance;
use super::condition;
use super::key::{Key, Ready};
use super::named::Named;
use super::pipeline::{self, End, Locator, VALUES_MAX, Values};
use super::reason::Reason;
use super::request::View;
use super::scheme::{AllItems, Block, BodyHash, Choice};
use super::template::{Context, Template};
use super::url;
use super::verifier::Verifier;
use crate::tag::{self, Tag};
use creel_common::json;

/// What a successful check found out.
pub(crate) struct Proof<'v> {
    pub key_index: usize,
    pub key: Option<Arc<Key>>,
    signed: Option<Signed<'v>>,
}

/// The string that was signed, as far as it is needed to make it again.
struct Signed<'v> {
    template: &'v Template,
    url: String,
    time: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
}

impl Proof<'_> {
    /// SHA-256 of the signed string, if that covers a time or a nonce.
    pub fn hash_of_signed(&self, view: &View<'_>) -> Option<[u8; 32]> {
        let signed = self.signed.as_ref()?;
        if !signed.template.covers_time_or_id() {
            return None;
        }
        let context = Context {
            view,
            url: &signed.url,
            time: signed.time.as_deref(),
            id: signed.id.as_deref(),
            secret: self
                .key
                .as_ref()
                .map(|key| key.bytes.expose_secret().as_slice()),
        };
        let mut hash = Sha256::new();
        let made = signed
            .template
            .render(&context, &mut |piece| hash.update(piece));
        made.ok().map(|()| hash.finalize().into())
    }
}

/// Finds the block that decides, and what it decides.
pub(crate) fn verify<'v>(
    verifier: &'v Verifier,
    view: &View<'_>,
    now_unix_ms: i64,
) -> Result<Proof<'v>, Reason> {
    verify_as(verifier, view, now_unix_ms, None)
}

/// The same as if the request had been sent to `url`, to find out where it was sent to.
pub(crate) fn verify_as<'v>(
    verifier: &'v Verifier,
    view: &View<'_>,
    now_unix_ms: i64,
    url: Option<&str>,
) -> Result<Proof<'v>, Reason> {
    if verifier.scheme.blocks.is_empty() {
        return Err(Reason::NoScheme);
    }
    let secrets = verifier.secrets();
    for (index, block) in verifier.scheme.blocks.iter().enumerate() {
        if !condition::all_hold(&block.when, view) {
            continue;
        }
        if matches!(block.algorithm, Choice::Fixed(Algorithm::None)) {
            return Ok(Proof {
                key_index: 0,
                key: None,
                signed: None,
            });
        }
        let check = Check {
            verifier,
            block,
            secrets: secrets.of_block(index),
            view,
            url,
        };
        if let Some(items) = block.items {
            return check.items(&items(view.request.body)?, now_unix_ms);
        }
        let Some(signatures) = signatures(block, view)? else {
            continue;
        };
        return check.run(&signatures, now_unix_ms);
    }
    Err(Reason::MissingSignature)
}

/// The time that a request says it was signed at, in milliseconds.
pub(crate) fn signed_time(verifier: &Verifier, view: &View<'_>) -> Option<i64> {
    let mut blocks = verifier.scheme.blocks.iter();
    let block = blocks.find(|block| condition::all_hold(&block.when, view))?;
    let check = Check {
        verifier,
        block,
        secrets: &[],
        view,
        url: None,
    };
    check.time().ok().flatten().map(|(_, unix_ms)| unix_ms)
}

/// The decoded signatures; `None` if there is no place with any.
fn signatures<'r>(block: &Block, view: &View<'r>) -> Result<Option<Values<'r>>, Reason> {
    if let Some(all) = &block.all_items {
        return item_credentials(all, view);
    }
    let mut found = None;
    for pipeline in &block.signatures {
        if let Some(values) = pipeline.decoded(view)? {
            found = Some(values);
            break;
        }
    }
    for pipeline in &block.signatures_any {
        if let Some(values) = pipeline.decoded(view)? {
            found.get_or_insert_with(Vec::new).extend(values);
        }
    }
    match found {
        Some(values) if values.len() > VALUES_MAX * 4 => Err(Reason::TooManySignatures),
        other => Ok(other),
    }
}

/// The credential of a batch, if each of its items carries the same.
fn item_credentials<'r>(all: &AllItems, view: &View<'r>) -> Result<Option<Values<'r>>, Reason> {
    const ITEMS_MAX: usize = 10_000;
    let items = json::items(view.request.body, &all.batch, ITEMS_MAX + 1).unwrap_or_default();
    if items.len() > ITEMS_MAX {
        return Err(Reason::BadBody);
    }
    let mut found: Option<Vec<u8>> = None;
    for item in &items {
        let credential = json::scalar(item.as_bytes(), &all.field);
        let credential = credential.ok_or(Reason::MissingSignature)?.into_owned();
        let first = found.get_or_insert_with(|| credential.clone());
        if !tag::same(first, &credential) {
            return Err(Reason::NoMatch);
        }
    }
    Ok(found.map(|credential| vec![Cow::Owned(credential)]))
}

/// The algorithm for this request: the block's, or the one the message names.
pub(crate) fn algorithm(block: &Block, view: &View<'_>) -> Result<Algorithm, Reason> {
    let (from, names, default) = match &block.algorithm {
        Choice::Fixed(algorithm) => return Ok(*algorithm),
        // which of them it is says the token, and only for itself
        Choice::Token(_) => return Err(Reason::UnknownAlgorithm),
        Choice::Named {
            from,
            names,
            default,
        } => (from, names, default),
    };
    let values = pipeline::first(from, view)?.map(|(_, values)| values);
    let values = values.unwrap_or_default();
    if values.is_empty() {
        return default.ok_or(Reason::UnknownAlgorithm);
    }
    let name = the_one(&values).ok_or(Reason::UnknownAlgorithm)?;
    names
        .iter()
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
        .map(|(_, algorithm)| *algorithm)
        .ok_or(Reason::UnknownAlgorithm)
}

/// What may have been signed: alternatives.
pub(crate) fn templates<'b>(block: &'b Block, view: &View<'_>) -> &'b [Template] {
    block
        .signed_if
        .iter()
        .find(|(when, _)| condition::all_hold(when, view))
        .map_or(&block.signed, |(_, templates)| templates)
}

/// One block at work on one request.
struct Check<'v, 'c, 'r> {
    verifier: &'v Verifier,
    block: &'v Block,
    secrets: &'c [Arc<Key>],
    view: &'c View<'r>,
    /// Where it was sent to, if that is not to be found out.
    url: Option<&'c str>,
}

impl<'v> Check<'v, '_, '_> {
    fn run(&self, signatures: &Values<'_>, now_unix_ms: i64) -> Result<Proof<'v>, Reason> {
        if signatures.is_empty() {
            return Err(Reason::BadEncoding);
        }
        if !condition::all_hold(&self.block.require, self.view) {
            return Err(Reason::Condition);
        }
        if let Choice::Token(rules) = &self.block.algorithm {
            return self.token(rules, signatures, now_unix_ms);
        }
        let algorithm = algorithm(self.block, self.view)?;
        let keys = self.keys(now_unix_ms)?;
        let time = self.time()?;
        let proof = match algorithm {
            Algorithm::Equal => self.credential(signatures, now_unix_ms),
            _ => self.signature(
                algorithm,
                &keys,
                signatures,
                time.as_ref().map(|(text, _)| &**text),
                now_unix_ms,
            ),
        }?;
        if let Some((_, unix_ms)) = time {
            self.tolerance().judge(unix_ms, now_unix_ms)?;
        }
        if let Some(hash) = &self.block.body_hash {
            self.body_hash(hash)?;
        }
        Ok(proof)
    }

    fn tolerance(&self) -> Tolerance {
        self.verifier
            .tolerance
            .or(self.block.tolerance)
            .unwrap_or(Tolerance::DEFAULT)
    }

    /// The time as written and in milliseconds.
    fn time(&self) -> Result<Option<(Vec<u8>, i64)>, Reason> {
        if self.block.time.is_empty() {
            return Ok(None);
        }
        let found = pipeline::first(&self.block.time, self.view)?;
        let (pipeline, values) = found.ok_or(Reason::MissingTimestamp)?;
        let text = the_one(&values).ok_or(Reason::BadTimestamp)?;
        let End::Time(clock) = pipeline.end else {
            return Err(Reason::BadTimestamp);
        };
        let unix_ms = clock.read(text).ok_or(Reason::BadTimestamp)?;
        Ok(Some((text.to_vec(), unix_ms)))
    }

    fn id(&self) -> Result<Option<Vec<u8>>, Reason> {
        if !self.block.uses_id() {
            return Ok(None);
        }
        let found = pipeline::first(&self.block.id, self.view)?;
        let (_, values) = found.ok_or(Reason::MissingId)?;
        let id = the_one(&values).filter(|id| !id.is_empty());
        Ok(Some(id.ok_or(Reason::MissingId)?.to_vec()))
    }

    fn credential(&self, given: &Values<'_>, now_unix_ms: i64) -> Result<Proof<'v>, Reason> {
        // Every key and every value is looked at: the time tells nothing.
        let (mut matched, mut not_valid) = (None, false);
        for (key_index, key) in self.secrets.iter().enumerate() {
            let Some(Ready::Token(expected)) = key.ready(Algorithm::Equal) else {
                continue;
            };
            for value in given {
                if !expected.is_of(value) {
                    continue;
                }
                if key.is_valid(now_unix_ms) {
                    matched = matched.or(Some((key_index, key)));
                } else {
                    not_valid = true;
                }
            }
        }
        let (key_index, key) = matched.ok_or(no_match(not_valid))?;
        Ok(Proof {
            key_index,
            key: Some(key.clone()),
            signed: None,
        })
    }

    fn signature(
        &self,
        algorithm: Algorithm,
        keys: &[Arc<Key>],
        signatures: &Values<'_>,
        time: Option<&[u8]>,
        now_unix_ms: i64,
    ) -> Result<Proof<'v>, Reason> {
        let id = self.id()?;
        let asks = &self.verifier.scheme.asks;
        let named = Named::of(&self.block.key_name, self.view, self.verifier.key_ids())?;
        let mut not_valid = false;
        for template in templates(self.block, self.view) {
            for url in self.urls(template) {
                for (key_index, key) in keys.iter().enumerate() {
                    if !named.may_sign(key_index) {
                        continue;
                    }
                    let context = Context {
                        view: self.view,
                        url: &url,
                        time,
                        id: id.as_deref(),
                        secret: Some(key.bytes.expose_secret()),
                    };
                    if !made_by(key, algorithm, template, &context, signatures)? {
                        continue;
                    }
                    if !asks.is_empty() && self.verifier.scheme.is_asked(&template.bytes(&context)?)
                    {
                        return Err(Reason::Condition);
                    }
                    if key.is_valid(now_unix_ms) {
                        return Ok(Proof {
                            key_index,
                            key: Some(key.clone()),
                            signed: Some(Signed {
                                template,
                                url,
                                time: time.map(<[u8]>::to_vec),
                                id,
                            }),
                        });
                    }
                    not_valid = true;
                }
            }
        }
        Err(no_match(not_valid))
    }

    fn urls(&self, template: &Template) -> Vec<String> {
        if !template.uses_url() {
            return vec![String::new()];
        }
        let url = match self.url {
            Some(url) => url.to_owned(),
            None => url::of(&self.view.request, self.verifier.public_url.as_ref()),
        };
        let credentials = match self.block.variants {
            Some(_) => Locator::Basic.read(self.view).ok().flatten(),
            None => None,
        };
        let credentials = credentials.unwrap_or_default().into_iter().next();
        let credentials = credentials.and_then(|text| String::from_utf8(text.into_owned()).ok());
        url::spellings(&url, self.block.variants, credentials.as_deref())
    }

    fn body_hash(&self, hash: &BodyHash) -> Result<(), Reason> {
        let body = self.view.request.body;
        let Some(values) = hash.from.decoded(self.view)? else {
            let unless_form = hash.required_unless_form && !body.is_empty() && !self.view.is_form();
            return match hash.required || unless_form {
                true => Err(Reason::BodyHashMissing),
                false => Ok(()),
            };
        };
        let given = the_one(&values).ok_or(Reason::BodyHash)?;
        match Tag::sha256(body).is(given) {
            true => Ok(()),
            false => Err(Reason::BodyHash),
        }
    }
}

/// No key made it, or only keys that are not valid at the time.
fn no_match(not_valid: bool) -> Reason {
    match not_valid {
        true => Reason::SecretNotValid,
        false => Reason::NoMatch,
    }
}

/// Whether `key` made one of the signatures over this rendering.
fn made_by(
    key: &Key,
    algorithm: Algorithm,
    template: &Template,
    context: &Context<'_, '_>,
    signatures: &Values<'_>,
) -> Result<bool, Reason> {
    match key.ready(algorithm) {
        Some(Ready::Mac(start)) => {
            let mut mac = Mac::clone(start);
            template.render(context, &mut |piece| mac.update(piece))?;
            Ok(mac.matches_one_of(signatures))
        }
        Some(Ready::Public { key }) => {
            let message = template.bytes(context)?;
            Ok(signatures
                .iter()
                .any(|signature| key.verify(&message, signature).is_ok()))
        }
        Some(Ready::Token(_)) => Err(Reason::UnknownAlgorithm),
        // it is made for another of the algorithms
        None => Ok(false),
    }
}

/// The value, if there is one and no other.
fn the_one<'a>(values: &'a Values<'_>) -> Option<&'a [u8]> {
    let (first, others) = values.split_first()?;
    others
        .iter()
        .all(|other| other == first)
        .then_some(&**first)
}
