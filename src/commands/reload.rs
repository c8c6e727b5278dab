//! `creel reload`: a running receiver reads its configuration and secrets again.

use creel_common::log::OperateError;
use creel_common::log::wire::ReloadView;

use crate::commands::act::Why;
use crate::commands::{block_on, connect::Connect};
use crate::failure::usage;
use crate::output::{Output, plain};
use crate::settings::Global;

/// Have the running receiver take over its configuration and secrets as they are now
///
/// The receiver reads its file and all secrets again and checks them as at a start. If nothing is
/// wrong, sources, secrets, tokens and routes are replaced at once: no request is refused, dropped or
/// judged by a half. Else all of it stays as it was, and every problem is told, with exit code 2; so is
/// every setting that needs a restart. Environment variables of a process never change: a secret that
/// is to be replaced without a restart belongs into a file.
///
/// Under `creel up` the workers are restarted afterwards, one after the other. Workers of their own
/// reload at SIGHUP. The same as SIGHUP to the receiver, with an answer.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Asks, and prints what has changed.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let reloaded = block_on(async { Ok(log.reload(args.why.actor()).await) })?;
    let view = reloaded.map_err(|error| match error {
        OperateError::Invalid(problems) => usage(format!("nothing was reloaded: {problems}")),
        other => other.into(),
    })?;
    args.output.print(&view, text)
}

fn text(view: &ReloadView) -> String {
    let warnings = view.warnings.iter();
    let warnings: String = warnings
        .map(|warning| format!("\nwarning: {}", plain(warning)))
        .collect();
    format!("reloaded: {view}{warnings}")
}
