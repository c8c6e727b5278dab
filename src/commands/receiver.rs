//! `creel receiver`: verifies deliveries, keeps them, lends them out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use creel_common::config::{Config, Role, Token};
use creel_common::engine::EngineError;
use creel_common::log::Actor;
use creel_common::log::local::LocalLog;
use creel_common::secret::SecretRef;
use creel_common::time::{Clock, SystemClock};
use creel_receiver::{Listeners, LogParts, Prepared, Receiver, Reload, Surroundings};
use tokio_util::sync::CancellationToken;

use crate::descriptors;
use crate::failure::{DISK, usage};
use crate::lifeline::{Lifeline, Word};
use crate::notices::Notices;
use crate::rundir::{Addresses, RunDir, word, write_json};
use crate::settings::Global;
use crate::sockets::Handed;
use crate::standing::{self, Watcher};
use crate::stop::{self, Hangup, Hangups};

/// Receive, verify and keep deliveries, and lend them to workers
///
/// One process that owns the log: senders connect to its public listener, workers and operators
/// to the private one. SIGTERM: it takes nothing more, finishes what it has begun, and ends with
/// 0. Ends with 74 when the disk failed: nothing is acknowledged after a failed sync, and starting
/// again on the same disk needs a look first. SIGHUP: it reads configuration and secrets again, checks
/// them as at a start, and takes them over without a pause, or keeps those it has; see `creel reload`.
///
/// Takes listening sockets from a service manager (LISTEN_FDS), tells it when deliveries are
/// acknowledged and how it stands (NOTIFY_SOCKET), and keeps its watchdog quiet while the threads of
/// the log answer.
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

/// The version in `/health` and metrics.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs until told to stop.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    // first of all: descriptors are taken by their numbers
    let handed = match args.supervised {
        true => Handed::default(),
        false => Handed::to_this_process()?,
    };
    let run = global.run_dir();
    let (mut config, prepared) = prepare(global, &run)?;
    handed.check(&config)?;
    let places = descriptors::places(config.receiver.connections_max);
    config.receiver.connections_max = places;
    let lifeline = args
        .supervised
        .then(Lifeline::of_this_process)
        .transpose()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let log = open_log(&config, &prepared, &clock)?;
    let quarantine = prepared.open_quarantine(&config, clock.clone());
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(async {
            let stop = stop::token()?;
            let hangups = Hangups::listen()?;
            let supervised = lifeline.is_some();
            let told = lifeline.clone();
            let reload = reload(global, &run, (&config, &prepared), &log, &clock, told);
            tokio::spawn(hear(hangups, reload.clone(), stop.clone()));
            let listeners = listeners(&config, lifeline.as_ref(), handed)?;
            tell(&run, args, &listeners)?;
            let watcher = watcher(lifeline, &stop)?;
            let standing = tokio::spawn(standing::report(log.clone(), watcher, stop.clone()));
            let receiver = Receiver {
                config: config.receiver.clone(),
                prepared,
                log: LogParts::from(&log),
                quarantine: quarantine.clone(),
                listeners,
                clock,
                version: VERSION.to_owned(),
                reload,
                stop,
            };
            receiver.run().await.context("a listener failed")?;
            let _ = standing.await;
            if !supervised {
                run.clear();
            }
            if let Some(quarantine) = quarantine {
                quarantine.close();
            }
            log.close()
                .await
                .map_err(|error| crate::engine::explain(&config, error))?;
            tracing::info!("stopped; the log is closed");
            Ok(())
        })
}

/// All that can be wrong with the usage, before anything is opened: the configuration with
/// tokens, which are made where none are configured, and the verifiers.
///
/// # Errors
/// Wrong usage, with all problems at once.
pub fn prepare(global: &Global, run: &RunDir) -> anyhow::Result<(Config, Prepared)> {
    let config = read(global, run)?;
    let registry = crate::sources::registry(&config)?;
    let prepared = Prepared::new(&config, &registry, VERSION)
        .map_err(|problems| usage(problems.to_string()))?;
    let without = config.without_valid_secret(SystemClock::default().wall());
    let all = [&config.warnings, &without].into_iter();
    for warning in all.chain(&prepared.warnings).flatten() {
        tracing::warn!(setting = warning.path, "{}", warning.message);
    }
    Ok((config, prepared))
}

/// The configuration with tokens.
fn read(global: &Global, run: &RunDir) -> anyhow::Result<Config> {
    let mut config = global.load()?;
    if config.receiver.tokens.is_empty() {
        run.prepare()?;
        config.receiver.tokens = own_tokens(run);
    }
    Ok(config)
}

/// What takes another configuration over while the receiver runs; `creel up` is told of it.
pub fn reload(
    global: &Global,
    run: &RunDir,
    (config, prepared): (&Config, &Prepared),
    log: &Arc<LocalLog>,
    clock: &Arc<dyn Clock>,
    up: Option<Lifeline>,
) -> Arc<Reload> {
    let (global, run) = (global.clone(), run.clone());
    let around = Surroundings {
        read: Box::new(move || {
            let config = read(&global, &run).map_err(|error| format!("{error:#}"))?;
            let registry =
                crate::sources::registry(&config).map_err(|error| format!("{error:#}"))?;
            Ok((config, registry))
        }),
        told: Box::new(move |taken_over| {
            if let Some(up) = &up {
                up.say(match taken_over {
                    true => Word::Reloaded,
                    false => Word::Kept,
                });
            }
        }),
        clock: clock.clone(),
    };
    Reload::new(prepared, config.clone(), log.clone(), around)
}

/// Reloads at every SIGHUP; stops when the terminal was closed.
async fn hear(mut hangups: Hangups, reload: Arc<Reload>, stop: CancellationToken) {
    while let Some(hangup) = stop.run_until_cancelled(hangups.heard()).await {
        match hangup {
            Hangup::TerminalGone => stop.cancel(),
            Hangup::Asked => {
                let actor = Actor {
                    who: "SIGHUP".into(),
                    why: None,
                };
                // a refusal is told by the reload itself
                let _ = reload.run(actor).await;
            }
        }
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

fn open_log(
    config: &Config,
    prepared: &Prepared,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<LocalLog>> {
    let engine = crate::engine::open(config)?;
    let opened = engine.opened().clone();
    let dice = rand::random();
    let path = config.log.path.clone();
    let on_failure = move |error: &EngineError| disk_failed(error, &path);
    let log = prepared
        .open_log(config, engine, clock.clone(), dice, Arc::new(on_failure))
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
fn disk_failed(error: &EngineError, path: &Path) {
    match crate::engine::is_full(path) {
        Some(free) => tracing::error!(
            %error,
            free,
            "the disk is full; nothing more is acknowledged; make room and start again"
        ),
        None => tracing::error!(%error, "the disk failed; nothing more is acknowledged"),
    }
    std::process::exit(i32::from(DISK));
}

/// Those that were handed over or in, or new ones.
pub fn listeners(
    config: &Config,
    lifeline: Option<&Lifeline>,
    handed: Handed,
) -> anyhow::Result<Listeners> {
    let over = lifeline.map(Lifeline::listeners).transpose()?.flatten();
    over.map_or_else(|| handed.listeners(config), Ok)
}

/// Tells everybody who looks for it where this receiver can be reached.
fn tell(run: &RunDir, args: &Args, listeners: &Listeners) -> anyhow::Result<()> {
    let addresses = Addresses {
        public: listeners.public.local_addr()?,
        private: listeners.private.local_addr()?,
    };
    if let Some(path) = &args.addresses_file {
        write_json(path, &addresses)?;
    }
    // a run directory that cannot be written only matters to those who look for it there
    if let Err(error) = run.write_addresses(&addresses) {
        tracing::debug!(%error, "the run directory does not say where this receiver is");
    }
    tracing::info!(public = %addresses.public, private = %addresses.private, "listening");
    Ok(())
}

/// Whoever watches over this receiver. `creel up` learns at once that it can be reached.
fn watcher(lifeline: Option<Lifeline>, stop: &CancellationToken) -> anyhow::Result<Watcher> {
    let Some(lifeline) = lifeline else {
        return Ok(Watcher::Manager(Notices::of_this_process()));
    };
    lifeline.say(Word::Ready);
    stop::with_parent(lifeline.clone(), stop.clone())?;
    Ok(Watcher::Up(lifeline))
}
