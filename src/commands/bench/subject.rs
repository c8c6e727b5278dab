//! What is measured: a server in a child process, and readings of what it did.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use creel_common::config::Role;
use creel_common::log::remote::RemoteLog;
use creel_common::log::wire::LogView;
use creel_common::log::{Actor, BackupOrder, BackupStatus, Operate, RouteStatus};
use creel_receiver::verify::{Registry, SourceKey, SourceKeys, Unsigned, Verifier};
use http::{HeaderMap, Method};
use rustix::process::Signal;

use super::report::System;
use crate::commands::block_on;
use crate::process::Process;
use crate::rundir::{Addresses, RunDir};

/// Where requests go.
pub const PATH: &str = "/in/bench";
/// Its configuration's file name.
const CONFIG: &str = "creel.toml";
/// A start or a stop that takes longer has failed.
const WITHIN: Duration = Duration::from_secs(60);

/// What all subjects share: a directory, a configuration, a secret.
pub struct Bench {
    dir: PathBuf,
    workers: usize,
    verifier: Verifier,
}

impl Bench {
    /// Writes the secret into `dir`.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn prepare(dir: &Path, workers: usize) -> anyhow::Result<Self> {
        let secret = hex::encode(rand::random::<[u8; 32]>());
        let path = dir.join("secret");
        fs::write(&path, &secret)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let registry = Registry::built_in();
        let pack = registry.get("github").context("the pack is built in")?;
        let verifier = pack.prepare(&SourceKeys {
            secrets: vec![SourceKey::new("bench", secret)],
            ..SourceKeys::default()
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            workers,
            verifier,
        })
    }

    /// The directory that is measured.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// GitHub's signature of a body.
    ///
    /// # Errors
    /// Never for a body; the pack's otherwise.
    pub fn signature(&self, body: &[u8]) -> anyhow::Result<String> {
        let signed = self.verifier.sign(
            &Unsigned {
                method: &Method::POST,
                url: "http://bench/in/bench",
                headers: &HeaderMap::new(),
                body,
                id: "0",
                event_type: None,
            },
            0,
        )?;
        let signature = signed.headers.get("x-hub-signature-256");
        let signature = signature.context("the pack signs another header")?;
        Ok(signature.to_str()?.to_owned())
    }

    fn configuration(&self, layout: &Layout) -> String {
        // a backlog of its own for every row, and room for it
        format!(
            r#"[receiver]
listen  = "127.0.0.1:0"
private = "127.0.0.1:0"

[log]
path    = "data"
reserve = "64MiB"
ballast = "0B"
{}
[worker]
processes = {}

[sources.bench]
provider = "github"
secrets  = [{{ file = "{}" }}]

{}"#,
            layout.log,
            self.workers.max(1),
            self.dir.join("secret").display(),
            layout.routes,
        )
    }
}

/// What differs from subject to subject in their configurations.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The name of its directory.
    pub name: &'static str,
    /// Further settings of `[log]`, a line each.
    pub log: String,
    /// Destinations, and the routes to them.
    pub routes: String,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            name: "subject",
            log: String::new(),
            routes: r#"[destinations.files]
type = "file"
path = "out"

[[routes]]
source      = "bench"
destination = "files"
"#
            .to_owned(),
        }
    }
}

/// A running server.
pub struct Subject {
    server: Process,
    worker: Option<Process>,
    dir: PathBuf,
    run: RunDir,
    system: System,
    addresses: Addresses,
}

/// What it did so far.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Processor time of the receiver's process.
    pub cpu: Duration,
    /// Deliveries that workers delivered, where there are workers.
    pub delivered: Option<u64>,
}

impl Subject {
    /// Starts a server in a directory of its own and waits until it answers.
    ///
    /// # Errors
    /// With the end of its log, when it does not start.
    pub fn start(bench: &Bench, system: System) -> anyhow::Result<Self> {
        Self::with(bench, system, &Layout::default())
    }

    /// The same, configured otherwise.
    ///
    /// # Errors
    /// With the end of its log, when it does not start.
    pub fn with(bench: &Bench, system: System, layout: &Layout) -> anyhow::Result<Self> {
        let dir = bench.dir.join(layout.name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        let config = dir.join(CONFIG);
        fs::write(&config, bench.configuration(layout))?;
        let mut subject = Self {
            server: Process::start(&dir, &config, &command(system, bench.workers))?,
            worker: None,
            run: RunDir::of(None, &config),
            dir,
            system,
            addresses: Addresses {
                public: SocketAddr::from(([127, 0, 0, 1], 0)),
                private: SocketAddr::from(([127, 0, 0, 1], 0)),
            },
        };
        subject.addresses = match subject.until_ready() {
            Ok(addresses) => addresses,
            Err(error) => return Err(subject.explain(error)),
        };
        Ok(subject)
    }

    /// Kills the receiver as a crash would and starts it again. Answers how long it took from
    /// the start until it was ready.
    ///
    /// # Errors
    /// With the end of its log, when it does not come back.
    pub fn crash(&mut self) -> anyhow::Result<Duration> {
        self.server.kill()?;
        // where the dead one was bound says nothing of the next one
        self.run.clear();
        let began = Instant::now();
        self.server = Process::start(&self.dir, &self.dir.join(CONFIG), &command(self.system, 0))?;
        let ready = self.until_ready();
        self.addresses = ready.map_err(|error| self.explain(error))?;
        self.facts().map_err(|error| self.explain(error))?;
        Ok(began.elapsed())
    }

    /// Starts a worker of its own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_worker(&mut self) -> anyhow::Result<()> {
        self.worker = Some(Process::start(
            &self.dir,
            &self.dir.join(CONFIG),
            &["worker".to_owned()],
        )?);
        Ok(())
    }

    /// Stops the worker and waits for its end.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop_worker(&mut self) -> anyhow::Result<()> {
        match &mut self.worker {
            Some(worker) => worker.end(WITHIN),
            None => Ok(()),
        }
    }

    /// Stops the clock of its processes, so that it takes nothing from others, or lets them go on.
    pub fn freeze(&self, frozen: bool) {
        let to = if frozen { Signal::STOP } else { Signal::CONT };
        for process in self.worker.iter().chain([&self.server]) {
            process.signal(to);
        }
    }

    fn until_ready(&mut self) -> anyhow::Result<Addresses> {
        let began = Instant::now();
        loop {
            if let Some(addresses) = self.run.addresses()? {
                return Ok(addresses);
            }
            if let Some(status) = self.server.ended()? {
                bail!("the server ended with {status}");
            }
            ensure!(began.elapsed() < WITHIN, "the server is not ready in time");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.addresses.public
    }

    /// What it did so far.
    ///
    /// # Errors
    /// When its process is gone, or it does not answer.
    pub fn reading(&self) -> anyhow::Result<Reading> {
        let pid = match self.system {
            System::CreelWorkers => self
                .run
                .processes()?
                .and_then(|processes| processes.receiver)
                .context("there is no receiver")?,
            _ => self.server.id(),
        };
        Ok(Reading {
            delivered: match self.system {
                System::CreelWorkers => Some(self.delivered()?),
                _ => None,
            },
            cpu: cpu(pid)?,
        })
    }

    fn delivered(&self) -> anyhow::Result<u64> {
        let routes = self.routes()?;
        Ok(routes.iter().map(|route| route.delivered).sum())
    }

    /// Its routes, as an operator sees them.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn routes(&self) -> anyhow::Result<Vec<RouteStatus>> {
        let log = self.operator()?;
        block_on(async { Ok(log.routes().await?) })
    }

    /// Its log, as an operator sees it.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn facts(&self) -> anyhow::Result<LogView> {
        let log = self.operator()?;
        block_on(async { Ok(log.facts().await?) })
    }

    /// Has it begin a backup into a directory.
    ///
    /// # Errors
    /// When it refuses.
    pub fn begin_backup(&self, dir: &Path) -> anyhow::Result<()> {
        let order = BackupOrder {
            dir: std::path::absolute(dir)?.display().to_string(),
            verify: false,
        };
        let log = self.operator()?;
        block_on(async { Ok(log.backup(order, Actor::default()).await?) })?;
        Ok(())
    }

    /// How its backup goes.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn backup_status(&self) -> anyhow::Result<BackupStatus> {
        let log = self.operator()?;
        block_on(async { Ok(log.backup_status().await?) })
    }

    fn operator(&self) -> anyhow::Result<RemoteLog> {
        let token = self.run.token(Role::Operate)?;
        let token = token.context("there is no token")?;
        Ok(RemoteLog::new(
            &format!("http://{}", self.addresses.private),
            token,
        )?)
    }

    /// Memory of the receiver's process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        Memory::of(self.server.id())
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The error, with the last of what the server said.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(10)..];
        match last {
            [] => error,
            last => error.context(format!("the server's last lines:\n{}\n", last.join("\n"))),
        }
    }

    /// Stops it and removes its files.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.stop_worker()?;
        self.server.end(WITHIN)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        for process in self.worker.iter_mut().chain([&mut self.server]) {
            process.let_go();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn command(system: System, workers: usize) -> Vec<String> {
    let words: &[&str] = match system {
        System::NoLog => &["bench-server", "--log", "none"],
        System::File => &["bench-server", "--log", "file"],
        System::CreelWorkers => &["up", "--workers", &workers.to_string()],
        System::Creel | System::Bare => &["receiver"],
    };
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Resident memory of a process, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Just now.
    pub now: u64,
    /// The most it ever was.
    pub peak: u64,
}

impl Memory {
    /// `VmRSS` and `VmHWM` of `/proc/PID/status` (proc_pid_status(5)).
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kib * 1024)
        };
        let now = bytes("VmRSS:").context("no memory is told of")?;
        let peak = bytes("VmHWM:").context("no memory is told of")?;
        Ok(Self { now, peak })
    }
}

/// Processor time of a process so far.
///
/// `utime` and `stime` are fields 14 and 15 of `/proc/PID/stat`, in ticks; the name before them
/// is in parentheses and may hold anything (proc_pid_stat(5)).
fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    let per_second = rustix::param::clock_ticks_per_second();
    #[allow(clippy::cast_precision_loss)]
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}
