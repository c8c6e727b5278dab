//! `creel schema`: the configuration's JSON Schema.

use crate::settings::Global;

/// Print the JSON Schema of the configuration file
///
/// Editors that know JSON Schema for TOML (Taplo, Even Better TOML) complete and check
/// creel.toml with it: `creel schema > creel.schema.json`, then put
/// `#:schema ./creel.schema.json` on the first line of creel.toml.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints the schema.
pub fn run(global: &Global, _: &Args) -> anyhow::Result<()> {
    let schema = creel_common::config::schema(&global.known());
    crate::output::line(&serde_json::to_string_pretty(&schema)?)
}
