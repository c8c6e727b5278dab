//! `creel bench dead-destination`: one destination that is dead slows no other down.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::ValueEnum;

use super::super::report::{System, per_second};
use super::super::subject::{Layout, Subject};
use super::Common;
use super::finding::{Findings, Unit, print};
use super::sink::{Answer, Rule, Sinks, refusing};
use super::stage::{Stage, median, number};

/// Deliver to nine destinations, with a tenth that is dead and without it
///
/// Every delivery goes to all of them, by one worker. Runs take turns, so that a machine that is
/// busy otherwise is so for both; medians are compared.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many deliveries per run
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    deliveries: u64,
    /// How many runs with, and as many without
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    runs: u8,
    /// How it is dead
    #[arg(long, value_enum, default_value_t = Death::Hangs)]
    dead: Death,
    #[command(flatten)]
    common: Common,
}

/// How a destination is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Death {
    /// Accepts connections and requests, and never answers
    Hangs,
    /// Refuses connections
    Refuses,
}

/// Destinations that live.
const ALIVE: usize = 9;
/// Least share of their speed that is left.
const SHARE_MIN: f64 = 0.8;

pub fn run(args: &Args) -> anyhow::Result<()> {
    let stage = Stage::set(&args.common)?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let mut missing = 0;
    for turn in 0..u64::from(args.runs) {
        for (dead, rates) in [(None, &mut without), (Some(args.dead), &mut with)] {
            let (rate, left) = deliver(args, &stage, turn, dead)?;
            rates.push(rate);
            missing += left;
        }
    }
    let (without, with) = (median(without), median(with));
    let mut findings = Findings::default();
    findings.note(
        "without_per_second",
        "delivered to nine, without a tenth",
        without,
        Unit::PerSecond,
    );
    findings.note(
        "with_per_second",
        "with a dead tenth",
        with,
        Unit::PerSecond,
    );
    findings.note(
        "share",
        "of their speed is left",
        with / without,
        Unit::Ratio,
    );
    findings.at_least(SHARE_MIN);
    findings.note(
        "missing",
        "not delivered to one that lives",
        number(missing),
        Unit::Count,
    );
    findings.at_most(0.0);
    print(&args.common, "dead-destination", &findings)
}

/// How many per second those that live got from the first request on, and how many did not come.
fn deliver(
    args: &Args,
    stage: &Stage,
    turn: u64,
    dead: Option<Death>,
) -> anyhow::Result<(f64, u64)> {
    let sinks = Sinks::start()?;
    let taken = Arc::new(AtomicU64::new(0));
    let rule: Rule = {
        let taken = taken.clone();
        Arc::new(move |_| {
            taken.fetch_add(1, Ordering::Relaxed);
            Answer::Taken
        })
    };
    let mut addresses = Vec::new();
    for _ in 0..ALIVE {
        addresses.push(sinks.open(rule.clone())?);
    }
    match dead {
        Some(Death::Hangs) => addresses.push(sinks.open(Arc::new(|_| Answer::Never))?),
        Some(Death::Refuses) => addresses.push(refusing()?),
        None => {}
    }
    let layout = Layout {
        routes: routes(&addresses),
        ..Layout::default()
    };
    let mut subject = Subject::with(&stage.bench, System::Creel, &layout)?;
    subject.start_worker()?;
    let first = turn * args.deliveries;
    let began = Instant::now();
    stage.send(&subject, first..first + args.deliveries, None)?;
    let goal = args.deliveries * ALIVE as u64;
    stage
        .until("delivering", goal, || Ok(taken.load(Ordering::Relaxed)))
        .map_err(|error| subject.explain(error))?;
    let took = began.elapsed();
    // what the nine have is settled soon; the counts of their routes say whether it was all of it
    stage.until("settling", goal, || delivered(&subject))?;
    let missing = goal.saturating_sub(delivered(&subject)?);
    Ok((per_second(goal, took), missing))
}

fn delivered(subject: &Subject) -> anyhow::Result<u64> {
    Ok(subject.routes()?.iter().map(|route| route.delivered).sum())
}

fn routes(addresses: &[SocketAddr]) -> String {
    let mut text = String::new();
    for (index, address) in addresses.iter().enumerate() {
        // writing to a string cannot fail
        let _ = write!(
            text,
            "[destinations.d{index}]\ntype = \"http\"\nurl = \"http://{address}/\"\n\
             allow = [\"127.0.0.0/8\"]\n\n\
             [[routes]]\nsource = \"bench\"\ndestination = \"d{index}\"\nstart = \"beginning\"\n\n"
        );
    }
    text
}
