//! A creel process: started, watched, signalled, and its log lines judged.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Sockets, eventually};

/// How a process ended.
#[derive(Debug)]
pub struct Exit {
    pub status: ExitStatus,
    /// Between the call that waited and the end.
    pub took: Duration,
    pub stdout: String,
    pub stderr: String,
}

impl Exit {
    /// The exit code, or `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// A running creel.
///
/// Dropping it kills it. A line of level ERROR in its log fails the test unless
/// it holds a text that the test allowed; when the test fails for any reason the
/// log is printed.
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    stdout: Captured,
    stderr: Captured,
    allowed: Vec<String>,
}

impl Process {
    /// Starts `command`; `traced` says that it is strace and that creel is its child.
    pub async fn start(name: &str, mut command: Command, traced: bool) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self::spawn(name, command, traced).await
    }

    /// Starts `command` as a service manager does: it gets `sockets` from descriptor 3 on, `names`
    /// with colons between them.
    pub async fn activate(name: &str, command: &Command, sockets: Sockets, names: &str) -> Self {
        Self::spawn(name, sockets.handed_to(command, names), false).await
    }

    async fn spawn(name: &str, mut command: Command, traced: bool) -> Self {
        command.stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = match child.stdout.take() {
            Some(stdout) => Captured::from(stdout),
            None => Captured::from(std::io::empty()),
        };
        let stderr = Captured::from(child.stderr.take().expect("stderr is piped"));
        let own = Pid::from_child(&child);
        let pid = if traced {
            traced_child(own, &stderr).await
        } else {
            own
        };
        let allowed = Vec::new();
        Self {
            name: name.to_owned(),
            child,
            pid,
            stdout,
            stderr,
            allowed,
        }
    }

    /// Runs `command` to its end. Its exit code says whether it failed: errors
    /// that it prints are the caller's to judge.
    pub async fn run(name: &str, command: Command, within: Duration) -> Exit {
        let mut process = Self::start(name, command, false).await;
        process.allow_errors("").exit_within(within).await
    }

    /// Lines of level ERROR that hold `text` are expected.
    pub fn allow_errors(&mut self, text: &str) -> &mut Self {
        self.allowed.push(text.to_owned());
        self
    }

    /// The process id of creel itself, also under strace.
    pub fn pid(&self) -> u32 {
        u32::try_from(self.pid.as_raw_pid()).expect("a process id is positive")
    }

    /// Sends `signal` to creel; one that has ended already is let be.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid, signal);
    }

    /// Kills it with SIGKILL and waits for its end.
    pub async fn kill(&mut self) -> Exit {
        self.signal(Signal::KILL);
        self.exit_within(Duration::from_secs(10)).await
    }

    /// Asks it to stop with SIGTERM and waits for its end.
    pub async fn terminate(&mut self, within: Duration) -> Exit {
        self.signal(Signal::TERM);
        self.exit_within(within).await
    }

    /// Waits for its end.
    pub async fn exit_within(&mut self, within: Duration) -> Exit {
        let started = Instant::now();
        let what = format!("the end of {}", self.name);
        let child = &mut self.child;
        let status = eventually(&what, within, async || {
            child.try_wait().expect("our own child")
        })
        .await;
        let took = started.elapsed();
        Exit {
            status,
            took,
            stdout: self.stdout.to_end(),
            stderr: self.stderr.to_end(),
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_some()
    }

    /// What it has printed to stderr up to now.
    pub fn log(&self) -> String {
        self.stderr.so_far()
    }

    /// Resident memory in bytes.
    pub fn rss_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line
            .and_then(|line| line.split_whitespace().next())
            .and_then(|n| n.parse().ok());
        kib.unwrap_or(0u64) * 1024
    }

    /// Waits for the end after a kill; a strace that does not follow is killed too.
    fn reap(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn unexpected_errors(&self, log: &str) -> Vec<String> {
        let unexpected = |line: &&str| {
            is_error(line) && !self.allowed.iter().any(|allowed| line.contains(allowed))
        };
        log.lines().filter(unexpected).map(str::to_owned).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::KILL);
            self.reap();
        }
        let log = self.stderr.to_end();
        let errors = self.unexpected_errors(&log);
        if std::thread::panicking() || !errors.is_empty() {
            eprintln!(
                "---- log of {} ----\n{log}---- end of its log ----",
                self.name
            );
        }
        if !std::thread::panicking() {
            assert!(
                errors.is_empty(),
                "{} logged errors: {errors:#?}",
                self.name
            );
        }
    }
}

/// Whether a log line, plain or JSON, is of level ERROR.
fn is_error(line: &str) -> bool {
    line.contains("\"level\":\"ERROR\"")
        || line.split_whitespace().take(3).any(|word| word == "ERROR")
}

/// The traced child of strace. Strace forks for itself as well: the one that
/// runs another program is creel.
async fn traced_child(strace: Pid, stderr: &Captured) -> Pid {
    let strace = strace.as_raw_pid();
    let program = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    eventually("a child of strace", Duration::from_secs(10), async || {
        let children = fs::read_to_string(format!("/proc/{strace}/task/{strace}/children"));
        let children = children.unwrap_or_else(|error| panic!("{error}: {}", stderr.so_far()));
        let runs_another =
            |&pid: &i32| program(pid).is_some_and(|one| Some(one) != program(strace));
        let mut pids = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        Pid::from_raw(pids.find(runs_another)?)
    })
    .await
}

/// What comes out of a pipe, read by a thread so that the writer never blocks.
struct Captured {
    text: Arc<Mutex<String>>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

impl Captured {
    fn from(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let mut text = into.lock().expect("no reader panics");
                text.push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self {
            text,
            reader: Mutex::new(Some(reader)),
        }
    }

    fn so_far(&self) -> String {
        self.text.lock().expect("no reader panics").clone()
    }

    /// All of it, once the process has ended.
    fn to_end(&self) -> String {
        if let Some(reader) = self.reader.lock().expect("no reader panics").take() {
            reader.join().expect("the reader does not panic");
        }
        self.so_far()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn the_exit_code_and_both_outputs_are_kept() {
        let command = shell("echo out; echo err >&2; exit 74");
        let exit = Process::run("a shell", command, Duration::from_secs(10)).await;
        assert_eq!(
            (exit.code(), exit.stdout.as_str(), exit.stderr.as_str()),
            (Some(74), "out\n", "err\n")
        );
    }

    #[tokio::test]
    async fn a_killed_process_has_no_exit_code() {
        let mut process = Process::start("a sleeper", shell("exec sleep 600"), false).await;
        assert!(!process.has_ended());
        assert_eq!(process.kill().await.code(), None);
    }

    #[tokio::test]
    async fn dropping_a_process_ends_it() {
        let process = Process::start("a sleeper", shell("exec sleep 600"), false).await;
        let proc_dir = format!("/proc/{}", process.pid());
        drop(process);
        assert!(!std::path::Path::new(&proc_dir).exists());
    }

    #[tokio::test]
    #[should_panic(expected = "logged errors")]
    async fn an_error_in_the_log_fails_the_test() {
        let mut process =
            Process::start("a shell", shell("echo 'T ERROR disk: boom' >&2"), false).await;
        process.exit_within(Duration::from_secs(10)).await;
    }

    #[tokio::test]
    async fn an_error_that_was_allowed_does_not() {
        let mut process =
            Process::start("a shell", shell("echo 'T ERROR disk: boom' >&2"), false).await;
        process.allow_errors("boom");
        process.exit_within(Duration::from_secs(10)).await;
    }

    #[test]
    fn errors_are_told_by_their_level_and_not_by_their_words() {
        assert!(is_error(
            r#"{"timestamp":"…","level":"ERROR","message":"x"}"#
        ));
        assert!(is_error("2026-01-01T00:00:00Z ERROR creel: x"));
        assert!(!is_error("2026-01-01T00:00:00Z  INFO creel: no ERROR here"));
    }
}
