//! The stage of the demo: a temporary directory with secrets and a configuration.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The senders, their packs, and where their deliveries go.
pub const SENDERS: [Sender; 4] = [
    Sender {
        source: "github",
        provider: "github",
        destinations: &["flaky", "archive"],
    },
    Sender {
        source: "stripe",
        provider: "stripe",
        destinations: &["picky", "archive"],
    },
    Sender {
        source: "twilio",
        provider: "twilio",
        destinations: &["flaky", "picky"],
    },
    Sender {
        source: "orders",
        provider: "standardwebhooks",
        destinations: &["flaky", "archive"],
    },
];

/// The URL senders believe they post to: what Twilio signs.
pub const PUBLIC_URL: &str = "https://hooks.example.com";

/// One sender of the demo.
#[derive(Debug, Clone, Copy)]
pub struct Sender {
    /// Its source in the configuration.
    pub source: &'static str,
    /// Its provider pack.
    pub provider: &'static str,
    /// Its routes lead there.
    pub destinations: &'static [&'static str],
}

impl Sender {
    /// The names of its routes.
    pub fn routes(&self) -> impl Iterator<Item = String> + '_ {
        let source = self.source;
        self.destinations
            .iter()
            .map(move |to| format!("{source}-{to}"))
    }
}

/// The directory and what is in it.
pub struct Scene {
    dir: PathBuf,
    secrets: Vec<String>,
}

impl Scene {
    /// Writes secrets and configuration into `dir`; the sinks listen already.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn set(dir: &Path, flaky: SocketAddr, picky: SocketAddr) -> anyhow::Result<Self> {
        fs::create_dir_all(dir.join("secrets"))?;
        let mut secrets = Vec::new();
        for sender in SENDERS {
            let secret = new_secret(sender.provider);
            let path = dir.join("secrets").join(sender.source);
            fs::write(&path, &secret)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))
                .with_context(|| format!("cannot write {}", path.display()))?;
            secrets.push(secret);
        }
        let scene = Self {
            dir: dir.to_owned(),
            secrets,
        };
        fs::write(scene.config(), configuration(flaky, picky))?;
        Ok(scene)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.join("creel.toml")
    }

    /// Where the `archive` destination writes.
    pub fn archive(&self) -> PathBuf {
        self.dir.join("archive")
    }

    /// The secret of a sender, by its place in [`SENDERS`].
    pub fn secret(&self, sender: usize) -> &str {
        &self.secrets[sender]
    }
}

impl Scene {
    /// A secret such as the sender's, but not his.
    pub fn another_secret(&self, sender: usize) -> String {
        new_secret(SENDERS[sender].provider)
    }
}

fn new_secret(provider: &str) -> String {
    let bits: [u8; 24] = rand::random();
    match provider {
        "standardwebhooks" | "stripe" => format!("whsec_{}", STANDARD.encode(bits)),
        _ => hex::encode(bits),
    }
}

fn configuration(flaky: SocketAddr, picky: SocketAddr) -> String {
    let mut text = format!(
        r#"# made by `creel demo`
[receiver]
listen     = "127.0.0.1:0"
private    = "127.0.0.1:0"
public_url = "{PUBLIC_URL}"

[log]
path    = "data"
reserve = "16MiB"

[worker]
processes = 3

[destinations.flaky]
type  = "http"
url   = "http://{flaky}/flaky"
allow = ["127.0.0.0/8"]

[destinations.picky]
type  = "http"
url   = "http://{picky}/picky"
allow = ["127.0.0.0/8"]

[destinations.archive]
type = "file"
path = "archive"
"#
    );
    for sender in SENDERS {
        let Sender {
            source, provider, ..
        } = sender;
        text += &format!(
            "\n[sources.{source}]\nprovider = \"{provider}\"\nsecrets  = [{{ file = \"secrets/{source}\" }}]\n"
        );
        for destination in sender.destinations {
            text += &format!(
                r#"
[[routes]]
source      = "{source}"
destination = "{destination}"
start       = "beginning"
retry       = {{ max_attempts = 20, initial = "200ms", max = "1s" }}
breaker     = {{ failures = 10, pause = "250ms", pause_max = "1s" }}
"#
            );
        }
    }
    text
}
