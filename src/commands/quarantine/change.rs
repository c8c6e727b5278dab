//! `creel quarantine reverify`, `promote` and `discard`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use creel_common::ids::{DeliveryId, QuarantineId};
use creel_common::log::remote::RemoteLog;
use creel_common::log::wire::{Chosen, ChosenCall, PromoteCall, Promoted, ReverifyCall};
use creel_common::time::Timestamp;
use serde::Serialize;

use super::{Filter, Name};
use crate::ask::confirm;
use crate::commands::act::{Why, Yes, actor};
use crate::commands::deliveries::now;
use crate::commands::{block_on, connect::Connect};
use crate::failure::usage;
use crate::output::{Output, count, progress, relative};
use crate::settings::Global;

/// Judge requests again, and take in what is genuine
///
/// Each is judged with the configuration of the running receiver as of the time it arrived, and
/// what is genuine is appended to the log in order of arrival, with the time it came: each once, also
/// when this is interrupted, or the receiver killed, and it is run again. What is refused again stays.
/// Recorded durably: who, when, why, how many.
///
/// A secret that was wrong has to be mended first, and the receiver told of it by `creel reload`.
#[derive(Debug, clap::Args)]
pub struct ReverifyArgs {
    /// All of this source, or these requests
    #[arg(value_name = "SOURCE|ID")]
    names: Vec<Name>,
    #[command(flatten)]
    filter: Filter,
    /// Every request there is
    #[arg(long)]
    all: bool,
    /// Only judge, and say how many would be taken in
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Take one in although it failed verification
///
/// For what is known to be genuine but can never be verified, such as a body that a proxy has
/// changed. Nothing vouches for it: its key in the log says `promoted:`, and it is recorded durably
/// who did it, when and why.
#[derive(Debug, clap::Args)]
pub struct PromoteArgs {
    /// The request's id
    id: QuarantineId,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    yes: Yes,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Drop requests for good
///
/// Says how many that are and asks first. Recorded durably: who, when, why, how many.
#[derive(Debug, clap::Args)]
pub struct DiscardArgs {
    /// All of this source, or these requests
    #[arg(value_name = "SOURCE|ID")]
    names: Vec<Name>,
    #[command(flatten)]
    filter: Filter,
    /// Every request there is
    #[arg(long)]
    all: bool,
    /// Only say how many that would be
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    yes: Yes,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

fn chosen(names: &[Name], filter: &Filter, all: bool, now: Timestamp) -> anyhow::Result<Chosen> {
    let mut which = Chosen {
        all,
        ..filter.chosen(now)
    };
    for name in names {
        match name {
            Name::Id(id) => which.ids.push(*id),
            Name::Source(name) if which.source.is_none() => which.source = Some(name.clone()),
            Name::Source(name) => return Err(usage(format!("more than one source: `{name}`"))),
        }
    }
    if which.says_nothing() {
        return Err(usage(
            "say which requests: a source, ids, a filter such as --reason or --since, or --all",
        ));
    }
    Ok(which)
}

/// What reverifying came to.
#[derive(Debug, Default, Serialize)]
struct Sum {
    looked_at: u64,
    appended: u64,
    duplicates: u64,
    confirmed: u64,
    refused: BTreeMap<String, u64>,
    first: Option<DeliveryId>,
    last: Option<DeliveryId>,
    dry_run: bool,
    stopped: Option<String>,
}

/// Runs `reverify`.
pub fn reverify(global: &Global, args: &ReverifyArgs) -> anyhow::Result<()> {
    let which = chosen(&args.names, &args.filter, args.all, now())?;
    let log = args.connect.open(global)?;
    let call = ReverifyCall {
        which,
        from: None,
        limit: 0,
        dry_run: args.dry_run,
        act: args.why.actor().into(),
    };
    let sum = block_on(all(&log, call))?;
    args.output.print(&sum, sum_text)?;
    match sum.stopped {
        Some(why) => bail!("not all was taken in: {why}; what was not is still in quarantine"),
        None => Ok(()),
    }
}

/// Goes through all of them, a call at a time.
async fn all(log: &RemoteLog, mut call: ReverifyCall) -> anyhow::Result<Sum> {
    let bar = progress(0, "looked at");
    let mut sum = Sum {
        dry_run: call.dry_run,
        ..Sum::default()
    };
    loop {
        let step = log.reverify(&call).await?;
        sum.looked_at += step.looked_at;
        sum.appended += step.appended;
        sum.duplicates += step.duplicates;
        sum.confirmed += step.confirmed;
        for (reason, count) in step.refused {
            *sum.refused.entry(reason).or_default() += count;
        }
        if let Some((first, last)) = step.deliveries {
            sum.first = sum.first.or(Some(first));
            sum.last = Some(last);
        }
        sum.stopped = step.stopped;
        call.from = step.next;
        bar.set_length(sum.looked_at);
        bar.set_position(sum.looked_at);
        if call.from.is_none() || sum.stopped.is_some() {
            bar.finish_and_clear();
            return Ok(sum);
        }
    }
}

fn sum_text(sum: &Sum) -> String {
    if sum.looked_at == 0 {
        return "nothing in quarantine matches".into();
    }
    let taken = if sum.dry_run {
        "would be taken in"
    } else {
        "taken in"
    };
    let mut text = format!("{} {taken}", count(sum.appended));
    if let (Some(first), Some(last)) = (sum.first, sum.last) {
        text += &format!(": {first} to {last}");
    }
    if sum.duplicates > 0 {
        text += &format!("\n{} were in the log already", count(sum.duplicates));
    }
    if sum.confirmed > 0 {
        let what = "handshakes, whose sender's URL is called";
        text += &format!("\n{} {what}", count(sum.confirmed));
    }
    for (reason, number) in &sum.refused {
        text += &format!("\n{} stay: {reason}", count(*number));
    }
    text
}

/// Runs `promote`.
pub fn promote(global: &Global, args: &PromoteArgs) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let view = block_on(async { Ok(log.quarantined(args.id).await?) })?;
    let question = format!(
        "Take in {} of source {}, received {} and refused for {}, unverified?",
        view.id,
        view.source,
        relative(view.received_at, now()),
        view.reason
    );
    if !confirm(&question, args.yes.yes)? {
        bail!("nothing was changed");
    }
    let call = PromoteCall {
        act: actor(Some(args.reason.clone())).into(),
    };
    let promoted: Promoted = block_on(async { Ok(log.promote(args.id, &call).await?) })?;
    args.output.print(&promoted, |promoted| {
        format!("{} is delivery {} now", args.id, promoted.delivery)
    })
}

#[derive(Debug, Serialize)]
struct Discarded {
    count: u64,
    changed: bool,
}

/// Runs `discard`.
pub fn discard(global: &Global, args: &DiscardArgs) -> anyhow::Result<()> {
    let now = now();
    let mut which = chosen(&args.names, &args.filter, args.all, now)?;
    // what comes while somebody is asked is not meant
    which.until = which.until.or(Some(now.plus(Duration::from_millis(1))));
    let log = args.connect.open(global)?;
    let call = |dry_run| ChosenCall {
        which: which.clone(),
        dry_run,
        act: args.why.actor().into(),
    };
    let total = block_on(async { Ok(log.discard_quarantined(&call(true)).await?) })?;
    let mut done = Discarded {
        count: total,
        changed: false,
    };
    if total > 0 && !args.dry_run {
        if !confirm(&format!("Discard {} requests?", count(total)), args.yes.yes)? {
            bail!("nothing was changed");
        }
        done.count = block_on(async { Ok(log.discard_quarantined(&call(false)).await?) })?;
        done.changed = true;
    }
    args.output.print(&done, |done| {
        let number = count(done.count);
        match (done.changed, done.count) {
            (_, 0) => "nothing in quarantine matches".into(),
            (true, _) => format!("{number} discarded"),
            (false, _) => format!("{number} would be discarded"),
        }
    })
}
