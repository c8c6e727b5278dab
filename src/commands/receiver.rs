//! placeholder
#[derive(Debug, clap::Args)]
pub struct Args {}
pub fn run(_: &crate::settings::Global, _: &Args) -> anyhow::Result<()> { Ok(()) }
