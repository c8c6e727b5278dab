//! placeholder
#[derive(Debug, clap::Subcommand)]
pub enum Command { Verify }
pub fn run(_: &crate::settings::Global, _: &Command) -> anyhow::Result<()> { Ok(()) }
