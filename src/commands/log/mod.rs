//! `creel log`: the log itself.

mod export;
mod read;
#[cfg(feature = "client")]
mod stat;
mod upgrade;
mod verify;

use std::sync::Arc;

use creel_common::config::Config;
use creel_common::engine::Engine;

use crate::settings::Global;

/// See where the log's bytes are; verify, export or upgrade it while no receiver runs
///
/// A log belongs to one process at a time, so all but `stat` refuse to start while a receiver runs on it.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Verify(verify::Args),
    Export(export::Args),
    Upgrade(upgrade::Args),
    #[cfg(feature = "client")]
    Stat(stat::Args),
}

/// Runs the subcommand.
pub fn run(global: &Global, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Verify(args) => verify::run(global, args),
        Command::Export(args) => export::run(global, args),
        Command::Upgrade(args) => upgrade::run(global, args),
        #[cfg(feature = "client")]
        Command::Stat(args) => stat::run(global, args),
    }
}

/// Opens a log that is there: to look at one that is not would make it.
pub fn open_existing(config: &Config) -> anyhow::Result<Arc<dyn Engine>> {
    let path = &config.log.path;
    anyhow::ensure!(path.is_dir(), "there is no log in {}", path.display());
    crate::engine::open(config)
}
