//! Being told to stop: a signal, or a parent that has gone.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::lifeline::Lifeline;

/// SIGTERM and SIGINT.
pub struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
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

/// A token that is cancelled at the first signal. A second one is left to the drain timeouts.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn token() -> anyhow::Result<CancellationToken> {
    let mut signals = Signals::listen()?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let signal = signals.told().await;
        cancelled.cancel();
        tracing::info!(signal, "told to stop");
    });
    Ok(token)
}

/// Cancels `token` too when the parent has gone.
///
/// # Errors
/// When there is no thread to be had.
pub fn with_parent(lifeline: Lifeline, token: CancellationToken) -> anyhow::Result<()> {
    lifeline.watch(move || {
        if !token.is_cancelled() {
            token.cancel();
            tracing::warn!("whoever started this has gone; stopping");
        }
    })
}
