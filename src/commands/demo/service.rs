//! `creel up` as the demo runs it: a child process, found through its run directory.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use creel_common::config::Role;
use creel_common::log::Operate;
use creel_common::log::remote::RemoteLog;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::scene::Scene;
use crate::lifeline;
use crate::rundir::{Addresses, RunDir};

/// A start or a stop that takes longer has failed.
const WITHIN: Duration = Duration::from_secs(20);
/// Log lines kept to show when something fails.
const LINES_KEPT: usize = 40;

/// A running `creel up`.
pub struct Service {
    up: Child,
    /// `creel up` ends when this does: with the demo, however that ends.
    _lifeline: UnixStream,
    run: RunDir,
    /// Where it listens.
    pub addresses: Addresses,
    /// Its log, as an operator sees it.
    pub log: Arc<dyn Operate>,
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Service {
    /// Starts it and waits until it can acknowledge.
    ///
    /// # Errors
    /// With its last log lines, when it does not start.
    pub async fn start(config: &Path) -> anyhow::Result<Self> {
        let (lifeline, theirs) = lifeline::pair()?;
        let mut up = Command::new(super::executable()?)
            .args(["up", "--supervised"])
            .arg("--config")
            .arg(config)
            .env_remove("CREEL_RUN_DIR")
            .env_remove("CREEL_RECEIVER")
            .env_remove("CREEL_TOKEN")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start creel up")?;
        let lines = Arc::default();
        if let Some(stderr) = up.stderr.take() {
            tokio::spawn(keep(stderr, Arc::clone(&lines)));
        }
        let run = RunDir::of(None, config);
        let addresses = match addresses(&mut up, &run).await {
            Ok(addresses) => addresses,
            Err(error) => return Err(error.context(last(&lines))),
        };
        let token = run
            .token(Role::Operate)?
            .context("creel up made no token")?;
        let log = RemoteLog::new(&format!("http://{}", addresses.private), token)?;
        Ok(Self {
            up,
            _lifeline: lifeline,
            run,
            addresses,
            log: Arc::new(log),
            lines,
        })
    }

    /// Kills the receiver the hard way; says which process that was.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill_receiver(&self) -> anyhow::Result<u32> {
        let processes = self.run.processes()?.context("creel up runs nothing")?;
        let pid = processes.receiver.context("there is no receiver")?;
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        kill_process(raw.context("no process id")?, Signal::KILL)
            .context("cannot kill the receiver")?;
        Ok(pid)
    }

    /// Waits until another receiver than `killed` answers.
    ///
    /// # Errors
    /// When none does in time.
    pub async fn until_ready_again(&mut self, killed: u32) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let now = self
                .run
                .processes()?
                .and_then(|processes| processes.receiver);
            if now.is_some_and(|pid| pid != killed) && self.log.routes().await.is_ok() {
                return Ok(());
            }
            ensure!(began.elapsed() < WITHIN, "the receiver did not come back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops it as an operator would.
    ///
    /// # Errors
    /// When it does not end, or not with 0.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let pid = self.up.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).context("cannot stop creel up")?;
        }
        match tokio::time::timeout(WITHIN, self.up.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
            Ok(status) => bail!("creel up ended with {}: {}", status?, last(&self.lines)),
            Err(_) => bail!("creel up does not end: {}", last(&self.lines)),
        }
    }

    /// Ends it somehow; answers its last log lines.
    pub async fn end(&mut self) -> String {
        if self.stop().await.is_err() {
            // its children end by themselves when it has gone
            let _ = self.up.kill().await;
        }
        last(&self.lines)
    }

    /// What a person may do now.
    pub fn invitation(&self, scene: &Scene) -> String {
        let config = scene.config();
        let config = config.display();
        format!(
            "\nstill running, until ctrl-c\n  senders    http://{}\n  operators  http://{}\n\n  \
             creel --config {config} routes list\n  creel --config {config} deliveries list\n  \
             creel --config {config} tail\n  creel --config {config} send github\n",
            self.addresses.public, self.addresses.private
        )
    }
}

async fn addresses(up: &mut Child, run: &RunDir) -> anyhow::Result<Addresses> {
    let began = Instant::now();
    loop {
        if let Some(addresses) = run.addresses()? {
            return Ok(addresses);
        }
        if let Some(status) = up.try_wait()? {
            bail!("creel up ended with {status}");
        }
        ensure!(began.elapsed() < WITHIN, "creel up is not ready in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn keep(from: impl AsyncRead + Unpin, lines: Arc<Mutex<VecDeque<String>>>) {
    let mut from = BufReader::new(from).lines();
    while let Ok(Some(line)) = from.next_line().await {
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

fn last(lines: &Mutex<VecDeque<String>>) -> String {
    let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().cloned().collect::<Vec<_>>().join("\n")
}
