//! Both listeners over one log: prepared, opened, run, drained.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use creel_common::config::{self, Config, Problems, ResolvedToken};
use creel_common::engine::{Engine, EngineError};
use creel_common::ids::LogId;
use creel_common::log::local::{LocalLog, Surroundings};
use creel_common::log::{Intake, Operate, Record, Work};
use creel_common::schemas::Schemas;
use creel_common::secret::Secret;
use creel_common::time::Clock;
use tokio_util::sync::CancellationToken;

use crate::auth::Tokens;
use crate::current::Current;
use crate::doctor::Doctor;
use crate::facts::ReadFacts;
use crate::ingest::{Ingest, Public};
use crate::keys::Keys;
use crate::limits::{Accounts, Addresses, Budget, Seats};
use crate::metrics::Metrics;
use crate::private::{Api, Private};
use crate::quarantine::Quarantine;
use crate::quiet::Quiet;
use crate::reload::Reload;
use crate::server::{House, Limits, serve};
use crate::sources::{Common, Sources};
use crate::tls::{CurrentTls, MadeTls};
use crate::uses::{self, Tallies};
use crate::verify::Registry;

/// Most connections of the private listener: workers, operators, monitoring.
const PRIVATE_CONNECTIONS_MAX: usize = 1024;
/// Connections that the kernel holds for us while we are busy.
const BACKLOG: u32 = 4096;

/// What a receiver needs of its configuration, complete and checked: nothing is opened or bound
/// before this is there.
#[derive(Debug)]
pub struct Prepared {
    /// The sources with their verifiers.
    pub sources: Current<Sources>,
    /// How often their secrets have verified.
    pub tallies: Arc<Tallies>,
    /// What they have under way and have used up.
    pub accounts: Arc<Accounts>,
    /// The private listener's tokens.
    pub tokens: Tokens,
    /// What is fetched and learned while it runs.
    pub keys: Arc<Keys>,
    /// TLS of the public listener.
    pub public_tls: CurrentTls,
    /// TLS of the private listener.
    pub private_tls: CurrentTls,
    /// All counters; they observe the log, too.
    pub metrics: Arc<Metrics>,
    /// What should be known and prevents nothing.
    pub warnings: Vec<Problems>,
}

/// The log, seen from its three sides.
#[derive(Clone)]
pub struct LogParts {
    /// Its name.
    pub id: LogId,
    /// Takes deliveries in.
    pub intake: Arc<dyn Intake>,
    /// Lends them out.
    pub work: Arc<dyn Work>,
    /// Shows and changes them for people.
    pub operate: Arc<dyn Operate>,
    /// Records what people do beside it.
    pub record: Arc<dyn Record>,
    /// How it stands.
    pub facts: ReadFacts,
}

/// Sockets that are bound already: by [`Listeners::bind`], by `creel up`, by systemd.
#[derive(Debug)]
pub struct Listeners {
    /// Where senders connect.
    pub public: TcpListener,
    /// Where workers, operators and metrics connect.
    pub private: TcpListener,
}

/// An address that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub struct BindError {
    /// Which one.
    pub address: SocketAddr,
    /// Why not.
    pub error: io::Error,
}

/// A receiver, ready to run.
pub struct Receiver {
    /// Limits and names.
    pub config: config::Receiver,
    /// Sources, tokens, counters.
    pub prepared: Prepared,
    /// The log.
    pub log: LogParts,
    /// Where requests that fail verification go; its owner closes it.
    pub quarantine: Option<Arc<Quarantine>>,
    /// Bound sockets.
    pub listeners: Listeners,
    /// Wall and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// The program's version, for `/health` and metrics.
    pub version: String,
    /// Takes another configuration over while it runs.
    pub reload: Arc<Reload>,
    /// Told from outside when to stop.
    pub stop: CancellationToken,
}

impl Prepared {
    /// Resolves all secrets and makes all verifiers. Opens and binds nothing.
    ///
    /// # Errors
    /// Everything that keeps the receiver from starting, at once, each with its line.
    pub fn new(config: &Config, registry: &Registry, version: &str) -> Result<Self, Problems> {
        let metrics = Arc::new(Metrics::new(version));
        let tallies = Arc::new(Tallies::default());
        let keys = Arc::new(Keys::new(
            &config.receiver,
            metrics.clone(),
            tallies.clone(),
        ));
        let accounts = Arc::new(Accounts::default());
        let made = Made::of(config, registry, (&metrics, &accounts), &keys)?;
        Ok(Self {
            sources: Current::new(made.sources),
            tallies,
            accounts,
            tokens: Tokens::new(made.tokens),
            keys,
            public_tls: CurrentTls::new(made.tls.public),
            private_tls: CurrentTls::new(made.tls.private),
            metrics,
            warnings: made.warnings,
        })
    }

    /// Opens the quarantine of this receiver; `None` where it is switched off.
    pub fn open_quarantine(
        &self,
        config: &Config,
        clock: Arc<dyn Clock>,
    ) -> Option<Arc<Quarantine>> {
        Quarantine::open(config, clock, self.metrics.clone())
    }

    /// Opens the log over an engine, observed by the counters of this receiver, which go on from what
    /// was kept in it.
    ///
    /// `dice` seeds jitter and lease ids. `on_failure` is called once when the engine failed:
    /// stop the receiver and end with exit code 74.
    ///
    /// # Errors
    /// The engine's.
    pub fn open_log(
        &self,
        config: &Config,
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        dice: u64,
        on_failure: Arc<dyn Fn(&EngineError) + Send + Sync>,
    ) -> Result<Arc<LocalLog>, EngineError> {
        let around = Surroundings {
            clock,
            dice,
            observer: self.metrics.clone(),
            on_failure,
        };
        let log = LocalLog::open(engine, config, around)?;
        self.tallies.restore(&log.secret_uses()?);
        Ok(log)
    }
}

/// What is made of a configuration: by a start, and by a reload.
pub(crate) struct Made {
    pub sources: Sources,
    pub tokens: Vec<ResolvedToken>,
    pub tls: MadeTls,
    /// What should be known and prevents nothing.
    pub warnings: Vec<Problems>,
}

impl Made {
    /// Resolves all secrets, reads all certificates and schemas, and makes all verifiers.
    ///
    /// # Errors
    /// Everything that is wrong, at once, each with its line.
    pub fn of(
        config: &Config,
        registry: &Registry,
        (metrics, accounts): (&Metrics, &Accounts),
        keys: &Keys,
    ) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let tokens = kept(config.resolve_tokens(), &mut problems);
        let secrets = kept(config.resolve_source_secrets(), &mut problems);
        let found = match &secrets {
            Some(resolved) => resolved.secrets.clone(),
            None => complete_secrets(config),
        };
        let learned = keys.learned.recall();
        let learned =
            learned.map_err(|error| config.origin.error("receiver.keys", error.to_string()));
        let learned = kept(learned, &mut problems);
        let none = BTreeMap::new();
        let common = Common {
            registry,
            metrics,
            tallies: &keys.tallies,
            accounts,
            keyring: &keys.ring,
            learned: learned.as_ref().unwrap_or(&none),
        };
        let sources = kept(Sources::prepare(config, found, &common), &mut problems);
        let tls = kept(MadeTls::of(config), &mut problems);
        let schemas = kept(Schemas::read(config), &mut problems);
        let (Some(tokens), Some(secrets), Some(sources), Some(schemas), Some(mut tls)) =
            (tokens, secrets, sources, schemas, tls)
        else {
            return Err(merged(problems));
        };
        if learned.is_none() {
            // a source whose secret cannot be read must not learn another
            return Err(merged(problems));
        }
        let of_tls = std::mem::take(&mut tls.warnings);
        let warnings = [secrets.warnings, tokens.warnings, of_tls];
        Ok(Self {
            sources: sources.with_schemas(schemas),
            tokens: tokens.secrets,
            tls,
            warnings: warnings.into_iter().filter(|w| !w.is_empty()).collect(),
        })
    }
}

/// The value, or `None` and its problems put with the others.
fn kept<T>(result: Result<T, Problems>, problems: &mut Vec<Problems>) -> Option<T> {
    result.map_err(|error| problems.push(error)).ok()
}

fn merged(problems: Vec<Problems>) -> Problems {
    problems
        .into_iter()
        .reduce(|mut all, more| {
            all.merge(more);
            all
        })
        .expect("something is missing only where a problem was put")
}

/// The sources whose secrets are all there, so that their other problems are told, too.
fn complete_secrets(config: &Config) -> BTreeMap<String, Vec<Secret>> {
    let of = |source: &config::Source| {
        let secrets = source.secrets.iter();
        let secrets = secrets.map(|secret| secret.from.resolve().ok());
        secrets.collect::<Option<Vec<Secret>>>()
    };
    let sources = config.sources.iter();
    sources
        .filter_map(|(name, source)| Some((name.clone(), of(source)?)))
        .collect()
}

impl From<&Arc<LocalLog>> for LogParts {
    fn from(log: &Arc<LocalLog>) -> Self {
        let facts = log.clone();
        Self {
            id: log.id(),
            intake: log.clone(),
            work: log.clone(),
            operate: log.clone(),
            record: log.clone(),
            facts: Arc::new(move || facts.facts()),
        }
    }
}

impl Listeners {
    /// Binds both addresses of a configuration. Call it inside a runtime.
    ///
    /// # Errors
    /// [`BindError`] names the address.
    pub fn bind(config: &config::Receiver) -> Result<Self, BindError> {
        Self::complete(None, None, config)
    }

    /// The same for what was not handed in.
    ///
    /// # Errors
    /// [`BindError`] names the address.
    pub fn complete(
        public: Option<TcpListener>,
        private: Option<TcpListener>,
        config: &config::Receiver,
    ) -> Result<Self, BindError> {
        let or_bind =
            |handed: Option<TcpListener>, address| handed.map_or_else(|| bind(address), Ok);
        Ok(Self {
            public: or_bind(public, config.listen)?,
            private: or_bind(private, config.private)?,
        })
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || {
        let socket = match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        // a restart must not wait for connections of the last run to be forgotten
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std()
    };
    open().map_err(|error| BindError { address, error })
}

impl Receiver {
    /// Serves both listeners until told to stop; returns when they are drained.
    ///
    /// The log is not closed: its owner does that next.
    ///
    /// # Errors
    /// When a socket cannot be used.
    pub async fn run(self) -> io::Result<()> {
        let public = listener(self.listeners.public)?;
        let private = listener(self.listeners.private)?;
        let Prepared {
            sources,
            tokens,
            keys,
            public_tls,
            private_tls,
            metrics,
            ..
        } = self.prepared;
        metrics.reloads.note(true, self.clock.wall());
        let (known, now) = (keys.clone(), self.clock.wall());
        let recalled = tokio::task::spawn_blocking(move || known.recall(now));
        recalled.await.map_err(io::Error::other)?;
        tokio::spawn(keys.clone().run(self.clock.clone(), self.stop.clone()));
        let log = self.reload.log().clone();
        let keeping = tokio::spawn(uses::keep_until(
            self.stop.clone(),
            sources.clone(),
            log.clone(),
            self.clock.clone(),
        ));
        let ingest = Arc::new(Ingest {
            sources: sources.clone(),
            log: self.log.intake,
            clock: self.clock.clone(),
            metrics: metrics.clone(),
            bodies: Budget::new(self.config.bodies_bytes_max, self.config.source_share),
            waiting: Budget::new(self.config.waiting_max, self.config.source_share),
            addresses: Addresses::default(),
            trusted_proxies: self.config.trusted_proxies.clone(),
            body_timeout: self.config.body_timeout,
            quiet: Quiet::default(),
            doctor: Doctor::default(),
            keys,
            quarantine: self.quarantine.clone(),
        });
        let api = Api {
            work: self.log.work,
            operate: self.log.operate,
            record: self.log.record,
            log_id: self.log.id,
            facts: self.log.facts,
            ingest: ingest.clone(),
            tokens,
            reload: self.reload.clone(),
            stop: self.stop.clone(),
            version: self.version.into(),
            started: self.clock.mono(),
        };
        if let Some(quarantine) = self.quarantine {
            tokio::spawn(quarantine.clone().recover(api.clone()));
            tokio::spawn(quarantine.follow_keys(api.clone()));
        }
        let seats = Seats::new(
            self.config.connections_per_address_max,
            self.config.trusted_proxies,
            metrics.clone(),
            self.clock.clone(),
        );
        let limits = |connections_max, seats| Limits {
            connections_max,
            seats,
            first_byte_timeout: self.config.first_byte_timeout,
            header_timeout: self.config.header_timeout,
            idle_timeout: self.config.idle_timeout,
            drain_timeout: self.config.drain_timeout,
        };
        let of_senders = House::new(
            limits(self.config.connections_max, Some(seats)),
            public_tls,
            metrics.connections("public"),
        );
        let of_workers = House::new(
            limits(PRIVATE_CONNECTIONS_MAX, None),
            private_tls,
            metrics.connections("private"),
        );
        let stop = self.stop.clone();
        let senders = serve(public, Public(ingest), of_senders, stop.clone());
        let workers = serve(private, Private::new(api), of_workers, stop);
        // a task of their own each, so that neither waits for the other's thread
        let (senders, workers) = tokio::join!(tokio::spawn(senders), tokio::spawn(workers));
        keeping.await.map_err(io::Error::other)?;
        uses::keep(&sources, &log, &*self.clock).await;
        senders.and(workers).map_err(io::Error::other)
    }
}

fn listener(socket: TcpListener) -> io::Result<tokio::net::TcpListener> {
    socket.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(socket)
}
