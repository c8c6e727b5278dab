//! `creel worker`: leases deliveries and loads them into destinations.

use std::sync::Arc;

use anyhow::Context;
use creel_common::config::{Config, Role};
use creel_common::log::Work;
use creel_common::log::remote::RemoteLog;
use creel_common::secret::Secret;
use creel_common::time::SystemClock;
use creel_worker::{Settings, SetupError, Worker};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::commands::connect::base_url;
use crate::failure::usage;
use crate::lifeline::{Lifeline, Word};
use crate::notices::Notices;
use crate::rundir::RunDir;
use crate::settings::Global;
use crate::stop::{self, Hangup, Hangups};

/// Lease deliveries from receivers and load them into destinations
///
/// A worker has no state: any number of them may run, here or on other machines, and come and go.
/// What a worker held when it died is leased again when its leases end. SIGTERM: it leases no
/// more, finishes or gives back what it holds, and ends with 0. SIGHUP: it reads configuration and
/// secrets again and goes on with them at once, while what it holds is finished or given back as
/// before; with a configuration that has problems it goes on as it was.
///
/// The token is worker.token of the configuration, or CREEL_TOKEN, or the one in the run directory.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this route; may be repeated [default: all]
    #[arg(long = "route", value_name = "ROUTE")]
    routes: Vec<String>,
    /// A receiver's private listener; may be repeated [default: worker.receivers]
    #[arg(
        long = "receiver",
        value_name = "URL",
        env = "CREEL_RECEIVER",
        value_delimiter = ','
    )]
    receivers: Vec<String>,
    /// Its name, for people: in leases and file names [default: host name and process]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Started by `creel up`: standard input is the lifeline
    #[arg(long, hide = true)]
    supervised: bool,
}

/// Works until told to stop.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let kit = Kit {
        global,
        args,
        run: global.run_dir(),
    };
    // what is wrong is told before anything is started
    let plan = kit.plan()?;
    let lifeline = args
        .supervised
        .then(Lifeline::of_this_process)
        .transpose()?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(async {
            let stop = stop::token()?;
            let hangups = Hangups::listen()?;
            let first = plan.worker()?;
            if let Some(lifeline) = &lifeline {
                stop::with_parent(lifeline.clone(), stop.clone())?;
            }
            let standing = tokio::spawn(report(first.leasing(), lifeline, stop.clone()));
            kit.work(first, hangups, stop).await;
            let _ = standing.await;
            Ok(())
        })
}

/// What workers are made of, now and at a reload.
struct Kit<'a> {
    global: &'a Global,
    args: &'a Args,
    run: RunDir,
}

/// One configuration's worker, before it opens anything.
struct Plan {
    config: Config,
    settings: Settings,
    token: Secret,
    receivers: Vec<String>,
}

impl Kit<'_> {
    /// Reads the configuration and the token.
    fn plan(&self) -> anyhow::Result<Plan> {
        let config = self.global.load()?;
        let settings = Settings {
            name: self.args.name.clone().unwrap_or_else(own_name),
            concurrency: config.worker.concurrency,
            drain_timeout: config.worker.drain_timeout,
            routes: self.args.routes.clone(),
        };
        Ok(Plan {
            token: token(&config, &self.run)?,
            receivers: receivers(&config, &self.run, self.args)?,
            settings,
            config,
        })
    }

    /// Works until the stop. At a SIGHUP a worker of the configuration of now takes over, and the one
    /// before finishes or gives back what it holds beside it.
    async fn work(&self, first: Worker, mut hangups: Hangups, stop: CancellationToken) {
        let mut workers = TaskTracker::new();
        let mut retire = begin(first, &mut workers, &stop);
        while let Some(hangup) = stop.run_until_cancelled(hangups.heard()).await {
            if hangup == Hangup::TerminalGone {
                stop.cancel();
                continue;
            }
            match self.plan().and_then(|plan| plan.worker()) {
                Ok(next) => {
                    let last = std::mem::replace(&mut retire, begin(next, &mut workers, &stop));
                    last.cancel();
                    tracing::info!("SIGHUP: the configuration was reloaded");
                }
                Err(error) => tracing::error!(
                    "SIGHUP: nothing is changed, for the configuration has problems: {error:#}"
                ),
            }
        }
        workers.close();
        workers.wait().await;
    }
}

/// Has a worker work until the stop, or until it is retired.
fn begin(worker: Worker, workers: &mut TaskTracker, stop: &CancellationToken) -> CancellationToken {
    let until = stop.child_token();
    workers.spawn(worker.run(until.clone()));
    until
}

impl Plan {
    /// Opens the destinations.
    fn worker(&self) -> anyhow::Result<Worker> {
        let mut logs: Vec<Arc<dyn Work>> = Vec::new();
        for url in &self.receivers {
            let log = RemoteLog::with_tls(url, self.token.clone(), &self.config.worker.tls)
                .map_err(|error| usage(error.to_string()))?;
            logs.push(Arc::new(log));
        }
        let clock = Arc::new(SystemClock::default());
        Worker::new(logs, &self.config, &self.settings, clock).map_err(wrong)
    }
}

/// Says to whoever watches over this worker when it leases, and when it stops.
async fn report(
    leasing: impl Future<Output = ()>,
    lifeline: Option<Lifeline>,
    stop: CancellationToken,
) {
    let mut notices = lifeline.is_none().then(Notices::of_this_process);
    if stop.run_until_cancelled(leasing).await.is_some() {
        if let Some(lifeline) = &lifeline {
            lifeline.say(Word::Ready);
        }
        if let Some(notices) = &mut notices {
            notices.alive(true, "leasing");
        }
        stop.cancelled().await;
    }
    if let Some(notices) = &mut notices {
        notices.stopping("finishing or giving back what is held");
    }
}

fn wrong(error: SetupError) -> anyhow::Error {
    usage(error.to_string())
}

fn own_name() -> String {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    format!("{host}-{}", std::process::id())
}

fn receivers(config: &Config, run: &RunDir, args: &Args) -> anyhow::Result<Vec<String>> {
    if !args.receivers.is_empty() {
        return Ok(args.receivers.clone());
    }
    let unbound = config.receiver.private_url(config.receiver.private);
    config
        .worker
        .receivers
        .iter()
        .map(|url| match *url == unbound {
            true => base_url(config, run),
            false => Ok(url.clone()),
        })
        .collect()
}

fn token(config: &Config, run: &RunDir) -> anyhow::Result<Secret> {
    let resolved = config
        .resolve_worker_token()
        .map_err(|problems| usage(problems.to_string()))?;
    if let Some(secret) = resolved.secrets {
        return Ok(secret);
    }
    if let Some(token) = std::env::var("CREEL_TOKEN").ok().filter(|t| !t.is_empty()) {
        return Ok(Secret::new(token));
    }
    if let Some(token) = configured_at_receiver(config)? {
        return Ok(token);
    }
    run.token(Role::Worker)?.ok_or_else(|| {
        usage(format!(
            "no token for the receiver: set worker.token, or CREEL_TOKEN, or start a receiver \
             first, which makes {}",
            run.token_path(Role::Worker).display()
        ))
    })
}

/// The receiver's own worker token, where both live in one configuration.
fn configured_at_receiver(config: &Config) -> anyhow::Result<Option<Secret>> {
    let token = config
        .receiver
        .tokens
        .iter()
        .find(|t| t.role == Role::Worker);
    let Some(token) = token else { return Ok(None) };
    let secret = token.secret.resolve();
    Ok(Some(secret.map_err(|error| usage(error.to_string()))?))
}
