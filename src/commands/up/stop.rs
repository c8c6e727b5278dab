//! Being told to stop.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT.
pub struct Stop {
    term: Signal,
    int: Signal,
}

impl Stop {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen() -> anyhow::Result<Self> {
        let of = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            term: of(SignalKind::terminate())?,
            int: of(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them; says which.
    pub async fn told(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// What a child may take to end beyond its own drain timeout.
pub const SLACK: Duration = Duration::from_secs(15);
