//! `creel up`: receiver and workers on one machine, supervised.
//!
//! ```text
//!              ┌─ lifeline: listeners ─► creel receiver   restarted when it dies;
//!  creel up ───┤                                          74 and 2 stop everything
//!  (sockets)   └─ lifeline ────────────► creel worker × N restarted when one dies
//! ```
//!
//! The sockets belong to this process, so connections queue while a receiver starts again.

mod child;
mod reloading;
mod rolling;
mod supervisor;

use std::net::SocketAddr;

use anyhow::Context;
use creel_common::config::Config;
use creel_receiver::Listeners;

use tokio_util::sync::CancellationToken;

use crate::lifeline::Lifeline;
use crate::notices::Notices;
use crate::output::{BOLD, DIM, paint};
use crate::rundir::{Addresses, RunDir};
use crate::settings::Global;
use crate::sockets::Handed;

/// Run receiver and workers on this machine
///
/// Starts one receiver and N workers as child processes of the same executable, starts again what
/// dies, and owns the listening sockets: while the receiver starts again, connections wait instead
/// of being refused. Ends with 74 when the disk failed, and with 2 when the configuration is
/// wrong; SIGTERM or ctrl-c stops workers, then the receiver, and ends with 0. SIGHUP reloads
/// the receiver's configuration and secrets without a pause and then restarts the workers one after the
/// other, each when the one before leases again; with a configuration that has problems it does nothing.
///
/// Takes listening sockets from a service manager (LISTEN_FDS), and tells it how things stand
/// (NOTIFY_SOCKET).
///
/// When the configuration names no tokens, they are made in the run directory (.creel beside the
/// configuration, mode 0700), where `creel dead`, `creel routes` and the others look for them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many workers [default: worker.processes of the configuration]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=256))]
    workers: Option<u16>,
    /// Started by `creel demo` or `bench`: standard input is the lifeline
    #[arg(long, hide = true)]
    supervised: bool,
}

/// Runs until stopped.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    // first of all: descriptors are taken by their numbers
    let handed = Handed::to_this_process()?;
    let config = global.load()?;
    crate::commands::check::or_fail(&config)?;
    handed.check(&config)?;
    let run = global.run_dir();
    run.prepare()?;
    // what a run that was killed left behind would lead others astray
    run.clear();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(supervise(global, args, &config, run, handed))
}

async fn supervise(
    global: &Global,
    args: &Args,
    config: &Config,
    run: RunDir,
    handed: Handed,
) -> anyhow::Result<()> {
    let gone = CancellationToken::new();
    if args.supervised {
        crate::stop::with_parent(Lifeline::of_this_process()?, gone.clone())?;
    }
    let sockets = Sockets::of(handed, config)?;
    let workers = args.workers.map_or(config.worker.processes, usize::from);
    crate::output::line(&start_lines(config, &sockets.addresses, &run, workers))?;
    let check = {
        let global = global.clone();
        move || crate::commands::check::or_fail(&global.load()?)
    };
    let plan = supervisor::Plan {
        check: Box::new(check),
        executable: std::env::current_exe().context("cannot find this executable")?,
        shared: shared_arguments(global, &run),
        json: global.log_format == crate::logging::LogFormat::Json,
        receivers: receivers(config, sockets.addresses.private),
        workers,
        worker_drain: config.worker.drain_timeout,
        receiver_drain: config.receiver.drain_timeout,
        sockets,
        run,
        gone,
    };
    let notices = (!args.supervised).then(Notices::of_this_process);
    supervisor::run(plan, notices).await
}

/// The sockets that outlive every receiver.
pub struct Sockets {
    /// Bound and listening.
    pub listeners: Listeners,
    /// Where.
    pub addresses: Addresses,
}

impl Sockets {
    fn of(handed: Handed, config: &Config) -> anyhow::Result<Self> {
        let listeners = handed.listeners(config)?;
        let addresses = Addresses {
            public: listeners.public.local_addr()?,
            private: listeners.private.local_addr()?,
        };
        Ok(Self {
            listeners,
            addresses,
        })
    }
}

fn shared_arguments(global: &Global, run: &RunDir) -> Vec<std::ffi::OsString> {
    let format = match global.log_format {
        crate::logging::LogFormat::Text => "text",
        crate::logging::LogFormat::Json => "json",
    };
    vec![
        "--config".into(),
        global.config.clone().into(),
        "--run-dir".into(),
        run.path().into(),
        "--log-format".into(),
        format.into(),
    ]
}

/// The receivers workers lease from; our own one by where it is really bound.
fn receivers(config: &Config, private: SocketAddr) -> Vec<String> {
    let configured = config.receiver.private_url(config.receiver.private);
    let bound = config.receiver.private_url(private);
    if config.worker.receivers.is_empty() {
        return vec![bound];
    }
    let is_ours = |url: &String| url.trim_end_matches('/') == configured;
    config
        .worker
        .receivers
        .iter()
        .map(|url| {
            if is_ours(url) {
                bound.clone()
            } else {
                url.clone()
            }
        })
        .collect()
}

fn start_lines(config: &Config, at: &Addresses, run: &RunDir, workers: usize) -> String {
    let mut lines = vec![
        paint(BOLD, &format!("creel {}", env!("CARGO_PKG_VERSION"))),
        format!("  senders     {}", config.receiver.local_url(at.public)),
        format!("  operators   {}", config.receiver.private_url(at.private)),
        format!("  log         {}", config.log.path.display()),
        format!("  run files   {}", run.path().display()),
        format!("  workers     {workers}"),
        paint(BOLD, "sources"),
    ];
    for source in config.sources.values() {
        let url = config.url_of(source);
        let local = config.receiver.local_url(at.public);
        let url = url.unwrap_or_else(|| format!("{local}/in/{}", source.name));
        lines.push(format!(
            "  {:<18} {url}  {}",
            source.name,
            paint(DIM, &source.provider)
        ));
    }
    lines.push(paint(BOLD, "routes"));
    for route in &config.routes {
        let kind = config.destinations.get(&route.destination);
        let events = match route.events.as_slice() {
            [] => String::new(),
            events => format!("  only {}", events.join(", ")),
        };
        lines.push(format!(
            "  {:<18} {} → {}  {}{events}",
            route.name,
            route.source,
            route.destination,
            paint(DIM, kind.map_or("", |d| d.kind.as_str())),
        ));
    }
    if config.routes.is_empty() {
        lines.push("  none: deliveries are kept until there is one".into());
    }
    lines.join("\n")
}
