//! A child process of this executable, as `bench` and `torture` run them: it ends with its parent,
//! and what it says goes into a file.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::lifeline;

/// Between two looks at whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long a process that nobody waits for may take to stop in order.
const LET_GO: Duration = Duration::from_millis(200);

/// A running child.
pub struct Process {
    child: Child,
    /// It ends when this does: with this process, however that ends.
    _lifeline: UnixStream,
}

impl Process {
    /// Starts this executable with `arguments` and the configuration `config`; its log lines are
    /// added to the file `log` in `dir`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(dir: &Path, config: &Path, arguments: &[String]) -> anyhow::Result<Self> {
        Self::spawn(dir, Self::command(config, arguments)?)
    }

    /// What [`Process::start`] starts, for [`Process::spawn`].
    ///
    /// # Errors
    /// When this executable is not to be found.
    pub fn command(config: &Path, arguments: &[String]) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(arguments)
            .arg("--supervised")
            .arg("--config")
            .arg(config)
            .env_remove("CREEL_RUN_DIR")
            .env_remove("CREEL_RECEIVER")
            .env_remove("CREEL_TOKEN")
            .env("CREEL_LOG", "warn");
        Ok(command)
    }

    /// Starts a [`Process::command`] that something was added to.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(dir: &Path, mut command: Command) -> anyhow::Result<Self> {
        let (lifeline, theirs) = lifeline::pair()?;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join("log"))?;
        let child = command
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start this executable")?;
        lifeline::hand_over_none(&lifeline)?;
        Ok(Self {
            child,
            _lifeline: lifeline,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// Never for a child of ours.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Ends it as a crash would, and waits until it has gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("cannot kill a process")?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops it in order and waits until it has gone.
    ///
    /// # Errors
    /// When it has not after `within`.
    pub fn end(&mut self, within: Duration) -> anyhow::Result<()> {
        self.signal(Signal::TERM);
        let began = Instant::now();
        while self.ended()?.is_none() {
            ensure!(began.elapsed() < within, "a process does not end");
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Ends it somehow, soon.
    pub fn let_go(&mut self) {
        // not yet waited for, so the number is still its own
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            std::thread::sleep(LET_GO);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
