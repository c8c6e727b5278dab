//! `creel audit`: what operators did.

use creel_common::log::{Audit, Operate};

use crate::commands::{block_on, connect::Connect};
use crate::output::{Output, Sheet, count, plain, short};
use crate::settings::Global;

/// Show what operators did: who, when, what, why
///
/// Every reprocess, discard, rewind, pause, resume, rename and forget is recorded durably, with
/// how many deliveries it concerned. Newest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Lists recorded acts.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let acts = block_on(async { Ok(log.audit(args.limit).await?) })?;
    args.output.print(&acts, |acts| table(acts))
}

fn table(acts: &[Audit]) -> String {
    if acts.is_empty() {
        return "nothing was done by hand yet".into();
    }
    let mut sheet = Sheet::new(&["at!", "who", "what", "on", "count>", "why"]);
    for act in acts {
        sheet.row([
            act.at.to_string(),
            plain(&act.actor.who).into_owned(),
            act.action.clone(),
            short(&act.subject, 60),
            count(act.count),
            short(act.actor.why.as_deref().unwrap_or(""), 60),
        ]);
    }
    sheet.text()
}
