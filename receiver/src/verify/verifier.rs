//! A source's verifier: a pack with the source's keys, ready to judge requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use secrecy::ExposeSecret;

use super::algorithm::Algorithm;
use super::check;
use super::clock::Tolerance;
use super::condition;
use super::event::{self, Idempotency, IdempotencyKey, Item};
use super::handshake::{self, Reply};
use super::key::{Key, KeyFormat, SecretError, SourceKey};
use super::keyring::{KeyKind, Keyring};
use super::pack::{OptionError, Pack};
use super::pipeline::{Locator, Pipeline, Role};
use super::reason::Reason;
use super::request::{Request, View};
use super::scheme::{Auth, EffectKind, Remote, Scheme};
use super::template::Context;
use super::url::PublicUrl;

/// As many as a configuration may name: those of a sender's sub-accounts, and each while it is rotated.
const SECRETS_MAX: usize = 32;
/// A longer tolerance than this makes replay protection void.
const TOLERANCE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a source brings to its pack.
#[derive(Debug, Clone, Default)]
pub struct SourceKeys {
    /// Any that is valid when a request arrives may have signed it.
    pub secrets: Vec<SourceKey>,
    /// An origin (`https://hooks.example.com`), to which path and query of the
    /// request are added, or the full URL as entered at the sender, whose path
    /// wins. Matters only to packs that sign the URL.
    pub public_url: Option<String>,
    /// The source's `options` table.
    pub options: BTreeMap<String, String>,
    /// Instead of the pack's tolerance, both ways.
    pub tolerance: Option<Duration>,
    /// A pipeline that names the idempotency key, instead of the pack's.
    pub idempotency_key: Option<String>,
    /// Keys that come by URL; without one there are none.
    pub keyring: Arc<Keyring>,
}

/// A source that cannot be verified as configured. Shows no secret.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("provider `{provider}` needs a secret{}", hint(.secret))]
    NoSecret {
        provider: String,
        secret: Option<String>,
    },
    #[error("provider `{provider}` checks nothing and takes no secret")]
    SecretUnused { provider: String },
    #[error("provider `{provider}` is checked with keys that creel fetches, and takes no secret")]
    SecretFetched { provider: String },
    #[error("more than {SECRETS_MAX} secrets")]
    TooManySecrets,
    #[error("secret {index} {problem}")]
    Secret { index: usize, problem: SecretError },
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("public_url: {0}")]
    PublicUrl(String),
    #[error("provider `{provider}` signs no time, so a tolerance would do nothing")]
    ToleranceUnused { provider: String },
    #[error("a tolerance is from 1 second to 7 days")]
    Tolerance,
    #[error("idempotency key: {0}")]
    IdempotencyKey(String),
}

fn hint(secret: &Option<String>) -> String {
    secret
        .as_ref()
        .map(|s| format!(": {s}"))
        .unwrap_or_default()
}

/// What a request turned out to be.
#[derive(Debug)]
pub enum Verdict {
    Verified(Accepted),
    /// A registration handshake: answer this, store nothing.
    Handshake(Reply),
    Refused(Reason),
}

/// A request that one of the keys vouches for.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Which of the source's secrets it was, from 0; 0 where there is none.
    pub key_index: usize,
    /// At most 1 KiB; as the sender wrote it.
    pub event_id: Option<String>,
    pub event_type: Option<String>,
    pub idempotency: Option<Idempotency>,
    /// Whether the signature says anything about the body.
    pub body_authenticated: bool,
    /// Headers that the sender wants to see in the answer.
    pub ack_headers: Vec<(HeaderName, HeaderValue)>,
}

/// The secrets of a source, each ready for every block of the scheme.
#[derive(Clone)]
pub(crate) struct Secrets {
    by_block: Vec<Vec<Arc<Key>>>,
    ids: Vec<String>,
}

impl Secrets {
    /// In the source's order.
    pub fn of_block(&self, index: usize) -> &[Arc<Key>] {
        self.by_block.get(index).map_or(&[], Vec::as_slice)
    }
}

/// Judges the requests of one source.
#[derive(Clone)]
pub struct Verifier {
    pub(crate) pack: Arc<Pack>,
    pub(crate) scheme: Arc<Scheme>,
    secrets: Arc<Secrets>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) public_url: Option<PublicUrl>,
    pub(crate) tolerance: Option<Tolerance>,
    methods: Vec<Method>,
    idempotency_key: Option<Pipeline>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("pack", &self.pack.name())
            .field("key_ids", &self.key_ids())
            .finish_non_exhaustive()
    }
}

impl Pack {
    /// Makes a verifier for one source.
    ///
    /// # Errors
    /// [`PrepareError`]: a secret that is missing, empty, blank, all zero or not
    /// in the pack's format; unknown or unfit options; a tolerance or a public
    /// URL that cannot be.
    pub fn prepare(self: &Arc<Self>, source: &SourceKeys) -> Result<Verifier, PrepareError> {
        let scheme = self.scheme_with(&source.options)?;
        let public_url = source.public_url.as_deref().map(PublicUrl::parse);
        let verifier = Verifier {
            secrets: Arc::new(secrets(self, &scheme, source)?),
            keyring: source.keyring.clone(),
            public_url: public_url.transpose().map_err(PrepareError::PublicUrl)?,
            tolerance: tolerance(self, &scheme, source.tolerance)?,
            methods: methods(&scheme),
            idempotency_key: idempotency_key(source)?,
            pack: self.clone(),
            scheme,
        };
        verifier.expect_keys();
        Ok(verifier)
    }
}

fn secrets(pack: &Pack, scheme: &Scheme, source: &SourceKeys) -> Result<Secrets, PrepareError> {
    let provider = || pack.name().to_owned();
    if source.secrets.len() > SECRETS_MAX {
        return Err(PrepareError::TooManySecrets);
    }
    let needed = scheme.blocks.iter().any(|block| block.needs_key())
        || scheme
            .handshakes
            .iter()
            .any(|h| matches!(h.auth, Auth::Token(_)));
    let required = needed && !scheme.learns() && pack.facts().secret_required;
    if required && source.secrets.is_empty() {
        return Err(PrepareError::NoSecret {
            provider: provider(),
            secret: pack.facts().secret.clone(),
        });
    }
    let sets = scheme
        .blocks
        .iter()
        .any(|block| matches!(block.remote, Some(Remote::KeySet(_))));
    let fetched = scheme.blocks.iter().any(|block| block.remote.is_some());
    if fetched && !sets && !needed && !source.secrets.is_empty() {
        return Err(PrepareError::SecretFetched {
            provider: provider(),
        });
    }
    if !needed && !fetched && scheme.handshakes.is_empty() && !source.secrets.is_empty() {
        return Err(PrepareError::SecretUnused {
            provider: provider(),
        });
    }
    let mut secrets = Secrets {
        by_block: vec![Vec::new(); scheme.formats().len()],
        ids: Vec::new(),
    };
    for (index, secret) in source.secrets.iter().enumerate() {
        secrets
            .add(scheme, secret)
            .map_err(|problem| PrepareError::Secret { index, problem })?;
    }
    Ok(secrets)
}

impl Secrets {
    fn add(&mut self, scheme: &Scheme, secret: &SourceKey) -> Result<(), SecretError> {
        let keys = scheme.formats().into_iter().map(|(format, algorithms)| {
            let key = Key::new(&format, &algorithms, secret)?;
            user_password(scheme, key).map(Arc::new)
        });
        let keys: Vec<Arc<Key>> = keys.collect::<Result<_, _>>()?;
        for (block, key) in self.by_block.iter_mut().zip(keys) {
            block.push(key);
        }
        self.ids.push(secret.id.clone());
        Ok(())
    }
}

impl Scheme {
    /// For each block what a secret has to be; a pack without verification can still have handshakes
    /// with a key.
    fn formats(&self) -> Vec<(KeyFormat, Vec<Algorithm>)> {
        if self.blocks.is_empty() {
            return vec![(KeyFormat::utf8(), Vec::new())];
        }
        let blocks = self.blocks.iter();
        blocks
            .map(|block| (block.key.clone(), block.algorithm.all()))
            .collect()
    }

    /// Whether the sender names the secret itself.
    fn learns(&self) -> bool {
        let effects = self.handshakes.iter().filter_map(|h| h.effect.as_ref());
        effects
            .into_iter()
            .any(|effect| effect.kind == EffectKind::StoreSecret)
    }
}

/// The secret of a `basic` scheme has two parts.
fn user_password(scheme: &Scheme, key: Key) -> Result<Key, SecretError> {
    let basic = scheme
        .blocks
        .iter()
        .flat_map(|block| &block.signatures)
        .any(|pipeline| matches!(pipeline.locator, Locator::Basic));
    let bytes = key.bytes.expose_secret();
    let colon = bytes.iter().position(|byte| *byte == b':');
    let password = colon.map(|at| &bytes[at + 1..]);
    if basic && password.is_none_or(|password| password.trim_ascii().is_empty()) {
        return Err(SecretError::NotUserPassword);
    }
    Ok(key)
}

fn tolerance(
    pack: &Pack,
    scheme: &Scheme,
    given: Option<Duration>,
) -> Result<Option<Tolerance>, PrepareError> {
    let Some(limit) = given else { return Ok(None) };
    if !scheme.blocks.iter().any(|block| block.has_age()) {
        return Err(PrepareError::ToleranceUnused {
            provider: pack.name().to_owned(),
        });
    }
    if limit < Duration::from_secs(1) || limit > TOLERANCE_MAX {
        return Err(PrepareError::Tolerance);
    }
    Ok(Some(Tolerance::both(limit)))
}

fn idempotency_key(source: &SourceKeys) -> Result<Option<Pipeline>, PrepareError> {
    let Some(text) = &source.idempotency_key else {
        return Ok(None);
    };
    let options = source.options.iter();
    let params = options
        .map(|(name, value)| (name.clone(), Some(value.clone())))
        .collect();
    Pipeline::parse(text, Role::Text, &params)
        .map(Some)
        .map_err(PrepareError::IdempotencyKey)
}

pub(crate) fn methods(scheme: &Scheme) -> Vec<Method> {
    let mut methods = scheme.methods.clone();
    for handshake in &scheme.handshakes {
        for method in handshake.when.iter().filter_map(|c| c.method()) {
            if !methods.contains(method) {
                methods.push(method.clone());
            }
        }
    }
    methods
}

impl Verifier {
    /// Judges a request. Reads no clock: `now_unix_ms` is when it arrived.
    ///
    /// Never panics, whatever the bytes. The time it takes is bounded by the
    /// body's length times keys, alternatives and URL spellings (2 for most
    /// requests of a pack that has such, 32 at most).
    pub fn check(&self, request: &Request<'_>, now_unix_ms: i64) -> Verdict {
        let view = View::new(request);
        self.judge(&view, now_unix_ms)
            .unwrap_or_else(Verdict::Refused)
    }

    fn judge(&self, view: &View<'_>, now_unix_ms: i64) -> Result<Verdict, Reason> {
        let found = self
            .scheme
            .handshakes
            .iter()
            .find(|handshake| condition::all_hold(&handshake.when, view));
        if let Some(handshake) = found {
            return handshake::answer(self, handshake, view, now_unix_ms).map(Verdict::Handshake);
        }
        if !self.scheme.methods.contains(view.request.method) {
            return Err(Reason::Method);
        }
        let proof = check::verify(self, view, now_unix_ms)?;
        let event = &self.scheme.event;
        let event_id = event::id(event, view)?;
        let event_type = event::kind(event, view);
        let idempotency = match self.named_key(view)? {
            Some(key) => Some(Idempotency {
                key: IdempotencyKey::Id(key),
                event_type: event_type.clone(),
            }),
            None => event::idempotency(event, view, &event_id, &event_type, &proof),
        };
        Ok(Verdict::Verified(Accepted {
            key_index: proof.key_index,
            event_id,
            event_type,
            idempotency,
            body_authenticated: self.pack.facts().body_authenticated,
            ack_headers: self.ack_headers(view),
        }))
    }

    /// A header that cannot be made is left out: it is no reason to lose the delivery.
    fn ack_headers(&self, view: &View<'_>) -> Vec<(HeaderName, HeaderValue)> {
        let context = Context {
            view,
            url: "",
            time: None,
            id: None,
            secret: None,
        };
        let entries = self.scheme.ack_headers.iter();
        entries
            .filter_map(|entry| handshake::header(entry, &context).ok())
            .collect()
    }

    /// What a request says of its event, though nothing vouches for any of it: never a key.
    pub fn unverified(&self, request: &Request<'_>) -> Accepted {
        let view = View::new(request);
        let event = &self.scheme.event;
        Accepted {
            key_index: 0,
            event_id: event::id(event, &view).ok().flatten(),
            event_type: event::kind(event, &view),
            idempotency: None,
            body_authenticated: false,
            ack_headers: Vec::new(),
        }
    }

    /// The key that the source's own pipeline finds, if it has one.
    fn named_key(&self, view: &View<'_>) -> Result<Option<String>, Reason> {
        match &self.idempotency_key {
            Some(pipeline) => event::text(std::slice::from_ref(pipeline), view),
            None => Ok(None),
        }
    }

    /// The URL of a request, as its sender should know it.
    pub fn url(&self, request: &Request<'_>) -> String {
        super::url::of(request, self.public_url.as_ref())
    }

    pub fn pack(&self) -> &Arc<Pack> {
        &self.pack
    }

    /// The methods that senders use with this source, handshakes included.
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// The name of a key, for [`Accepted::key_index`].
    pub fn key_id(&self, key_index: usize) -> Option<&str> {
        self.key_ids().get(key_index).map(String::as_str)
    }

    /// The names of all its secrets, in the source's order.
    pub fn key_ids(&self) -> &[String] {
        &self.secrets.ids
    }

    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Whether its sender names the secret itself, in a handshake.
    pub fn learns(&self) -> bool {
        self.scheme.learns()
    }

    /// The same with one more secret, behind the others.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn with(&self, secret: &SourceKey) -> Result<Self, SecretError> {
        let mut secrets = Secrets::clone(&self.secrets);
        secrets.add(&self.scheme, secret)?;
        Ok(Self {
            secrets: Arc::new(secrets),
            ..self.clone()
        })
    }

    /// Has the keys fetched that the configuration names, so that they are there before they are needed.
    fn expect_keys(&self) {
        for (index, block) in self.scheme.blocks.iter().enumerate() {
            if let Some(Remote::KeySet(url)) = &block.remote
                && self.secrets.of_block(index).is_empty()
            {
                self.keyring.expect(url, KeyKind::KeySet);
            }
        }
    }

    /// Headers that carry credentials: to be stored as digests only.
    pub fn secret_headers(&self) -> &[HeaderName] {
        &self.scheme.secret_headers
    }

    /// A target or URL without its credentials: as digests, as it is stored.
    pub fn masked(&self, target: &str) -> String {
        super::mask::target(target, &self.scheme.secret_query)
    }

    /// What orders deliveries naturally (a Stripe object, a GitHub repository).
    /// Of a verified request only; reads the body, so call it where order matters.
    pub fn order_key(&self, request: &Request<'_>) -> Option<String> {
        event::text(&self.scheme.event.order_key, &View::new(request))
            .ok()
            .flatten()
    }

    /// The events of a request that carries several, at most 10,000.
    /// Of a verified request only. Empty if the pack knows no batches or this is none.
    pub fn items(&self, request: &Request<'_>) -> Vec<Item> {
        event::items(&self.scheme.event, request.body)
    }
}
