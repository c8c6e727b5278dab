//! Finds the receiver's private listener and the token for it.

use std::path::PathBuf;

use clap::Args;
use creel_common::config::{ClientTls, Config, Role};
use creel_common::log::remote::RemoteLog;
use creel_common::secret::Secret;

use crate::failure::usage;
use crate::rundir::{self, RunDir};
use crate::settings::Global;

/// The environment variable a token may be in.
const TOKEN_ENV: &str = "CREEL_TOKEN";

/// Which receiver to talk to, and as whom.
#[derive(Debug, Clone, Args)]
pub struct Connect {
    /// The receiver's private listener [default: from the configuration]
    #[arg(
        long,
        value_name = "URL",
        env = "CREEL_RECEIVER",
        help_heading = "Connection"
    )]
    pub receiver: Option<String>,
    /// A file with the token [default: CREEL_TOKEN, or the one `creel up` made]
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub token_file: Option<PathBuf>,
}

impl Connect {
    /// The log behind the receiver's private listener.
    ///
    /// # Errors
    /// Wrong usage, when no receiver or no token can be found.
    pub fn open(&self, global: &Global) -> anyhow::Result<RemoteLog> {
        let run = global.run_dir();
        let url = match &self.receiver {
            Some(url) => url.clone(),
            None => base_url(&global.load()?, &run)?,
        };
        let token = self.token(global, &run)?;
        // the URL is not shown: somebody may have put a password into it
        RemoteLog::with_tls(&url, token, &certificates(global, &url)?)
            .map_err(|error| usage(error.to_string()))
    }

    fn token(&self, global: &Global, run: &RunDir) -> anyhow::Result<Secret> {
        if let Some(path) = &self.token_file {
            return rundir::read_token(path)?
                .ok_or_else(|| usage(format!("there is no token file {}", path.display())));
        }
        if let Some(token) = std::env::var(TOKEN_ENV).ok().filter(|t| !t.is_empty()) {
            return Ok(Secret::new(token));
        }
        if let Some(token) = configured(global)? {
            return Ok(token);
        }
        run.token(Role::Operate)?.ok_or_else(|| {
            usage(format!(
                "no token for the receiver: there is none in {}, which `creel up` makes; \
                 set {TOKEN_ENV} or use --token-file",
                run.token_path(Role::Operate).display()
            ))
        })
    }
}

/// The certificates for a receiver at `url`: `worker.tls`, where there is a configuration.
fn certificates(global: &Global, url: &str) -> anyhow::Result<ClientTls> {
    if !url.starts_with("https") || !global.config.exists() {
        return Ok(ClientTls::default());
    }
    Ok(global.load()?.worker.tls)
}

/// The configured operator's token, else a reader's; `None` when the configuration names none.
fn configured(global: &Global) -> anyhow::Result<Option<Secret>> {
    if !global.config.exists() {
        return Ok(None);
    }
    let tokens = global.load()?.receiver.tokens;
    let of = |role| tokens.iter().find(move |token| token.role == role);
    let Some(token) = of(Role::Operate).or_else(|| of(Role::Read)) else {
        return Ok(None);
    };
    Ok(Some(token.secret.resolve()?))
}

/// The URL of the configured private listener; with port 0, the one the receiver wrote down.
///
/// # Errors
/// Wrong usage, when no receiver wrote one down.
pub fn base_url(config: &Config, run: &RunDir) -> anyhow::Result<String> {
    let private = config.receiver.private;
    if private.port() != 0 {
        return Ok(config.receiver.private_url(private));
    }
    match run.addresses()? {
        Some(addresses) => Ok(config.receiver.private_url(addresses.private)),
        None => Err(usage(format!(
            "no receiver is running here: there is no {}; name one with --receiver URL",
            run.addresses_path().display()
        ))),
    }
}
