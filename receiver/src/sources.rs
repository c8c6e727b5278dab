//! The configured sources, each with its verifier and limits, ready for requests.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use creel_common::config::{self, Config, Problems};
use creel_common::log::SecretUse;
use creel_common::log::wire::{SecretView, SourceDoc, SourceView};
use creel_common::schemas::Schemas;
use creel_common::secret::{Secret, Window};
use creel_common::time::Timestamp;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::ingest::NO_SOURCE;
use crate::limits::{Account, Accounts, Terms};
use crate::metrics::{Metrics, SourceMetrics};
use crate::source_doc;
use crate::uses::{Tallies, Tally};
use crate::verify::{
    self, Ack, Around, Diagnosis, Keyring, PrepareError, Registry, SecretError, SourceKey,
    SourceKeys, Verifier,
};

/// Largest body where neither the pack nor the source says otherwise: 1 MiB.
pub const BODY_BYTES_MAX: u64 = 1 << 20;

/// Headers that are credentials whatever the pack says: stored as digests only.
const CREDENTIALS: [HeaderName; 3] = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE];

/// One source, ready.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its place among the sources, for what is kept per source.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Judges its requests.
    pub verifier: Verifier,
    /// Methods as a header value, for 405.
    pub allow: HeaderValue,
    /// Largest body in bytes.
    pub body_bytes_max: u64,
    /// Media types that are taken; any if there are none.
    pub content_types: Vec<String>,
    /// What a durable delivery is answered with; without one, creel's own JSON.
    pub ack: Option<Ack>,
    /// What its sender has to be told.
    pub doc: SourceDoc,
    /// Repeats are recognised at all.
    pub dedupes: bool,
    /// Headers that are stored as digests only.
    pub credentials: Vec<HeaderName>,
    /// On what terms its requests are let in.
    pub terms: Terms,
    /// What it has under way and has used up.
    pub account: Arc<Account>,
    /// Its counters.
    pub metrics: SourceMetrics,
    /// Its secrets by name, in the order of the verifier's keys.
    pub secrets: Vec<KnownSecret>,
    view: SourceView,
}

/// One of a source's secrets, without the secret.
#[derive(Debug, Clone)]
pub struct KnownSecret {
    /// Its id.
    pub id: String,
    /// When it is valid.
    pub window: Window,
    /// How often it verified.
    pub tally: Arc<Tally>,
}

/// All sources by name.
#[derive(Debug, Clone)]
pub struct Sources {
    by_name: HashMap<String, Arc<Source>>,
    in_order: Vec<Arc<Source>>,
    twins: Vec<Twin>,
    /// On what terms requests are let in where there is no source that they are like.
    pub terms: Terms,
    /// What all requests to sources that do not exist have under way.
    pub strangers: Arc<Account>,
    dice: RandomState,
    schemas: Schemas,
}

/// Stands in for a source that does not exist, so that guessing names tells nothing: it has the
/// methods, limits and scheme of a configured source, and a secret that nobody has.
#[derive(Debug, Clone)]
pub struct Twin {
    /// The source it is like.
    pub of: Option<Arc<Source>>,
    /// Refuses everything, in that source's time.
    pub verifier: Verifier,
}

/// What all sources of a receiver share.
#[derive(Clone, Copy)]
pub struct Common<'c> {
    /// The packs.
    pub registry: &'c Registry,
    /// Their counters.
    pub metrics: &'c Metrics,
    /// How often their secrets have verified.
    pub tallies: &'c Tallies,
    /// What they have under way and have used up.
    pub accounts: &'c Accounts,
    /// Keys by URL.
    pub keyring: &'c Arc<Keyring>,
    /// Secrets that senders named, by source.
    pub learned: &'c BTreeMap<String, SourceKey>,
}

impl Sources {
    /// Joins each source with its pack and its secrets (from
    /// [`Config::resolve_source_secrets`]). A source without an entry there is left out.
    ///
    /// # Errors
    /// Every problem of every source, each with its line.
    pub fn prepare(
        config: &Config,
        mut secrets: BTreeMap<String, Vec<Secret>>,
        common: &Common<'_>,
    ) -> Result<Self, Problems> {
        let mut in_order = Vec::new();
        let mut problems: Option<Problems> = None;
        for (number, (name, source)) in config.sources.iter().enumerate() {
            let Some(secrets) = secrets.remove(name) else {
                continue;
            };
            match Source::prepare(number, source, &secrets, config, common) {
                Ok(source) => in_order.push(Arc::new(source.recalling(common))),
                Err((field, message)) => {
                    let path = format!("sources.{name}.{field}");
                    let problem = config.origin.error(path, message);
                    match &mut problems {
                        Some(problems) => problems.merge(problem),
                        None => problems = Some(problem),
                    }
                }
            }
        }
        if let Some(problems) = problems {
            return Err(problems);
        }
        let by_name = in_order
            .iter()
            .map(|source| (source.name.clone(), source.clone()))
            .collect();
        Ok(Self {
            by_name,
            twins: twins(config, &in_order, common.registry),
            terms: Terms::of_all(&config.receiver),
            strangers: common.accounts.of(NO_SOURCE),
            in_order,
            dice: RandomState::new(),
            schemas: Schemas::default(),
        })
    }

    /// The same sources, whose bodies must match these.
    pub fn with_schemas(self, schemas: Schemas) -> Self {
        Self { schemas, ..self }
    }

    /// What bodies must match.
    pub fn schemas(&self) -> &Schemas {
        &self.schemas
    }

    /// A source by name.
    pub fn get(&self, name: &str) -> Option<&Arc<Source>> {
        self.by_name.get(name)
    }

    /// The same with another in the place of the one of its name.
    pub fn with(&self, source: Source) -> Self {
        let source = Arc::new(source);
        let mut sources = self.clone();
        for place in sources.in_order.iter_mut() {
            if place.name == source.name {
                *place = source.clone();
            }
        }
        sources.by_name.insert(source.name.clone(), source);
        sources
    }

    /// How often the secrets of all of them have verified.
    pub fn uses(&self, now: Timestamp) -> Vec<SecretUse> {
        let sources = self.in_order.iter();
        sources.flat_map(|source| source.uses(now)).collect()
    }

    /// All sources in order of their names.
    pub fn all(&self) -> &[Arc<Source>] {
        &self.in_order
    }

    /// What is the matter with a request of `source` that arrived then.
    pub fn diagnose(
        &self,
        source: &Source,
        request: &verify::Request<'_>,
        arrived_at: Timestamp,
    ) -> Diagnosis {
        let others = self.in_order.iter();
        let others = others.filter(|other| other.name != source.name);
        let others: Vec<_> = others
            .map(|other| (other.name.as_str(), &other.verifier))
            .collect();
        let around = Around {
            source: &source.name,
            others: &others,
            arrived_unix_ms: i64::try_from(arrived_at.millis()).unwrap_or(i64::MAX),
        };
        verify::diagnose(&source.verifier, request, &around)
    }

    /// What stands in for a source that does not exist; always the same for the same name.
    pub fn twin(&self, name: &str) -> &Twin {
        let twins = self.twins.len() as u64;
        let chosen = self.dice.hash_one(name) % twins;
        &self.twins[usize::try_from(chosen).unwrap_or(0)]
    }
}

impl Source {
    fn prepare(
        number: usize,
        source: &config::Source,
        secrets: &[Secret],
        config: &Config,
        common: &Common<'_>,
    ) -> Result<Self, (String, String)> {
        let name = &source.name;
        let Some(pack) = common.registry.get(&source.provider) else {
            let message = unknown_provider(&source.provider, common.registry);
            return Err(("provider".into(), message));
        };
        let keys = SourceKeys {
            secrets: keys(source, secrets),
            public_url: config.url_of(source),
            options: source.options.clone(),
            tolerance: source.tolerance,
            idempotency_key: source.idempotency_key.clone(),
            keyring: common.keyring.clone(),
        };
        let doc = source_doc::of(config, source, pack)
            .map_err(|error| ("options".to_owned(), error.to_string()))?;
        let verifier = pack
            .prepare(&keys)
            .map_err(|error| (field(&error), error.to_string()))?;
        let body_bytes_max = source
            .body_max
            .or(pack.facts().body_max)
            .unwrap_or(BODY_BYTES_MAX);
        let account = common.accounts.of(name);
        let credentials = CREDENTIALS
            .into_iter()
            .chain(verifier.secret_headers().iter().cloned())
            .collect();
        Ok(Self {
            number,
            name: name.clone(),
            allow: allow(verifier.methods()),
            body_bytes_max,
            content_types: source.content_types.clone(),
            ack: source_doc::ack(source, pack),
            dedupes: source.dedupe_window > Duration::ZERO,
            credentials,
            terms: Terms::new(&config.receiver, source, &account, &pack.facts().retry),
            account,
            metrics: common.metrics.source(name),
            secrets: known_secrets(source, common.tallies),
            view: view(source, &verifier, &doc, body_bytes_max),
            doc,
            verifier,
        })
    }

    /// With what its sender has named in an earlier run, unless the configuration gives it a secret.
    fn recalling(self, common: &Common<'_>) -> Self {
        let learned = common.learned.get(&self.name);
        let learned = learned.filter(|_| self.secrets.is_empty() && self.verifier.learns());
        let Some(secret) = learned else { return self };
        match self.with_secret(secret, common.tallies) {
            Ok(source) => source,
            Err(problem) => {
                let (source, id) = (&self.name, &secret.id);
                tracing::error!(source, id, %problem, "the secret that the sender named is of no use");
                self
            }
        }
    }

    /// The same with one more secret, behind the others.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn with_secret(&self, secret: &SourceKey, tallies: &Tallies) -> Result<Self, SecretError> {
        let verifier = self.verifier.with(secret)?;
        let mut source = Self {
            verifier,
            ..self.clone()
        };
        source.secrets.push(KnownSecret {
            id: secret.id.clone(),
            window: secret.window,
            tally: tallies.of(&self.name, &secret.id),
        });
        Ok(source)
    }

    /// Whether a body with these headers is of a type that is taken. Contradicting types are none.
    pub fn takes(&self, headers: &HeaderMap) -> bool {
        if self.content_types.is_empty() {
            return true;
        }
        let mut given = headers.get_all(CONTENT_TYPE).iter();
        let (Some(given), None) = (given.next(), given.next()) else {
            return false;
        };
        let given = given.to_str().unwrap_or_default();
        let given = given.split(';').next().unwrap_or_default().trim();
        let mut types = self.content_types.iter();
        types.any(|taken| given.eq_ignore_ascii_case(taken))
    }

    /// One of its secrets, by its place, has verified what arrived at that time.
    pub fn used(&self, key_index: usize, at: Timestamp) {
        if let Some(secret) = self.secrets.get(key_index) {
            secret.tally.note(at);
        }
    }

    /// How often its secrets have verified.
    pub fn uses(&self, now: Timestamp) -> impl Iterator<Item = SecretUse> {
        let secrets = self.secrets.iter();
        secrets.map(move |secret| secret.tally.read(&self.name, &secret.id, now))
    }

    /// How it is shown to people.
    pub fn view(&self, now: Timestamp) -> SourceView {
        let secrets = self.secrets.iter().zip(self.uses(now));
        let keys: Vec<SecretView> = secrets
            .map(|(secret, used)| SecretView {
                id: used.secret,
                state: secret.window.at(now).into(),
                not_before: secret.window.not_before,
                not_after: secret.window.not_after,
                used: used.count,
                last_used: used.last,
                counted_since: used.since,
            })
            .collect();
        SourceView {
            secrets: u32::try_from(self.valid_secrets(now)).unwrap_or(u32::MAX),
            keys,
            ..self.view.clone()
        }
    }

    /// How many of its secrets are valid.
    pub fn valid_secrets(&self, now: Timestamp) -> usize {
        let secrets = self.secrets.iter();
        secrets.filter(|secret| secret.window.holds(now)).count()
    }
}

fn known_secrets(source: &config::Source, tallies: &Tallies) -> Vec<KnownSecret> {
    let known = source.secrets.iter().map(|secret| KnownSecret {
        id: secret.id.clone(),
        window: secret.window,
        tally: tallies.of(&source.name, &secret.id),
    });
    known.collect()
}

fn view(
    source: &config::Source,
    verifier: &Verifier,
    doc: &SourceDoc,
    body_bytes_max: u64,
) -> SourceView {
    let facts = verifier.pack().facts();
    SourceView {
        name: source.name.clone(),
        provider: source.provider.clone(),
        url: doc.url.clone(),
        path: doc.path.clone(),
        methods: verifier.methods().iter().map(Method::to_string).collect(),
        secrets: 0,
        keys: Vec::new(),
        body_bytes_max,
        content_types: source.content_types.clone(),
        body_authenticated: facts.body_authenticated,
        dedupe_window_ms: u64::try_from(source.dedupe_window.as_millis()).unwrap_or(u64::MAX),
        docs: facts.docs.clone(),
    }
}

/// Each secret under its id.
fn keys(source: &config::Source, secrets: &[Secret]) -> Vec<SourceKey> {
    let named = source.secrets.iter().zip(secrets);
    named
        .map(|(key, secret)| SourceKey::new(&key.id, secret.expose()).within(key.window))
        .collect()
}

/// Which setting of the source it is about.
fn field(error: &PrepareError) -> String {
    match error {
        PrepareError::NoSecret { .. }
        | PrepareError::SecretUnused { .. }
        | PrepareError::SecretFetched { .. }
        | PrepareError::TooManySecrets => "secrets".into(),
        PrepareError::Secret { index, .. } => format!("secrets[{index}]"),
        PrepareError::Option(_) => "options".into(),
        PrepareError::PublicUrl(_) => "public_url".into(),
        PrepareError::ToleranceUnused { .. } | PrepareError::Tolerance => "tolerance".into(),
        PrepareError::IdempotencyKey(_) => "dedupe.key".into(),
    }
}

fn unknown_provider(name: &str, registry: &Registry) -> String {
    match registry.did_you_mean(name) {
        Some(near) => format!("unknown provider `{name}`; did you mean `{near}`?"),
        None => {
            let names: Vec<&str> = registry.names().collect();
            format!("unknown provider `{name}`; there are {}", names.join(", "))
        }
    }
}

fn allow(methods: &[Method]) -> HeaderValue {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static("POST"))
}

/// At least one.
fn twins(config: &Config, sources: &[Arc<Source>], registry: &Registry) -> Vec<Twin> {
    let of_source = |source: &Arc<Source>| {
        let configured = config.sources.get(&source.name)?;
        // nothing stands in for what lets everybody in
        let secret = !configured.secrets.is_empty();
        let pack = registry.get(&configured.provider).filter(|_| secret)?;
        let verifier = random_secrets().into_iter().find_map(|secret| {
            pack.prepare(&SourceKeys {
                secrets: vec![SourceKey::new("twin", secret)],
                options: configured.options.clone(),
                tolerance: configured.tolerance,
                ..SourceKeys::default()
            })
            .ok()
        })?;
        Some(Twin {
            of: Some(source.clone()),
            verifier,
        })
    };
    let mut twins: Vec<Twin> = sources.iter().filter_map(of_source).collect();
    if twins.is_empty() {
        twins.push(Twin {
            of: None,
            verifier: decoy(registry),
        });
    }
    twins
}

/// A secret that nobody has, as the packs want it: text, base64 with its prefix, user and password.
fn random_secrets() -> [String; 3] {
    let bits = rand::random::<[u8; 32]>();
    let text = hex::encode(bits);
    let coded = base64::engine::general_purpose::STANDARD.encode(bits);
    [format!("whsec_{coded}"), format!("{text}:{text}"), text]
}

/// Where no configured source has a secret.
fn decoy(registry: &Registry) -> Verifier {
    let secret = hex::encode(rand::random::<[u8; 32]>());
    let keys = SourceKeys {
        secrets: vec![SourceKey::new("decoy", secret)],
        ..SourceKeys::default()
    };
    let pack = registry.get("github").expect("the pack is compiled in");
    pack.prepare(&keys)
        .expect("a random secret of 64 digits is one that github's pack takes")
}
