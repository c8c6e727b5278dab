//! A service manager played by the test: hands sockets in, and hears how a process stands.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Site, eventually};

/// One or two sockets to be handed in.
pub struct Sockets {
    first: OwnedFd,
    second: Option<OwnedFd>,
}

impl Sockets {
    pub fn one(first: impl Into<OwnedFd>) -> Self {
        Self {
            first: first.into(),
            second: None,
        }
    }

    pub fn two(first: impl Into<OwnedFd>, second: impl Into<OwnedFd>) -> Self {
        Self {
            first: first.into(),
            second: Some(second.into()),
        }
    }

    /// The same ones once more.
    pub fn again(&self) -> Self {
        let again = |socket: &OwnedFd| socket.try_clone().expect("descriptors are left");
        Self {
            first: again(&self.first),
            second: self.second.as_ref().map(again),
        }
    }

    /// `command` with these as descriptors 3 and 4. A shell puts them there, and becomes `command`,
    /// so that LISTEN_PID is right.
    pub fn handed_to(self, command: &Command, names: &str) -> Command {
        let script = match self.second {
            None => "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$@\"",
            Some(_) => "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$@\"",
        };
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(command.get_program());
        shell.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            shell.current_dir(directory);
        }
        let count = 1 + usize::from(self.second.is_some());
        shell.env("LISTEN_FDS", count.to_string());
        shell.env("LISTEN_FDNAMES", names);
        shell.stdin(Stdio::from(self.first));
        match self.second {
            Some(second) => shell.stdout(Stdio::from(second)),
            None => shell.stdout(Stdio::piped()),
        };
        shell
    }
}

/// What a process says of itself over NOTIFY_SOCKET.
pub struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    heard: Vec<String>,
}

impl Manager {
    /// One that listens in `site`.
    pub fn listen(site: &Site) -> Self {
        let path = site.path("notify");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("a short path");
        socket.set_nonblocking(true).expect("our own socket");
        Self {
            socket,
            path,
            heard: Vec::new(),
        }
    }

    /// `command`, told where to speak to and how often at least.
    pub fn watch(&self, mut command: Command, watchdog: Duration) -> Command {
        command.env("NOTIFY_SOCKET", &self.path);
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        command
    }

    /// All messages so far, each with a line per state.
    pub fn heard(&mut self) -> &[String] {
        let mut message = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut message) {
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            self.heard.push(text);
        }
        &self.heard
    }

    /// How many messages hold `line`.
    pub fn count(&mut self, line: &str) -> usize {
        let holds = |message: &&String| message.lines().any(|one| one == line);
        self.heard().iter().filter(holds).count()
    }

    /// Waits until a message holds a line that begins with `start`.
    pub async fn until(&mut self, start: &str) {
        let what = format!("a notice of {start}");
        eventually(&what, Duration::from_secs(60), async || {
            let begins = |message: &String| message.lines().any(|line| line.starts_with(start));
            self.heard().iter().any(begins).then_some(())
        })
        .await;
    }
}
