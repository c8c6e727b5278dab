//! `creel up`: everything together.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Process, Site, eventually};

/// Far longer than everything needs to start.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A running `creel up`.
pub struct Up {
    pub process: Process,
    pub public: SocketAddr,
}

impl Up {
    /// Starts it with two workers.
    pub async fn start(site: &Site) -> Self {
        Self::start_with(site, 2).await
    }

    pub async fn start_with(site: &Site, workers: usize) -> Self {
        let command = site.creel(&["up", "--workers", &workers.to_string()]);
        Self::run(site, command).await
    }

    /// Starts it as `command` says, and waits until it has said where senders find it.
    pub async fn run(site: &Site, command: Command) -> Self {
        let addresses = site.path(".creel/addresses.json");
        let _ = fs::remove_file(&addresses);
        let process = Process::start("creel up", command, false).await;
        let public = eventually("addresses", STARTS_WITHIN, async || {
            let found: Value = serde_json::from_slice(&fs::read(&addresses).ok()?).ok()?;
            found["public"].as_str()?.parse().ok()
        })
        .await;
        Self { process, public }
    }
}
