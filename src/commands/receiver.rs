//! `creel receiver`: verifies deliveries, keeps them, lends them out.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use creel_common::config::{Config, Role, Token};
use creel_common::engine::EngineError;
use creel_common::log::local::{LocalLog, Surroundings};
use creel_common::secret::SecretRef;
use creel_common::time::{Clock, SystemClock};
use creel_receiver::facts::{LogFacts, ReadFacts};
use creel_receiver::metrics::Metrics;
use creel_receiver::verify::Registry;
use creel_receiver::{Listeners, LogParts, Problems, Receiver, prepare_sources, prepare_tokens};

use crate::failure::{DISK, usage};
use crate::lifeline::Lifeline;
use crate::rundir::{Addresses, RunDir, word, write_json};
use crate::settings::Global;
use crate::stop;

/// Receive, verify and keep deliveries, and lend them to workers
///
/// One process that owns the log: senders connect to its public listener, workers and operators
/// to the private one. SIGTERM: it takes nothing more, finishes what it has begun, and ends with
/// 0. Ends with 74 when the disk failed: nothing is acknowledged after a failed sync, and starting
/// again on the same disk needs a look first.
///
/// When the configuration names no tokens, they are made in the run directory.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also write the addresses it is bound to into this file, as JSON, once it can be reached
    #[arg(long, value_name = "PATH")]
    addresses_file: Option<PathBuf>,
    /// Started by `creel up`: standard input is the lifeline, listeners come over it
    #[arg(long, hide = true)]
    supervised: bool,
}

/// Runs until told to stop.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let config = global.load()?;
    for warning in &config.warnings {
        tracing::warn!(setting = warning.path, "{}", warning.message);
    }
    let run = global.run_dir();
    let lifeline = args.supervised.then(Lifeline::of_this_process).transpose()?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let parts = Parts::prepare(config, &run, &metrics)?;
    let log = open_log(&parts.config, &metrics, &clock)?;
    let listeners = listeners(&parts.config, lifeline.as_ref())?;
    let addresses = Addresses {
        public: listeners.public.local_addr()?,
        private: listeners.private.local_addr()?,
    };
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(async {
            let stop = stop::token()?;
            let receiver = Receiver {
                config: parts.config.receiver.clone(),
                sources: parts.sources,
                tokens: parts.tokens,
                log: sides(&log),
                metrics,
                listeners,
                clock,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                stop: stop.clone(),
            };
            tell(&run, args, &addresses, lifeline, stop)?;
            receiver.run().await.context("a listener failed")?;
            log.close()
                .await
                .map_err(|error| crate::engine::explain(&parts.config, error))?;
            tracing::info!("stopped; the log is closed");
            Ok(())
        })
}

/// What is made of the configuration before the log is opened: wrong usage shows at once.
pub struct Parts {
    /// The configuration, with tokens.
    pub config: Config,
    /// The sources with their verifiers.
    pub sources: creel_receiver::sources::Sources,
    /// The private listener's tokens.
    pub tokens: creel_receiver::auth::Tokens,
}

impl Parts {
    /// Resolves secrets and tokens; makes tokens where none are configured.
    ///
    /// # Errors
    /// Wrong usage, with all problems at once.
    pub fn prepare(mut config: Config, run: &RunDir, metrics: &Metrics) -> anyhow::Result<Self> {
        let registry = Registry::built_in();
        let sources = prepare_sources(&config, &registry, metrics).map_err(|e| wrong(&config, &e));
        if config.receiver.tokens.is_empty() {
            run.prepare()?;
            config.receiver.tokens = own_tokens(run);
        }
        let tokens = prepare_tokens(&config.receiver).map_err(|e| wrong(&config, &e));
        Ok(Self {
            sources: sources?,
            tokens: tokens?,
            config,
        })
    }
}

fn own_tokens(run: &RunDir) -> Vec<Token> {
    [Role::Operate, Role::Read, Role::Worker]
        .into_iter()
        .map(|role| Token {
            role,
            secret: SecretRef::File(run.token_path(role)),
            name: word(role).to_owned(),
        })
        .collect()
}

fn wrong(config: &Config, problems: &Problems) -> anyhow::Error {
    let mut all = creel_common::config::Problems::default();
    for problem in &problems.0 {
        all.merge(config.origin.error(&problem.at, &problem.problem));
    }
    usage(all.to_string())
}

fn open_log(
    config: &Config,
    metrics: &Arc<Metrics>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<LocalLog>> {
    let engine = crate::engine::open(config)?;
    let opened = engine.opened().clone();
    for gap in &opened.lost {
        tracing::error!(
            first = gap.first,
            last = gap.last,
            known_lost = gap.known_lost,
            "offsets are missing from the log"
        );
    }
    let around = Surroundings {
        clock: clock.clone(),
        dice: rand::random(),
        observer: metrics.clone(),
        on_failure: Arc::new(disk_failed),
    };
    let log = LocalLog::open(engine, config, around)
        .map_err(|error| crate::engine::explain(config, error))?;
    tracing::info!(
        log = %opened.log,
        next = opened.next,
        clean = opened.clean,
        path = %config.log.path.display(),
        "log open"
    );
    Ok(log)
}

/// Ends the process on the spot, from the log's own thread: after a failed sync nothing may be
/// acknowledged any more, and there is nothing left that could be finished.
fn disk_failed(error: &EngineError) {
    tracing::error!(%error, "the disk failed; nothing more is acknowledged");
    std::process::exit(i32::from(DISK));
}

/// Sockets that were handed over, or new ones.
fn listeners(config: &Config, lifeline: Option<&Lifeline>) -> anyhow::Result<Listeners> {
    if let Some(lifeline) = lifeline {
        let handed = lifeline.listeners()?;
        return Ok(Listeners {
            public: handed.public,
            private: handed.private,
        });
    }
    let bind = |address, setting: &str| {
        std::net::TcpListener::bind(address)
            .with_context(|| format!("cannot listen on {address} ({setting})"))
    };
    Ok(Listeners {
        public: bind(config.receiver.listen, "receiver.listen")?,
        private: bind(config.receiver.private, "receiver.private")?,
    })
}

fn sides(log: &Arc<LocalLog>) -> LogParts {
    LogParts {
        intake: log.clone(),
        work: log.clone(),
        operate: log.clone(),
        facts: facts(log.clone()),
    }
}

/// How the log stands, as the private listener shows it.
pub fn facts(log: Arc<LocalLog>) -> ReadFacts {
    Arc::new(move || {
        let facts = log.facts();
        LogFacts {
            log: facts.log,
            next: facts.next,
            volumes: facts.volumes,
            gaps: facts.lost,
            space: facts.space,
            refuses: facts.refusing.map(|why| why.to_string()),
        }
    })
}

/// Tells everybody who waits for it that this receiver can be reached.
fn tell(
    run: &RunDir,
    args: &Args,
    addresses: &Addresses,
    lifeline: Option<Lifeline>,
    stop: tokio_util::sync::CancellationToken,
) -> anyhow::Result<()> {
    if let Some(path) = &args.addresses_file {
        write_json(path, addresses)?;
    }
    // a run directory that cannot be written only matters to those who look for it there
    if let Err(error) = run.write_addresses(addresses) {
        tracing::debug!(%error, "the run directory does not say where this receiver is");
    }
    tracing::info!(public = %addresses.public, private = %addresses.private, "listening");
    if let Some(lifeline) = lifeline {
        lifeline.ready();
        stop::with_parent(lifeline, stop)?;
    }
    Ok(())
}
