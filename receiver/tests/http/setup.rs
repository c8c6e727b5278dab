//! A receiver on free ports over a log in memory.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use creel_common::config::{self, Config};
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::log::local::LocalLog;
use creel_common::log::remote::RemoteLog;
use creel_common::secret::Secret;
use creel_common::time::{Clock, SystemClock};
use creel_receiver::quarantine::Quarantine;
use creel_receiver::verify::Registry;
use creel_receiver::{Listeners, LogParts, Prepared, Receiver, Reload, Surroundings};
use tokio_util::sync::CancellationToken;

pub const GITHUB_SECRET: &str = "canary-github-secret";
pub const SLACK_SECRET: &str = "canary-slack-secret-8f742231b10e8888abcd99yyyzzz85a5";
pub const TWILIO_TOKEN: &str = "canarytwiliotoken0123456789abcde";
pub const WORKER: &str = "canary-worker-token-0123456789";
pub const READ: &str = "canary-read-token-0123456789";
pub const OPERATE: &str = "canary-operate-token-0123456789";

const SECRETS: [(&str, &str); 7] = [
    ("github", GITHUB_SECRET),
    ("slack", SLACK_SECRET),
    ("twilio", TWILIO_TOKEN),
    ("token", "canary-static-token"),
    ("worker", WORKER),
    ("read", READ),
    ("operate", OPERATE),
];

const CONFIG: &str = r#"
[receiver]
listen = "127.0.0.1:0"
private = "127.0.0.1:0"
tokens = [
    { role = "worker", file = "worker" },
    { role = "read", file = "read" },
    { role = "operate", file = "operate", name = "ops" },
]
[log]
engine = "memory"
path = "data"
reserve = "0B"
[sources.gh]
provider = "github"
secrets = [{ file = "github" }]
body_max = "64KiB"
[sources.slack]
provider = "slack"
secrets = [{ file = "slack" }]
[sources.twilio]
provider = "twilio"
secrets = [{ file = "twilio" }]
[sources.tok]
provider = "token"
secrets = [{ file = "token" }]
options = { header = "x-token" }
[sources.open]
provider = "none"
[destinations.sink]
type = "stdout"
[[routes]]
source = "open"
destination = "sink"
"#;

/// The configuration of all these tests, with its secrets in files.
pub fn config(directory: &Path) -> Config {
    for (name, value) in SECRETS {
        let path = directory.join(name);
        std::fs::write(&path, value).unwrap();
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, owner_only).unwrap();
    }
    let path = directory.join("creel.toml");
    config::parse(CONFIG, &path, &config::Known::default())
        .unwrap_or_else(|problems| panic!("{problems}"))
}

/// A receiver that runs.
pub struct Running {
    pub public: SocketAddr,
    pub private: SocketAddr,
    pub stop: CancellationToken,
    pub ended: tokio::task::JoinHandle<std::io::Result<()>>,
    pub engine: Arc<MemoryEngine>,
    pub log: Arc<LocalLog>,
    pub quarantine: Option<Arc<Quarantine>>,
    /// Where everything of it is.
    pub directory: tempfile::TempDir,
}

/// How a test's receiver differs from the others.
pub struct Changes {
    /// Changes the configuration.
    pub config: fn(&mut Config),
    /// Puts something between the receiver and its log.
    pub log: Box<dyn FnOnce(LogParts) -> LogParts>,
    pub clock: Arc<dyn Clock>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            config: |_| {},
            log: Box::new(|log| log),
            clock: Arc::new(SystemClock::default()),
        }
    }
}

pub async fn start() -> Running {
    start_with(Changes::default()).await
}

pub async fn start_with(changes: Changes) -> Running {
    super::logs::capture();
    let directory = tempfile::tempdir().unwrap();
    start_in(directory, changes).await
}

/// The same in a directory that another one was in.
pub async fn start_in(directory: tempfile::TempDir, changes: Changes) -> Running {
    let config = config(directory.path());
    start_from(
        directory,
        config,
        &Registry::built_in(),
        changes,
        |prepared| prepared,
    )
    .await
}

/// The same with a configuration and packs of its own, and something done to it before it runs.
pub async fn start_from(
    directory: tempfile::TempDir,
    mut config: Config,
    registry: &Registry,
    changes: Changes,
    change: impl FnOnce(Prepared) -> Prepared,
) -> Running {
    (changes.config)(&mut config);
    let prepared = change(Prepared::new(&config, registry, "0.0.0-test").unwrap());
    assert!(prepared.warnings.is_empty(), "{:?}", prepared.warnings);
    let engine = Arc::new(MemoryEngine::new(MemorySettings::default(), 7));
    let failed = Arc::new(|_: &creel_common::engine::EngineError| {});
    let log = prepared
        .open_log(&config, engine.clone(), changes.clock.clone(), 7, failed)
        .unwrap();
    let listeners = Listeners::bind(&config.receiver).unwrap();
    let public = listeners.public.local_addr().unwrap();
    let private = listeners.private.local_addr().unwrap();
    let stop = CancellationToken::new();
    let quarantine = prepared.open_quarantine(&config, changes.clock.clone());
    let reload = reload(&config, &prepared, &log, &changes.clock, directory.path());
    let receiver = Receiver {
        config: config.receiver.clone(),
        prepared,
        log: (changes.log)(LogParts::from(&log)),
        quarantine: quarantine.clone(),
        listeners,
        clock: changes.clock,
        version: "0.0.0-test".into(),
        reload,
        stop: stop.clone(),
    };
    Running {
        public,
        private,
        stop,
        ended: tokio::spawn(receiver.run()),
        engine,
        log,
        quarantine,
        directory,
    }
}

/// Reloads read `creel.toml` of the directory, where a test may put another one.
pub fn reload(
    config: &Config,
    prepared: &Prepared,
    log: &Arc<LocalLog>,
    clock: &Arc<dyn Clock>,
    directory: &Path,
) -> Arc<Reload> {
    let path = directory.join("creel.toml");
    let around = Surroundings {
        read: Box::new(move || {
            let config = config::load(&path, &config::Known::default());
            let config = config.map_err(|problems| problems.to_string())?;
            Ok((config, Registry::built_in()))
        }),
        told: Box::new(|_| {}),
        clock: clock.clone(),
    };
    Reload::new(prepared, config.clone(), log.clone(), around)
}

impl Running {
    /// Puts another configuration, made of that of all these tests, where a reload finds it.
    pub fn write_config(&self, change: impl FnOnce(&str) -> String) {
        let path = self.directory.path().join("creel.toml");
        std::fs::write(path, change(CONFIG)).unwrap();
    }

    /// Puts another secret into one of the files.
    pub fn write_secret(&self, name: &str, secret: &str) {
        std::fs::write(self.directory.path().join(name), secret).unwrap();
    }

    /// The log as somebody with this token sees it.
    pub fn remote(&self, token: &str) -> RemoteLog {
        RemoteLog::new(&format!("http://{}", self.private), Secret::new(token)).unwrap()
    }

    /// Deliveries in the log.
    pub fn deliveries(&self) -> u64 {
        self.log.facts().deliveries
    }

    /// The value of a metric's line, 0 where it is not there.
    pub async fn metric(&self, line: &str) -> f64 {
        let request = super::client::request("GET", "/metrics", &[], b"");
        let answer = super::client::exchange(self.private, &request).await;
        assert_eq!(answer.status, 200);
        let found = answer.body.lines().find_map(|l| l.strip_prefix(line));
        found.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// Stops it and waits for its end, which must come soon.
    pub async fn finish(self) {
        self.finish_keeping().await;
    }

    /// The same; its directory is for another one.
    pub async fn finish_keeping(self) -> tempfile::TempDir {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(30), self.ended).await;
        ended.unwrap().unwrap().unwrap();
        if let Some(quarantine) = self.quarantine {
            quarantine.close();
        }
        self.directory
    }
}
