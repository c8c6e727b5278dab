//! `creel bench`: how fast deliveries are acknowledged, against the limit of the same disk.
//!
//! Numbers of different machines, disks or days cannot be compared; these are taken in one run,
//! on one disk, in turns, and what counts are their ratios. The load generator runs in this
//! process, every server in a child process of the same executable.

mod bare;
mod file_log;
mod interrupt;
mod latency;
mod load;
mod report;
mod request;
mod scenario;
pub mod server;
mod subject;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use self::interrupt::Interrupt;
use self::load::{Answers, Load};
use self::report::{Report, Row, System};
use self::request::{Requests, SignedBody};
use self::scenario::Scenario;
use self::subject::{Bench, Subject};
use crate::output::{Output, progress};

/// Measure acknowledgements per second, against the limit of this disk
///
/// At each number of connections, one after the other: bare appends with fdatasync; the
/// receiver's HTTP server and verification without a log; the same server over a bare synced file
/// with group commit, which is the limit; and creel's receiver with everything on. With --workers
/// also with so many workers draining to files meanwhile. Requests are signed as GitHub signs, and
/// every one is an event of its own. The load generator shares the machine with what it measures.
///
/// The subcommands measure how creel behaves at scale, against stated bounds.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    scenario: Option<Scenario>,
    /// At these numbers of connections
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,64,256", value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: Vec<u16>,
    /// Seconds measured for each row, after one second to warm up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Go through all of it so many times and keep the median of each row, where the machine has
    /// other things to do
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// Size of bodies in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(128..=16 << 20))]
    size: u32,
    /// Also measure with so many workers draining
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=64))]
    workers: u16,
    /// Where to put the files: the disk that is measured [default: this directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only these, in order: bare, no-log, file, creel
    #[arg(long, value_name = "SYSTEM,…", value_delimiter = ',', value_enum)]
    only: Vec<System>,
    #[command(flatten)]
    output: Output,
}

const WARM_UP: Duration = Duration::from_secs(1);

/// Measures and prints.
pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.scenario {
        Some(scenario) => scenario.run(),
        None => compare(args),
    }
}

fn compare(args: &Args) -> anyhow::Result<()> {
    let parent = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let dir = tempfile::Builder::new()
        .prefix("creel-bench-")
        .tempdir_in(&parent)
        .with_context(|| format!("cannot make a directory in {}", parent.display()))?;
    let interrupt = Interrupt::listen()?;
    let run: u64 = rand::random();
    let bench = Bench::prepare(dir.path(), usize::from(args.workers))?;
    let bodies = signed_bodies(&bench, args.size as usize, run)?;
    let plan = plan(args);
    let bar = progress(plan.len() as u64, "measuring");
    let mut rows = Vec::new();
    for (system, connections) in plan {
        bar.set_message(system.title());
        bar.tick();
        let row = measure(args, &bench, system, connections, &bodies, &interrupt)
            .with_context(|| format!("{} at {connections} connections", system.title()))?;
        bar.suspend(|| narrate(args, &row));
        rows.push(row);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let rows = report::medians(rows);
    let report = Report {
        body_bytes: args.size as usize,
        seconds: f64::from(args.seconds),
        rounds: args.rounds,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        dir: parent
            .canonicalize()
            .unwrap_or(parent)
            .display()
            .to_string(),
        ratios: report::ratios(&rows),
        rows,
    };
    args.output.print(&report, report::text)
}

/// A line per row as it comes; the table comes at the end.
fn narrate(args: &Args, row: &Row) {
    if !args.output.json {
        let _ = writeln!(
            anstream::stderr(),
            "{:<26} {:>4} connections  {:>9.0} acks/s",
            row.system.title(),
            row.connections,
            row.acks_per_second
        );
    }
}

/// Systems in turns at each number of connections, so that a disk that tires is fair to all.
fn plan(args: &Args) -> Vec<(System, usize)> {
    let mut systems = match args.only.as_slice() {
        [] => vec![System::Bare, System::NoLog, System::File, System::Creel],
        only => only.to_vec(),
    };
    if args.workers > 0 && !systems.contains(&System::CreelWorkers) {
        systems.push(System::CreelWorkers);
    }
    let round: Vec<(System, usize)> = args
        .connections
        .iter()
        .flat_map(|&connections| {
            systems
                .iter()
                .map(move |&system| (system, usize::from(connections)))
        })
        .collect();
    round.repeat(usize::from(args.rounds))
}

fn signed_bodies(bench: &Bench, size: usize, run: u64) -> anyhow::Result<Vec<SignedBody>> {
    request::bodies(size, run)
        .into_iter()
        .map(|body| {
            Ok(SignedBody {
                signature: bench.signature(&body)?,
                body,
            })
        })
        .collect()
}

fn measure(
    args: &Args,
    bench: &Bench,
    system: System,
    connections: usize,
    bodies: &[SignedBody],
    interrupt: &Interrupt,
) -> anyhow::Result<Row> {
    let measured = Duration::from_secs(args.seconds.into());
    if system == System::Bare {
        let path = bench.dir().join("bare");
        let size = args.size as usize;
        let ran = bare::run(&path, connections, size, (WARM_UP, measured), interrupt);
        remove(&path);
        let (latencies, took) = ran?;
        return Ok(Row::new(system, connections, &latencies, took));
    }
    // names of events differ from row to row, so that none is a duplicate
    let run = rand::random();
    let subject = Subject::start(bench, system)?;
    let requests = Requests::new(subject::PATH, run, bodies);
    let load = Load {
        address: subject.address(),
        connections,
        warm_up: WARM_UP,
        measured,
    };
    let mut before = None;
    let mut after = None;
    let ran = load::run(
        load,
        requests,
        interrupt,
        || before = Some(subject.reading()),
        || after = Some(subject.reading()),
    );
    let answers = ran.map_err(|error| subject.explain(error))?;
    let (before, after) = before.zip(after).context("nothing was measured")?;
    let row = row(system, connections, &answers, &(before?, after?));
    subject.stop()?;
    ensure!(row.acks_per_second > 0.0, "nothing was acknowledged");
    Ok(row)
}

#[allow(clippy::cast_precision_loss)]
fn row(
    system: System,
    connections: usize,
    answers: &Answers,
    readings: &(subject::Reading, subject::Reading),
) -> Row {
    let (before, after) = readings;
    let acks = answers.latencies.total();
    let cpu = after.cpu.saturating_sub(before.cpu);
    let drained = after.delivered.zip(before.delivered);
    Row {
        refused: answers.refused,
        server_cpu_us: (acks > 0).then(|| cpu.as_secs_f64() * 1e6 / acks as f64),
        drained_per_second: drained
            .map(|(after, before)| report::per_second(after.saturating_sub(before), answers.took)),
        ..Row::new(system, connections, &answers.latencies, answers.took)
    }
}

fn remove(path: &Path) {
    // the directory goes at the end; what is left until then only takes space
    let _ = std::fs::remove_file(path);
}
