//! `creel routes`: how far each route is, and moving it.

use anyhow::bail;
use creel_common::log::{Operate, RewindTo, RouteStatus};
use creel_common::time::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::ask::confirm;
use crate::commands::act::{Why, Yes};
use crate::commands::deliveries::now;
use crate::commands::{block_on, connect::Connect};
use crate::failure::usage;
use crate::output::{Output, Sheet, Tone, count, length, toned};
use crate::settings::Global;
use crate::when;

/// List routes with their lag; pause, resume, rewind, rename or forget one
///
/// A route's name is its identity: its cursor, pause and leases refer to it. A route that leaves
/// the configuration keeps its cursor until it is renamed or forgotten.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(ListArgs),
    /// Stop new leases of a route, durably; what workers hold goes on
    Pause(NameArgs),
    /// Undo a pause
    Resume(NameArgs),
    Rewind(RewindArgs),
    Rename(RenameArgs),
    Forget(ForgetArgs),
}

/// List all routes: configured ones, and those that left the configuration
///
/// Pending counts deliveries that the route has not looked at; it is an upper bound where
/// sources share blocks of the log.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

// One or more routes. No doc comment: it would be shown instead of the verb's.
#[derive(Debug, clap::Args)]
pub struct NameArgs {
    /// The routes
    #[arg(value_name = "ROUTE", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Deliver again from an earlier place of the log
///
/// Everything from there on is delivered again on this route, and on no other: open leases and
/// waiting entries in the range are void, dead letters in it superseded. The place is clamped to
/// what is retained.
#[derive(Debug, clap::Args)]
pub struct RewindArgs {
    /// The route
    #[arg(value_name = "ROUTE")]
    name: String,
    /// `beginning`, an offset, a time (2026-11-23T17:00:00Z) or an age (2h, 7d)
    #[arg(long, value_name = "PLACE")]
    to: String,
    #[command(flatten)]
    yes: Yes,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Move the cursor of a route that left the configuration to another name
#[derive(Debug, clap::Args)]
pub struct RenameArgs {
    /// Its old name
    from: String,
    /// Its new name
    to: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Drop the cursor, waiting entries and dead letters of a route that left the configuration
#[derive(Debug, clap::Args)]
pub struct ForgetArgs {
    /// The route
    #[arg(value_name = "ROUTE")]
    name: String,
    #[command(flatten)]
    yes: Yes,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Runs the subcommand.
pub fn run(global: &Global, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(global, args),
        Command::Pause(args) => pause(global, args, true),
        Command::Resume(args) => pause(global, args, false),
        Command::Rewind(args) => rewind(global, args),
        Command::Rename(args) => rename(global, args),
        Command::Forget(args) => forget(global, args),
    }
}

#[derive(Debug, Serialize)]
struct ListView {
    routes: Vec<RouteStatus>,
}

fn list(global: &Global, args: &ListArgs) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let routes = block_on(async { Ok(log.routes().await?) })?;
    args.output
        .print(&ListView { routes }, |view| table(&view.routes, now()))
}

fn table(routes: &[RouteStatus], now: Timestamp) -> String {
    if routes.is_empty() {
        return "no routes".into();
    }
    let mut sheet = Sheet::new(&[
        "route",
        "to",
        "state",
        "pending>",
        "open>",
        "waiting>",
        "dead>",
        "lag>",
        "delivered>",
    ]);
    for route in routes {
        let (state, tone) = state(route);
        let dead = if route.dead > 0 {
            Tone::Bad
        } else {
            Tone::Plain
        };
        sheet.row([
            toned(&route.name, Tone::Plain),
            toned(route.destination.as_deref().unwrap_or("-"), Tone::Plain),
            toned(state, tone),
            toned(count(route.pending), Tone::Plain),
            toned(count(route.open), Tone::Plain),
            toned(count(route.waiting), Tone::Plain),
            toned(count(route.dead), dead),
            toned(
                route.oldest.map_or("-".into(), |at| length(now.since(at))),
                Tone::Plain,
            ),
            toned(count(route.delivered), Tone::Plain),
        ]);
    }
    sheet.text()
}

fn state(route: &RouteStatus) -> (String, Tone) {
    if route.destination.is_none() {
        ("not configured".into(), Tone::Warn)
    } else if route.paused {
        ("paused".into(), Tone::Warn)
    } else if route.breaker == "open" {
        ("breaker open".into(), Tone::Bad)
    } else if route.breaker != "closed" {
        (format!("breaker {}", route.breaker), Tone::Warn)
    } else {
        ("running".into(), Tone::Good)
    }
}

fn pause(global: &Global, args: &NameArgs, pause: bool) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let actor = args.why.actor();
    block_on(async {
        for name in &args.names {
            if pause {
                log.pause(name, actor.clone()).await?;
            } else {
                log.resume(name, actor.clone()).await?;
            }
        }
        Ok(())
    })?;
    let word = if pause { "paused" } else { "resumed" };
    args.output.print(&json!({ word: args.names }), |_| {
        format!("{word} {}", args.names.join(", "))
    })
}

fn rewind(global: &Global, args: &RewindArgs) -> anyhow::Result<()> {
    let to = place(&args.to, now())?;
    let log = args.connect.open(global)?;
    let question = format!(
        "Deliver everything on {} again from {} on?",
        args.name, args.to
    );
    if !confirm(&question, args.yes.yes)? {
        bail!("nothing was changed");
    }
    let actor = args.why.actor();
    let again = block_on(async { Ok(log.rewind(&args.name, to, actor).await?) })?;
    args.output
        .print(&json!({ "route": args.name, "count": again }), |_| {
            format!("{} is rewound over {} offsets", args.name, count(again))
        })
}

fn place(text: &str, now: Timestamp) -> anyhow::Result<RewindTo> {
    if text == "beginning" {
        return Ok(RewindTo::Beginning);
    }
    if let Ok(offset) = text.parse() {
        return Ok(RewindTo::Offset(offset));
    }
    when::parse(text)
        .map(|when| RewindTo::Time(when.from(now)))
        .map_err(|problem| usage(format!("--to {text}: {problem}, an offset, or `beginning`")))
}

fn rename(global: &Global, args: &RenameArgs) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let actor = args.why.actor();
    block_on(async { Ok(log.rename(&args.from, &args.to, actor).await?) })?;
    args.output
        .print(&json!({ "from": args.from, "to": args.to }), |_| {
            format!("{} is now {}", args.from, args.to)
        })
}

fn forget(global: &Global, args: &ForgetArgs) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let question = format!("Forget {}, with what is waiting and dead on it?", args.name);
    if !confirm(&question, args.yes.yes)? {
        bail!("nothing was changed");
    }
    let actor = args.why.actor();
    block_on(async { Ok(log.forget(&args.name, actor).await?) })?;
    args.output.print(&json!({ "forgotten": args.name }), |_| {
        format!("{} is forgotten", args.name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_beginning_an_offset_or_a_time() {
        let now = Timestamp::from_secs(10_000);
        let at = |text| place(text, now).map_err(|error| error.to_string());
        assert_eq!(at("beginning"), Ok(RewindTo::Beginning));
        assert_eq!(at("42"), Ok(RewindTo::Offset(42)));
        assert_eq!(at("1h"), Ok(RewindTo::Time(Timestamp::from_secs(6400))));
        assert!(at("then").is_err());
    }
}
