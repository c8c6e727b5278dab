//! creel: one binary, a subcommand for each role.
//!
//! The only place that prints errors and exits.

mod ask;
mod cli;
mod commands;
#[cfg(feature = "worker")]
mod destinations;
mod engine;
mod failure;
mod lifeline;
mod logging;
mod output;
mod rundir;
mod settings;
#[cfg(feature = "receiver")]
mod sources;
mod stop;
mod when;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    logging::start(cli.global.log_format);
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = failure::code(&error);
            if let Some(text) = failure::text(&error) {
                anstream::eprintln!("creel: {text}");
            }
            ExitCode::from(code)
        }
    }
}
