//! Both listeners over one log: put together, run, drained.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use creel_common::config::{self, Config};
use creel_common::log::{Intake, Operate, Work};
use creel_common::time::Clock;
use tokio_util::sync::CancellationToken;

use crate::auth::{NewToken, Tokens};
use crate::body::Budget;
use crate::facts::ReadFacts;
use crate::ingest::{Ingest, Public};
use crate::metrics::Metrics;
use crate::private::{Api, Private};
use crate::quiet::Quiet;
use crate::server::{Limits, serve};
use crate::sources::{SourceProblem, Sources, resolve};
use crate::verify::Registry;

/// Most connections of the private listener: workers, operators, monitoring.
const PRIVATE_CONNECTIONS_MAX: usize = 1024;

/// Everything that keeps a receiver from starting, all at once.
#[derive(Debug, thiserror::Error)]
#[error("{} problems with the configuration", .0.len())]
pub struct Problems(pub Vec<SourceProblem>);

/// The log, seen from its three sides.
#[derive(Clone)]
pub struct LogParts {
    /// Takes deliveries in.
    pub intake: Arc<dyn Intake>,
    /// Lends them out.
    pub work: Arc<dyn Work>,
    /// Shows and changes them for people.
    pub operate: Arc<dyn Operate>,
    /// How it stands.
    pub facts: ReadFacts,
}

/// Sockets that are bound already: by this process, by `creel up`, by systemd.
#[derive(Debug)]
pub struct Listeners {
    /// Where senders connect.
    pub public: TcpListener,
    /// Where workers, operators and metrics connect.
    pub private: TcpListener,
}

/// A receiver, ready to run.
pub struct Receiver {
    /// Limits and names.
    pub config: config::Receiver,
    /// The sources with their verifiers; see [`prepare_sources`].
    pub sources: Sources,
    /// The private listener's tokens; see [`prepare_tokens`].
    pub tokens: Tokens,
    /// The log.
    pub log: LogParts,
    /// Counters; the log's observer is the same.
    pub metrics: Arc<Metrics>,
    /// Bound sockets.
    pub listeners: Listeners,
    /// Wall and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// The program's version, for `/health` and metrics.
    pub version: String,
    /// Told from outside when to stop.
    pub stop: CancellationToken,
}

/// Resolves the secrets of all sources and makes their verifiers.
///
/// # Errors
/// [`Problems`]: every secret that cannot be had and every source that cannot be verified.
pub fn prepare_sources(
    config: &Config,
    registry: &Registry,
    metrics: &Metrics,
) -> Result<Sources, Problems> {
    let secrets = resolve(&config.sources).map_err(Problems)?;
    let url = config.receiver.public_url.as_deref();
    Sources::prepare(&config.sources, secrets, url, registry, metrics).map_err(Problems)
}

/// Reads the private listener's tokens and keeps their digests.
///
/// # Errors
/// [`Problems`]: every token that cannot be had.
pub fn prepare_tokens(config: &config::Receiver) -> Result<Tokens, Problems> {
    let mut tokens = Vec::new();
    let mut problems = Vec::new();
    for (index, token) in config.tokens.iter().enumerate() {
        match token.secret.resolve() {
            Ok(secret) => tokens.push(NewToken {
                role: token.role,
                name: token.name.clone(),
                secret,
            }),
            Err(error) => problems.push(SourceProblem {
                at: format!("receiver.tokens[{index}]"),
                problem: error.to_string(),
            }),
        }
    }
    if problems.is_empty() {
        Ok(Tokens::new(tokens))
    } else {
        Err(Problems(problems))
    }
}

impl Receiver {
    /// Serves both listeners until told to stop; returns when they are drained.
    ///
    /// # Errors
    /// When a socket cannot be used.
    pub async fn run(self) -> io::Result<()> {
        let public = listener(self.listeners.public)?;
        let private = listener(self.listeners.private)?;
        let ingest = Arc::new(Ingest {
            sources: self.sources,
            log: self.log.intake,
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            budget: Budget::new(self.config.bodies_bytes_max),
            trusted_proxies: self.config.trusted_proxies.clone(),
            body_timeout: self.config.body_timeout,
            quiet: Quiet::default(),
        });
        let api = Api {
            work: self.log.work,
            operate: self.log.operate,
            facts: self.log.facts,
            ingest: ingest.clone(),
            tokens: self.tokens,
            stop: self.stop.clone(),
            version: self.version.into(),
            started: self.clock.mono(),
        };
        let limits = |connections_max| Limits {
            connections_max,
            header_timeout: self.config.header_timeout,
            idle_timeout: self.config.idle_timeout,
            drain_timeout: self.config.drain_timeout,
        };
        let senders = serve(
            public,
            Public(ingest),
            limits(self.config.connections_max),
            self.metrics.connections("public"),
            self.stop.clone(),
        );
        let workers = serve(
            private,
            Private::new(api),
            limits(PRIVATE_CONNECTIONS_MAX),
            self.metrics.connections("private"),
            self.stop.clone(),
        );
        // a task of their own each, so that neither waits for the other's thread
        let (senders, workers) = tokio::join!(tokio::spawn(senders), tokio::spawn(workers));
        senders.and(workers).map_err(io::Error::other)
    }
}

fn listener(socket: TcpListener) -> io::Result<tokio::net::TcpListener> {
    socket.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(socket)
}
