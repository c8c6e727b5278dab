//! Where faults are played: a directory, a receiver, workers, a destination, and perhaps a layer.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use creel_common::config::Role;
use creel_common::layer::{Cut, Disk, Layer};
use creel_common::log::remote::RemoteLog;
use creel_common::wall::Wall;
use rustix::process::Signal;
use serde::Serialize;

use crate::commands::demo::sink::{Ailment, Sink};
use crate::failure::DISK;
use crate::process::Process;
use crate::rundir::RunDir;

/// The only source.
pub const SOURCE: &str = "torture";
/// The name of the destination, and with the source that of the route.
const SINK: &str = "sink";
/// How long a worker holds what it leased.
pub const LEASE: Duration = Duration::from_millis(1500);
/// How a receiver ends whose disk failed.
pub const DISK_FAILED: i32 = DISK as i32;
const WORKERS: usize = 2;
/// Far more than any test of ours needs.
const LAYER_BYTES: u64 = 1 << 40;
/// A start or a stop that takes longer has failed.
const WITHIN: Duration = Duration::from_secs(30);
/// Between two looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the log is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ground {
    /// The disk in question.
    Disk,
    /// A file system of ours, in memory.
    Layer,
}

impl Ground {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disk => "the disk",
            Self::Layer => "the layer",
        }
    }
}

/// A running creel, and everything around it.
pub struct Stand {
    dir: PathBuf,
    ground: Ground,
    public: SocketAddr,
    private: SocketAddr,
    receiver: Option<Process>,
    workers: Vec<Process>,
    layer: Option<Layer>,
    /// The wall clock of what is started, if it is not the machine's.
    wall: Option<Wall>,
    /// Whether syncs on the layer do anything.
    believe: bool,
    run: RunDir,
    secret: String,
    destination: SocketAddr,
    client: reqwest::Client,
    started: Instant,
    /// What came to the destination.
    pub sink: Arc<Sink>,
    /// The longest from a start until the receiver was ready.
    pub slowest_start: Duration,
}

impl Stand {
    /// `log.reserve`, unless a fault says otherwise.
    pub const RESERVE_BYTES: u64 = 64 << 20;

    /// Makes `dir`, starts everything in it and waits until it is ready. Unless `believe`, syncs
    /// on the layer do nothing.
    ///
    /// # Errors
    /// With the end of its log lines, when it does not start.
    pub async fn set(dir: &Path, ground: Ground, believe: bool) -> anyhow::Result<Self> {
        fs::create_dir_all(dir.join("disk"))
            .with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let (sink, destination) = Sink::start(SINK, Ailment::Picky).await?;
        sink.cure();
        let [public, private] = free_addresses()?;
        let mut stand = Self {
            run: RunDir::of(None, &dir.join("creel.toml")),
            dir,
            ground,
            public,
            private,
            receiver: None,
            workers: Vec::new(),
            layer: None,
            wall: None,
            believe,
            secret: hex::encode(rand::random::<[u8; 32]>()),
            destination,
            client: reqwest::Client::builder()
                .no_proxy()
                .tls_certs_only([])
                .timeout(Duration::from_secs(1))
                .build()?,
            started: Instant::now(),
            sink,
            slowest_start: Duration::ZERO,
        };
        if ground == Ground::Layer {
            stand.serve(Disk::empty())?;
        }
        let secret = stand.dir.join("secret");
        fs::write(&secret, &stand.secret)?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
        stand.configure(Self::RESERVE_BYTES)?;
        stand.start_receiver()?;
        stand.until_ready().await?;
        for _ in 0..WORKERS {
            let worker = stand.start(&["worker"])?;
            stand.workers.push(worker);
        }
        Ok(stand)
    }

    /// What its log is on.
    pub fn ground(&self) -> Ground {
        self.ground
    }

    /// Where senders send.
    pub fn public(&self) -> SocketAddr {
        self.public
    }

    /// What they sign with.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The name of its only route.
    pub fn route() -> String {
        format!("{SOURCE}-{SINK}")
    }

    /// Writes the configuration that the next start reads.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, reserve_bytes: u64) -> anyhow::Result<()> {
        // small volumes, so that they roll over; a retention that a wall clock can jump over; nobody's
        // delivery dies of what is done to workers
        let text = format!(
            r#"[receiver]
listen  = "{}"
private = "{}"

[log]
path      = "disk/data"
reserve   = "{reserve_bytes}B"
volume    = "4MiB"
attempts  = "1MiB"
retention = "1h"
lease     = "{}ms"
lost_max  = 1000

[sources.{SOURCE}]
provider = "github"
secrets  = [{{ file = "secret" }}]

[destinations.{SINK}]
type  = "http"
url   = "http://{}/"
allow = ["127.0.0.0/8"]

[[routes]]
source      = "{SOURCE}"
destination = "{SINK}"
start       = "beginning"
retry       = {{ max_attempts = 1000, initial = "50ms", max = "500ms" }}
breaker     = {{ failures = 0 }}
"#,
            self.public,
            self.private,
            LEASE.as_millis(),
            self.destination,
        );
        fs::write(self.config(), text)?;
        Ok(())
    }

    fn config(&self) -> PathBuf {
        self.dir.join("creel.toml")
    }

    fn start(&self, words: &[&str]) -> anyhow::Result<Process> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let mut command = Process::command(&self.config(), &words)?;
        if let Some(wall) = &self.wall {
            wall.over(&mut command);
        }
        Process::spawn(&self.dir, command)
    }

    /// Starts the receiver and does not wait for anything.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_receiver(&mut self) -> anyhow::Result<()> {
        self.started = Instant::now();
        self.receiver = Some(self.start(&["receiver"])?);
        Ok(())
    }

    /// Waits until the receiver can acknowledge.
    ///
    /// # Errors
    /// When it ends instead, or takes too long.
    pub async fn until_ready(&mut self) -> anyhow::Result<()> {
        while !self.is_ready().await {
            if let Some(status) = self.receiver()?.ended()? {
                bail!("a start failed with {status}: {}", self.last_lines());
            }
            ensure!(
                self.started.elapsed() < WITHIN,
                "a start took too long: {}",
                self.last_lines()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.slowest_start = self.slowest_start.max(self.started.elapsed());
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let Ok(Some(token)) = self.run.token(Role::Operate) else {
            return false;
        };
        let url = format!("http://{}/ready", self.private);
        let asked = self.client.get(url).bearer_auth(token.expose()).send();
        asked.await.is_ok_and(|answer| answer.status().is_success())
    }

    fn receiver(&mut self) -> anyhow::Result<&mut Process> {
        self.receiver.as_mut().context("no receiver was started")
    }

    /// The log as an operator sees it.
    ///
    /// # Errors
    /// When there is no token yet.
    pub fn log(&self) -> anyhow::Result<RemoteLog> {
        let token = self.run.token(Role::Operate)?;
        let token = token.context("there is no token")?;
        Ok(RemoteLog::new(&format!("http://{}", self.private), token)?)
    }

    /// Kills the receiver, or finds that it has ended.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill_receiver(&mut self) -> anyhow::Result<()> {
        self.receiver()?.kill()
    }

    /// Stops the receiver in order.
    ///
    /// # Errors
    /// When it does not end, or not with 0.
    pub fn stop_receiver(&mut self) -> anyhow::Result<()> {
        let receiver = self.receiver()?;
        receiver.end(WITHIN)?;
        let status = receiver.ended()?.context("it has ended")?;
        ensure!(
            status.success(),
            "a stop in order ended with {status}: {}",
            self.last_lines()
        );
        Ok(())
    }

    /// Waits until the receiver ends by itself.
    ///
    /// # Errors
    /// When it goes on.
    pub async fn until_receiver_ends(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.receiver()?.ended()? {
                return Ok(status);
            }
            ensure!(began.elapsed() < within, "the receiver goes on");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Kills a worker and starts another.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn restart_worker(&mut self, which: usize) -> anyhow::Result<()> {
        self.workers[which].kill()?;
        self.workers[which] = self.start(&["worker"])?;
        Ok(())
    }

    /// Starts everything again, in order, under a wall clock that can be set, or without.
    ///
    /// # Errors
    /// When it does not stop or start.
    pub async fn restart_under(&mut self, wall: Option<Wall>) -> anyhow::Result<()> {
        self.wall = wall;
        self.stop_receiver()?;
        self.start_receiver()?;
        self.until_ready().await?;
        for which in 0..self.workers() {
            self.workers[which].end(WITHIN)?;
            self.workers[which] = self.start(&["worker"])?;
        }
        Ok(())
    }

    /// A wall clock of its own, for [`Stand::restart_under`].
    ///
    /// # Errors
    /// When there is no libfaketime.
    pub fn new_wall(&self) -> anyhow::Result<Wall> {
        Wall::new(self.dir.join("wall")).context("cannot make a wall clock")
    }

    /// The wall clock that everything runs under.
    ///
    /// # Errors
    /// When that is the machine's.
    pub fn wall(&self) -> anyhow::Result<&Wall> {
        self.wall.as_ref().context("the clock is the machine's")
    }

    /// Signals a worker or, beyond them, the receiver.
    pub fn signal(&self, which: usize, signal: Signal) {
        if let Some(process) = self.workers.iter().chain(&self.receiver).nth(which) {
            process.signal(signal);
        }
    }

    /// Waits until something more arrives at the destination.
    ///
    /// # Errors
    /// When nothing does.
    pub async fn until_one_more_arrives(&self) -> anyhow::Result<()> {
        let (began, before) = (Instant::now(), self.sink.arrivals());
        while self.sink.arrivals() == before {
            ensure!(began.elapsed() < WITHIN, "nothing is delivered any more");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// The file system of ours.
    ///
    /// # Errors
    /// When it stands on the disk.
    pub fn layer(&self) -> anyhow::Result<&Layer> {
        self.layer.as_ref().context("there is no layer")
    }

    /// Waits for the planned cut; cuts now when it does not come.
    ///
    /// # Errors
    /// When there is no layer.
    pub async fn until_cut(&self, within: Duration, seed: u64) -> anyhow::Result<Cut> {
        let (layer, began) = (self.layer()?, Instant::now());
        while began.elapsed() < within {
            if let Some(cut) = layer.taken() {
                return Ok(cut);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(layer.taken().unwrap_or_else(|| layer.cut(seed)))
    }

    /// Mounts what a cut left in place of the disk that was cut off.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn serve(&mut self, disk: Disk) -> anyhow::Result<()> {
        self.layer = None;
        let layer = Layer::mount(&self.dir.join("disk"), disk)?;
        layer.believe_syncs(self.believe);
        self.layer = Some(layer);
        Ok(())
    }

    /// Ends everything and leaves what there is for a look; what was on the layer, as far as it
    /// was sure, is written beside it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(mut self) -> anyhow::Result<()> {
        self.end();
        if let Some(layer) = &self.layer {
            let left = layer.taken().unwrap_or_else(|| layer.cut_strictly());
            left.disk.write_to(&self.dir.join("disk-left"))?;
        }
        Ok(())
    }

    /// Ends all processes.
    fn end(&mut self) {
        for process in self.workers.iter_mut().chain(&mut self.receiver) {
            process.let_go();
        }
    }

    /// Leaves so much room on the layer.
    ///
    /// # Errors
    /// When there is none.
    pub fn fill(&self, room_bytes: u64) -> anyhow::Result<()> {
        let layer = self.layer()?;
        layer.set_size(layer.used_bytes() + room_bytes);
        Ok(())
    }

    /// All room there is.
    ///
    /// # Errors
    /// When there is no layer.
    pub fn empty(&self) -> anyhow::Result<()> {
        self.layer()?.set_size(LAYER_BYTES);
        Ok(())
    }

    /// Bytes free under the log.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn free_bytes(&self) -> anyhow::Result<u64> {
        let stat = rustix::fs::statvfs(self.dir.join("disk"))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Reads the whole log back with `creel log verify`, while no receiver runs.
    ///
    /// # Errors
    /// When it finds anything wrong.
    pub fn verify(&self) -> anyhow::Result<()> {
        let verified = std::process::Command::new(std::env::current_exe()?)
            .args(["log", "verify", "--config"])
            .arg(self.config())
            .output()
            .context("cannot start this executable")?;
        ensure!(
            verified.status.success(),
            "creel log verify ended with {}: {}{}",
            verified.status,
            String::from_utf8_lossy(&verified.stdout),
            String::from_utf8_lossy(&verified.stderr)
        );
        Ok(())
    }

    fn last_lines(&self) -> String {
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        // before the file system goes that they use
        self.end();
    }
}

/// Two that are free now, and the same for every start: workers and senders know no others.
fn free_addresses() -> anyhow::Result<[SocketAddr; 2]> {
    let listen = || TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback");
    let (one, other) = (listen()?, listen()?);
    Ok([one.local_addr()?, other.local_addr()?])
}
