//! `creel bench backlog`: a large backlog costs no memory and no time to start, and drains from
//! its oldest delivery on.

use std::time::Instant;

use super::super::report::{System, per_second};
use super::super::subject::{Layout, Subject};
use super::finding::{Findings, Unit, print};
use super::stage::{Stage, disk_bytes, number};
use super::{Common, archive};

/// Pile up deliveries with no worker, crash the receiver, start it again, drain
///
/// The receiver is killed with -9 and has to be ready again at once, with little memory; then one
/// worker drains to files, the oldest first. A delivery of 1 KiB takes about 2 KiB in the log and 2
/// KiB in the files.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many deliveries
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1000..=100_000_000))]
    deliveries: u64,
    /// Drain only about so many of them
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    drain_limit: u64,
    #[command(flatten)]
    common: Common,
}

/// Most memory the receiver may take.
const MEMORY_BYTES_MAX: f64 = 300e6;
/// Longest time from start to ready.
const READY_SECS_MAX: f64 = 5.0;
/// A delivery may overtake as many as a route has open at once (`open_max`).
const AHEAD_MAX: f64 = 1024.0;

pub fn run(args: &Args) -> anyhow::Result<()> {
    let stage = Stage::set(&args.common)?;
    let mut findings = Findings::default();
    let mut subject = Subject::with(&stage.bench, System::Creel, &Layout::default())?;
    pile_up(args, &stage, &subject, &mut findings)?;
    crash(args, &mut subject, &mut findings)?;
    drain(args, &stage, &mut subject, &mut findings)?;
    subject.stop()?;
    print(&args.common, "backlog", &findings)
}

fn pile_up(
    args: &Args,
    stage: &Stage,
    subject: &Subject,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let answers = stage.send(subject, 0..args.deliveries, None)?;
    let memory = subject.memory()?;
    let acked = answers.latencies.total();
    findings.note("acknowledged", "acknowledged", number(acked), Unit::Count);
    let rate = per_second(acked, answers.took);
    findings.note(
        "acks_per_second",
        "acknowledged per second",
        rate,
        Unit::PerSecond,
    );
    let p99 = answers.latencies.quantile(0.99).as_secs_f64() * 1e3;
    findings.note("ack_p99_ms", "p99 of acknowledgements", p99, Unit::Millis);
    let peak = number(memory.peak);
    findings.note(
        "memory_peak_bytes",
        "receiver's memory at its peak",
        peak,
        Unit::Bytes,
    );
    findings.at_most(MEMORY_BYTES_MAX);
    Ok(())
}

fn crash(args: &Args, subject: &mut Subject, findings: &mut Findings) -> anyhow::Result<()> {
    let data = subject.dir().join("data");
    let disk = number(disk_bytes(&data));
    findings.note("disk_bytes", "log on disk", disk, Unit::Bytes);
    let ready = subject.crash()?.as_secs_f64();
    findings.note(
        "ready_seconds",
        "from start to ready after kill -9",
        ready,
        Unit::Seconds,
    );
    findings.at_most(READY_SECS_MAX);
    let memory = number(subject.memory()?.peak);
    findings.note(
        "memory_ready_bytes",
        "its memory at its peak then",
        memory,
        Unit::Bytes,
    );
    findings.at_most(MEMORY_BYTES_MAX);
    let lost = args.deliveries.saturating_sub(subject.facts()?.deliveries);
    findings.note("lost", "lost by the crash", number(lost), Unit::Count);
    findings.at_most(0.0);
    Ok(())
}

fn drain(
    args: &Args,
    stage: &Stage,
    subject: &mut Subject,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let first = subject.facts()?.first;
    let goal = args.drain_limit.min(args.deliveries);
    let delivered = |subject: &Subject| -> anyhow::Result<u64> {
        let routes = subject.routes()?;
        Ok(routes.iter().map(|route| route.delivered).sum())
    };
    let began = Instant::now();
    subject.start_worker()?;
    stage
        .until("draining", goal, || delivered(subject))
        .map_err(|error| subject.explain(error))?;
    let (drained, took) = (delivered(subject)?, began.elapsed());
    subject.stop_worker()?;
    let arrived = archive::read(&subject.dir().join("out"), first)?;
    let rate = per_second(drained, took);
    findings.note(
        "drained",
        "drained",
        number(arrived.deliveries),
        Unit::Count,
    );
    findings.at_least(number(goal));
    findings.note(
        "drained_per_second",
        "drained per second",
        rate,
        Unit::PerSecond,
    );
    let repeated = number(arrived.lines - arrived.deliveries);
    findings.note(
        "repeated",
        "delivered more than once",
        repeated,
        Unit::Count,
    );
    let ahead = number(arrived.ahead_max);
    findings.note("ahead_max", "most that one overtook", ahead, Unit::Count);
    findings.at_most(AHEAD_MAX);
    let memory = number(subject.memory()?.peak);
    findings.note(
        "memory_drain_bytes",
        "receiver's memory at its peak then",
        memory,
        Unit::Bytes,
    );
    findings.at_most(MEMORY_BYTES_MAX);
    let disk = number(disk_bytes(&subject.dir().join("data")));
    findings.note("disk_after_bytes", "log on disk then", disk, Unit::Bytes);
    Ok(())
}
