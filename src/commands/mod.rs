//! One file per command: its arguments, and what it does.

#[cfg(feature = "client")]
pub mod act;
#[cfg(feature = "client")]
pub mod audit;
pub mod backup;
#[cfg(all(feature = "receiver", feature = "worker"))]
pub mod bench;
pub mod check;
pub mod completions;
#[cfg(feature = "client")]
pub mod connect;
#[cfg(feature = "client")]
pub mod dead;
#[cfg(feature = "client")]
pub mod deliveries;
#[cfg(all(feature = "receiver", feature = "worker"))]
pub mod demo;
#[cfg(all(feature = "receiver", feature = "client"))]
pub mod doctor;
pub mod log;
#[cfg(feature = "receiver")]
pub mod providers;
#[cfg(feature = "client")]
pub mod quarantine;
#[cfg(feature = "receiver")]
pub mod receiver;
#[cfg(feature = "client")]
pub mod reload;
pub mod restore;
#[cfg(feature = "client")]
pub mod routes;
pub mod schema;
#[cfg(all(feature = "receiver", feature = "client"))]
pub mod send;
#[cfg(feature = "receiver")]
pub mod source_doc;
#[cfg(feature = "client")]
pub mod sources;
#[cfg(feature = "client")]
pub mod tail;
#[cfg(feature = "torture")]
pub mod torture;
#[cfg(feature = "client")]
pub mod undelivered;
#[cfg(all(feature = "receiver", feature = "worker"))]
pub mod up;
#[cfg(feature = "worker")]
pub mod worker;

use std::future::Future;

use anyhow::Context;

use crate::cli::{Cli, Command};

/// Runs the command that was typed.
///
/// # Errors
/// See [`crate::failure`] for how an error becomes an exit code.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    let global = &cli.global;
    match cli.command {
        #[cfg(all(feature = "receiver", feature = "worker"))]
        Command::Up(args) => up::run(global, &args),
        #[cfg(feature = "receiver")]
        Command::Receiver(args) => receiver::run(global, &args),
        #[cfg(feature = "worker")]
        Command::Worker(args) => worker::run(global, &args),
        #[cfg(all(feature = "receiver", feature = "worker"))]
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(global, &args),
        #[cfg(all(feature = "receiver", feature = "client"))]
        Command::Send(args) => send::run(global, &args),
        #[cfg(all(feature = "receiver", feature = "client"))]
        Command::Doctor(args) => doctor::run(global, &args),
        #[cfg(feature = "client")]
        Command::Deliveries(command) => deliveries::run(global, &command),
        #[cfg(feature = "client")]
        Command::Dead(command) => dead::run(global, &command),
        #[cfg(feature = "client")]
        Command::Quarantine(command) => quarantine::run(global, &command),
        #[cfg(feature = "client")]
        Command::Routes(command) => routes::run(global, &command),
        #[cfg(feature = "client")]
        Command::Sources(command) => sources::run(global, &command),
        #[cfg(feature = "client")]
        Command::Reload(args) => reload::run(global, &args),
        #[cfg(feature = "client")]
        Command::Undelivered(args) => undelivered::run(global, &args),
        #[cfg(feature = "client")]
        Command::Tail(args) => tail::run(global, &args),
        #[cfg(feature = "client")]
        Command::Audit(args) => audit::run(global, &args),
        #[cfg(feature = "receiver")]
        Command::Providers(command) => providers::run(global, &command),
        Command::Log(command) => log::run(global, &command),
        Command::Backup(args) => backup::run(global, &args),
        Command::Restore(args) => restore::run(global, &args),
        #[cfg(all(feature = "receiver", feature = "worker"))]
        Command::Bench(args) => bench::run(&args),
        #[cfg(feature = "torture")]
        Command::Torture(args) => torture::run(&args),
        Command::Schema(args) => schema::run(global, &args),
        Command::Completions(args) => completions::run(&args),
        #[cfg(all(feature = "receiver", feature = "worker"))]
        Command::BenchServer(args) => bench::server::run(global, &args),
    }
}

/// Waits for `future` on this thread: for commands that ask and print.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(future)
}
