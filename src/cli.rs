//! The command line as typed: every subcommand, its arguments and its help.

use clap::{Parser, Subcommand};

use crate::commands as c;
use crate::settings::Global;

/// A durable webhook receiver: verifies, keeps, delivers, reprocesses
///
/// A small receiver verifies each webhook, makes it durable in a log and acknowledges at once.
/// Separate worker processes lease deliveries from the log and load them into destinations, with
/// retry, backoff and dead letters. `creel up` runs both on one machine; `creel demo` shows all
/// of it in half a minute.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 74 the disk failed.
#[derive(Debug, Parser)]
#[command(
    name = "creel",
    version,
    max_term_width = 100,
    subcommand_required = true
)]
pub struct Cli {
    /// What all commands take.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[cfg(all(feature = "receiver", feature = "worker"))]
    Up(c::up::Args),
    #[cfg(feature = "receiver")]
    Receiver(c::receiver::Args),
    #[cfg(feature = "worker")]
    Worker(c::worker::Args),
    #[cfg(all(feature = "receiver", feature = "worker"))]
    Demo(c::demo::Args),
    Check(c::check::Args),
    #[cfg(all(feature = "receiver", feature = "client"))]
    Send(c::send::Args),
    #[cfg(all(feature = "receiver", feature = "client"))]
    Doctor(c::doctor::Args),
    #[cfg(feature = "client")]
    #[command(subcommand)]
    Deliveries(c::deliveries::Command),
    #[cfg(feature = "client")]
    #[command(subcommand)]
    Dead(c::dead::Command),
    #[cfg(feature = "client")]
    #[command(subcommand)]
    Quarantine(c::quarantine::Command),
    #[cfg(feature = "client")]
    #[command(subcommand)]
    Routes(c::routes::Command),
    #[cfg(feature = "client")]
    #[command(subcommand)]
    Sources(c::sources::Command),
    #[cfg(feature = "client")]
    Reload(c::reload::Args),
    #[cfg(feature = "client")]
    Undelivered(c::undelivered::Args),
    #[cfg(feature = "client")]
    Tail(c::tail::Args),
    #[cfg(feature = "client")]
    Audit(c::audit::Args),
    #[cfg(feature = "receiver")]
    #[command(subcommand)]
    Providers(c::providers::Command),
    #[command(subcommand)]
    Log(c::log::Command),
    Backup(c::backup::Args),
    Restore(c::restore::Args),
    #[cfg(all(feature = "receiver", feature = "worker"))]
    Bench(c::bench::Args),
    #[cfg(feature = "torture")]
    Torture(c::torture::Args),
    Schema(c::schema::Args),
    Completions(c::completions::Args),
    /// A server that `bench` compares with.
    #[cfg(all(feature = "receiver", feature = "worker"))]
    #[command(hide = true)]
    BenchServer(c::bench::server::Args),
}
