//! One child process: started, its log lines passed on, ended.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use anyhow::Context;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child as Process, Command};

use crate::output::{DIM, paint};

/// Longest log line that is passed on whole.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// How a child is started.
pub struct Launch<'a> {
    /// The executable.
    pub executable: &'a Path,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its standard input: its end of the lifeline.
    pub lifeline: OwnedFd,
    /// Its name, which its log lines are passed on with.
    pub name: String,
    /// Its log lines are JSON objects.
    pub json: bool,
}

/// A child that runs.
pub struct Child {
    process: Process,
    pid: u32,
}

impl Child {
    /// Starts it, in a process group of its own: a ctrl-c is for `creel up`, which stops its
    /// children in order.
    ///
    /// # Errors
    /// When the executable cannot be started.
    pub fn start(launch: Launch<'_>) -> anyhow::Result<Self> {
        let mut process = Command::new(launch.executable)
            .args(&launch.arguments)
            // a service manager's words are for `creel up` alone
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            .env_remove("LISTEN_FDNAMES")
            .stdin(Stdio::from(launch.lifeline))
            .stdout(Stdio::inherit())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", launch.executable.display()))?;
        let pid = process.id().context("the child has ended already")?;
        if let Some(lines) = process.stderr.take() {
            tokio::spawn(pass_on(lines, launch.name, launch.json));
        }
        Ok(Self { process, pid })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.wait().await.context("cannot wait for a child")
    }

    /// Sends it a signal; nothing happens when it has ended.
    pub fn signal(&self, signal: Signal) {
        // `id` is None once it was waited for, so the number cannot be somebody else's
        let pid = self.process.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

async fn pass_on(from: impl AsyncRead + Unpin, name: String, json: bool) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut from)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\n');
        // nowhere to complain to when stderr is gone
        let _ = writeln!(anstream::stderr(), "{}", named(text, &name, json));
    }
}

/// A log line with the name of its process: a field of an object, or in front.
fn named(line: &str, name: &str, json: bool) -> String {
    match line.strip_prefix('{') {
        Some(rest) if json => format!("{{\"process\":\"{name}\",{rest}"),
        _ => format!("{} {line}", paint(DIM, &format!("{name:<9}│"))),
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn an_object_stays_one_and_says_whose_it_is() {
        let line = named(r#"{"level":"INFO"}"#, "worker-1", true);
        let object: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            (&object["process"], &object["level"]),
            (&"worker-1".into(), &"INFO".into())
        );
        let text = named("thread panicked", "worker-1", true);
        assert!(
            text.contains("worker-1") && text.ends_with(" thread panicked"),
            "{text}"
        );
    }
}
