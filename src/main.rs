//! creel: one binary, a subcommand for each role.
//!
//! The only place that prints errors and exits.
// a build for one role leaves some of what the roles share unused
#![cfg_attr(
    not(all(feature = "receiver", feature = "worker", feature = "client")),
    allow(dead_code, unused_imports)
)]

mod ask;
mod cli;
mod commands;
#[cfg(feature = "receiver")]
mod descriptors;
#[cfg(feature = "worker")]
mod destinations;
mod engine;
mod failure;
mod lifeline;
mod logging;
mod notices;
mod output;
#[cfg(all(feature = "receiver", feature = "worker"))]
mod process;
mod rundir;
mod settings;
#[cfg(feature = "receiver")]
mod sockets;
#[cfg(feature = "receiver")]
mod sources;
#[cfg(feature = "receiver")]
mod standing;
mod stop;
mod when;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

/// glibc's keeps several times what is in use when one thread frees what others asked for, as the
/// committer does (docs/decisions/0013-allocator.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    logging::start(cli.global.log_format);
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = failure::code(&error);
            if let Some(text) = failure::text(&error) {
                // nobody may be reading any more; the code says it too
                let _ = writeln!(anstream::stderr(), "creel: {text}");
            }
            ExitCode::from(code)
        }
    }
}
