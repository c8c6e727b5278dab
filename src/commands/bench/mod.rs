//! placeholder
mod bare;
mod file_log;
mod latency;
mod load;
mod report;
mod request;
pub mod server;
#[derive(Debug, clap::Args)]
pub struct Args {}
pub fn run(_: &Args) -> anyhow::Result<()> { Ok(()) }
