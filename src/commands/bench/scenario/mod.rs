//! `creel bench backlog` and its like: how creel behaves at scale, against stated bounds.
//!
//! Each scenario has a size, so that the same code runs in seconds or at full scale. What it finds
//! are [`Finding`](finding::Finding)s; those with a bound hold or do not.

mod age;
mod archive;
mod backlog;
mod backup;
mod dead_destination;
mod finding;
mod keys;
mod retention;
mod retries;
mod sink;
mod stage;

use std::path::PathBuf;

use crate::output::Output;

/// What is looked at.
#[derive(Debug, clap::Subcommand)]
pub enum Scenario {
    Backlog(backlog::Args),
    Retries(retries::Args),
    DeadDestination(dead_destination::Args),
    Retention(retention::Args),
    Age(age::Args),
    Backup(backup::Args),
    Keys(keys::Args),
}

impl Scenario {
    /// Runs it and prints what was found.
    ///
    /// # Errors
    /// When it cannot be run, and with `--check` when a bound is missed.
    pub fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Backlog(args) => backlog::run(args),
            Self::Retries(args) => retries::run(args),
            Self::DeadDestination(args) => dead_destination::run(args),
            Self::Retention(args) => retention::run(args),
            Self::Age(args) => age::run(args),
            Self::Backup(args) => backup::run(args),
            Self::Keys(args) => keys::run(args),
        }
    }
}

/// What all scenarios take.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// Size of bodies in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(128..=16 << 20))]
    size: u32,
    /// Connections that send
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Where to put the files: the disk that is measured [default: this directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Exit with 1 when a bound is missed
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    output: Output,
}
