//! Log lines: to stderr, for people or as JSON, filtered by `CREEL_LOG`.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text each.
    Text,
    /// One JSON object each.
    Json,
}

/// What is logged unless `CREEL_LOG` says otherwise. The library under the layer's file system is
/// silent: a process that is killed leaves it with an answer that it cannot send.
const DEFAULT: &str = "info,fuser=off";

/// Starts logging. The filter is `CREEL_LOG` in the syntax of `RUST_LOG`; default `info`.
pub fn start(format: LogFormat) {
    let asked = std::env::var("CREEL_LOG").unwrap_or_default();
    let (filter, wrong) = match EnvFilter::try_new(&asked) {
        Ok(filter) if !asked.trim().is_empty() => (filter, None),
        Ok(_) => (EnvFilter::new(DEFAULT), None),
        Err(error) => (EnvFilter::new(DEFAULT), Some(error)),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // it would complain on stderr, and panic, when the reader of stderr has gone
        .log_internal_errors(false);
    match format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    if let Some(error) = wrong {
        tracing::warn!(%error, "CREEL_LOG is not understood; logging as with `info`");
    }
}
