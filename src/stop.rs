//! Being told to stop: a signal, or a parent that has gone.

use std::io::IsTerminal;

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

/// SIGHUP: what has been changed is to be used.
pub struct Hangups {
    signal: Signal,
    /// Standard input was a terminal: without it, a hangup is one.
    terminal: bool,
}

impl Hangups {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the handler cannot be installed.
    pub fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            signal: signal(SignalKind::hangup()).context("cannot listen for signals")?,
            terminal: std::io::stdin().is_terminal(),
        })
    }

    /// Waits for the next one.
    pub async fn heard(&mut self) -> Hangup {
        self.signal.recv().await;
        match self.terminal && !std::io::stdin().is_terminal() {
            true => Hangup::TerminalGone,
            false => Hangup::Asked,
        }
    }
}

/// What a SIGHUP means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hangup {
    /// Somebody sent it.
    Asked,
    /// The terminal that this was started from has been closed.
    TerminalGone,
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
