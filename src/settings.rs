//! Where the configuration is, and reading it.

use std::path::PathBuf;

use clap::Args;
#[cfg(feature = "worker")]
use creel_common::config::DestinationKinds;
use creel_common::config::{Config, Known};

use crate::failure::usage;
use crate::logging::LogFormat;
use crate::rundir::RunDir;

/// What all commands take.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The configuration file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "CREEL_CONFIG",
        default_value = "creel.toml",
        help_heading = "Common options"
    )]
    pub config: PathBuf,
    /// Where processes find each other's tokens and addresses [default: .creel beside the
    /// configuration]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "CREEL_RUN_DIR",
        help_heading = "Common options"
    )]
    pub run_dir: Option<PathBuf>,
    /// How log lines look; CREEL_LOG filters them (default info)
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        help_heading = "Common options"
    )]
    pub log_format: LogFormat,
}

impl Global {
    /// The checked configuration.
    ///
    /// # Errors
    /// Wrong usage, with all problems at once.
    pub fn load(&self) -> anyhow::Result<Config> {
        creel_common::config::load(&self.config, &self.known())
            .map_err(|problems| usage(problems.to_string()))
    }

    /// The providers and kinds of destination this executable has.
    pub fn known(&self) -> Known {
        #[allow(unused_mut)]
        let mut known = Known::default();
        #[cfg(feature = "receiver")]
        crate::sources::known(&mut known, &self.config);
        #[cfg(feature = "worker")]
        {
            known.destinations = Some(destination_kinds());
        }
        known
    }

    /// The run directory of this configuration.
    pub fn run_dir(&self) -> RunDir {
        RunDir::of(self.run_dir.as_deref(), &self.config)
    }
}

/// The kinds of destination that are built in.
#[cfg(feature = "worker")]
pub fn destination_kinds() -> &'static (dyn DestinationKinds + Sync) {
    &crate::destinations::Kinds
}
