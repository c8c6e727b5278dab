//! `creel receiver`: started, found, and known to be ready.

use std::fs;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Api, Exit, Process, Role, Site, Strace, eventually};

/// A receiver that has said where it listens.
pub struct Receiver {
    process: Process,
    pub public: SocketAddr,
    pub private: SocketAddr,
    /// From its start until it was ready to acknowledge; `None` while not waited for.
    pub ready_after: Option<Duration>,
    started: Instant,
}

/// A receiver that ended instead of listening.
#[derive(Debug)]
pub struct StartFailed(pub Exit);

impl Receiver {
    /// Starts one and waits until it is ready.
    ///
    /// # Panics
    /// If it ends, or is not ready within 30 s.
    pub async fn start(site: &Site) -> Self {
        let mut receiver = Self::bind(site, None).await.expect("the receiver starts");
        receiver.until_ready(site).await;
        receiver
    }

    /// The same with everything logged, in a format (`text`, `json`).
    pub async fn start_with_log(site: &Site, format: &str) -> Self {
        let mut command = site.creel(&["receiver"]);
        command
            .env("CREEL_LOG", "trace")
            .args(["--log-format", format]);
        let mut receiver = Self::bind_as(site, command, false)
            .await
            .expect("the receiver starts");
        receiver.until_ready(site).await;
        receiver
    }

    /// The same under strace.
    pub async fn start_under(site: &Site, strace: &Strace) -> Self {
        let mut receiver = Self::bind(site, Some(strace))
            .await
            .expect("the receiver starts");
        receiver.until_ready(site).await;
        receiver
    }

    /// Starts one and waits until it has bound its listeners, or has ended.
    pub async fn bind(site: &Site, strace: Option<&Strace>) -> Result<Self, StartFailed> {
        let command = match strace {
            Some(strace) => site.creel_under(strace, &["receiver"]),
            None => site.creel(&["receiver"]),
        };
        Self::bind_as(site, command, strace.is_some()).await
    }

    async fn bind_as(site: &Site, mut command: Command, traced: bool) -> Result<Self, StartFailed> {
        let addresses = site.config().with_extension("addresses.json");
        let _ = fs::remove_file(&addresses);
        command.arg("--addresses-file").arg(&addresses);
        let started = Instant::now();
        let mut process = Process::start("creel receiver", command, traced).await;
        let found = eventually(
            "the receiver's addresses",
            Duration::from_secs(30),
            async || match fs::read(&addresses) {
                Ok(text) => Some(Some(listeners(&text))),
                Err(_) => process.has_ended().then_some(None),
            },
        )
        .await;
        match found {
            Some((public, private)) => Ok(Self {
                process,
                public,
                private,
                ready_after: None,
                started,
            }),
            None => {
                // why it ended is the caller's to judge
                process.allow_errors("");
                Err(StartFailed(
                    process.exit_within(Duration::from_secs(1)).await,
                ))
            }
        }
    }

    /// Waits until `/ready` says that it can acknowledge.
    pub async fn until_ready(&mut self, site: &Site) {
        let api = self.api(site, Role::Read);
        let process = &mut self.process;
        eventually("a ready receiver", Duration::from_secs(30), async || {
            assert!(
                !process.has_ended(),
                "the receiver ended before it was ready"
            );
            let reply = api.try_get("/ready").await?;
            (reply.status == 200).then_some(())
        })
        .await;
        self.ready_after = Some(self.started.elapsed());
    }

    /// Its private listener, with the site's token for `role`.
    pub fn api(&self, site: &Site, role: Role) -> Api {
        Api::new(self.private, site.token(role))
    }
}

impl Deref for Receiver {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Receiver {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn listeners(text: &[u8]) -> (SocketAddr, SocketAddr) {
    let value: serde_json::Value = serde_json::from_slice(text).expect("written at once, whole");
    let address = |name: &str| {
        value[name]
            .as_str()
            .expect("an address")
            .parse()
            .expect("HOST:PORT")
    };
    (address("public"), address("private"))
}
