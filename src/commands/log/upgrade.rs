//! `creel log upgrade`: a log of an older format made one of this creel's.

use creel_common::engine::sled::{FORMAT, format_found};
use serde::Serialize;

use super::verify::verified;
use crate::failure::said;
use crate::output::{Output, count};
use crate::settings::Global;

/// Raise a log of an older format to this creel's, and read it back
///
/// Starting the receiver does the same; this does it while nobody waits. An older creel refuses the
/// log afterwards, without touching it. Exits with 1 when anything in it is damaged or lost.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Upgraded {
    /// The format it had.
    from: u32,
    /// The format it has.
    to: u32,
    /// Deliveries that read back.
    deliveries: u64,
    /// Nothing is damaged or known to be lost.
    sound: bool,
}

/// Upgrades and reports.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let config = global.load()?;
    let found =
        format_found(&config.log.path).map_err(|error| crate::engine::explain(&config, error))?;
    let path = config.log.path.display();
    let from = found.ok_or_else(|| anyhow::anyhow!("there is no log in {path}"))?;
    let verified = verified(&config)?;
    let upgraded = Upgraded {
        from,
        to: FORMAT,
        deliveries: verified.deliveries(),
        sound: verified.sound(),
    };
    args.output.print(&upgraded, text)?;
    if upgraded.sound { Ok(()) } else { Err(said()) }
}

fn text(upgraded: &Upgraded) -> String {
    let deliveries = count(upgraded.deliveries);
    let read = match upgraded.sound {
        true => format!("all {deliveries} deliveries read back as they were written"),
        false => "something is damaged or lost: `creel log verify` names it".to_owned(),
    };
    match upgraded.from == upgraded.to {
        true => format!("nothing to do: it has format {}; {read}", upgraded.to),
        false => format!(
            "raised from format {} to {}: creel.log was written anew, nothing else; {read}",
            upgraded.from, upgraded.to
        ),
    }
}
