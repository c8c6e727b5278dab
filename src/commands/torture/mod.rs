//! `creel torture`: does creel lose anything here, on this disk, whatever happens to it?
//!
//! Everything is real: processes of this executable that are killed and frozen, signed requests,
//! a disk that fills up. A disk cannot be unplugged by a program, so power cuts and failed syncs
//! are played on a file system of ours, the layer (`creel_common::layer`), where FUSE is there.
//!
//! ```text
//! round: a log of its own, on the disk or on the layer
//!   senders push ──► fault ──► back? ──► senders pause ──► all delivered ──► reconcile ─┐
//!        ▲─────────────────────────────── next fault of the shuffled deck ◄────────────┘
//!   stop in order, read the whole log back
//! ```
//!
//! The books are the demo's: what senders were told, what the log holds, what the destination got.

mod fault;
mod machine;
mod means;
mod report;
mod round;
mod senders;
mod stand;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use rand::SeedableRng;
use rand::rngs::StdRng;

use self::fault::Fault;
use self::machine::Machine;
use self::means::Means;
use self::report::Report;
use self::round::Round;
use self::stand::Ground;
use crate::failure::said;
use crate::output::{Output, length, progress};
use crate::stop::Signals;

/// Play faults on this disk and see whether anything acknowledged is lost
///
/// Starts a receiver and workers of its own in a temporary directory, sends signed deliveries from
/// many senders that write down what they are told, and plays faults in random order: processes
/// killed with -9 and frozen, a disk that is full, where libfaketime is there a wall clock that is
/// set, and where FUSE is there power cuts and failed syncs. After each it reconciles: everything
/// answered with 2xx is in the log byte for byte, once, and reached the destination. Ends with PASS
/// and 0, or FAIL and 1.
///
/// Power cuts and failed syncs are played on a file system in memory that keeps only what was
/// synced; the other faults on the disk itself as well. Whether the disk keeps what it says it has
/// synced, no program can find out.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For how many minutes [default: 5]
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..=10_080))]
    minutes: Option<u64>,
    /// For how many seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(5..=604_800))]
    seconds: Option<u64>,
    /// Where to put the files: the disk in question [default: this directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Decides which faults come when [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only these
    #[arg(long, value_name = "FAULT,…", value_delimiter = ',', value_enum)]
    only: Vec<Fault>,
    /// Let syncs on the layer do nothing: this has to end with FAIL, or the rest proves nothing
    #[arg(long)]
    control: bool,
    #[command(flatten)]
    output: Output,
}

const MINUTES: u64 = 5;

impl Args {
    fn time(&self) -> Duration {
        let minutes = self.minutes.unwrap_or(MINUTES);
        Duration::from_secs(self.seconds.unwrap_or(minutes * 60))
    }

    fn faults(&self) -> Vec<Fault> {
        let all = <Fault as clap::ValueEnum>::value_variants();
        let wanted = |fault: &&Fault| self.only.is_empty() || self.only.contains(fault);
        all.iter().filter(wanted).copied().collect()
    }
}

/// Tortures, and prints how it went.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let parent = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let dir = tempfile::Builder::new()
        .prefix("creel-torture-")
        .tempdir_in(&parent)
        .with_context(|| format!("cannot make a directory in {}", parent.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let report = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            report = torture(args, dir.path()) => report,
            _ = signals.told() => Err(said()),
        }
    })?;
    args.output.print(&report, report::text)?;
    if report.pass {
        return Ok(());
    }
    let kept = dir.keep();
    let _ = writeln!(
        anstream::stderr(),
        "everything is left in {}",
        kept.display()
    );
    Err(said())
}

async fn torture(args: &Args, dir: &Path) -> anyhow::Result<Report> {
    creel_common::tls::install_provider();
    let seed = args.seed.unwrap_or_else(rand::random);
    let (began, time) = (Instant::now(), args.time());
    let (asked, means) = (args.faults(), Means::look());
    let mut report = Report::new(seed, Machine::of(dir), &asked, &means);
    let (faults, lacking) = playable(&asked, &means);
    ensure!(
        !faults.is_empty(),
        "none of these faults can be played here: {lacking}"
    );
    let grounds = grounds(&faults, means.no_layer.is_none());
    ensure!(
        !args.control || grounds.contains(&Ground::Layer),
        "--control needs the layer: {}",
        means.no_layer.unwrap_or_default()
    );
    let bar = progress(time.as_secs(), "torture");
    let mut dice = StdRng::seed_from_u64(seed);
    for number in 0.. {
        if began.elapsed() >= time || !report.problems.is_empty() {
            break;
        }
        let ground = grounds[number % grounds.len()];
        let at = dir.join(format!("round-{number}"));
        let mut round = Round::begin(&at, ground, !args.control, &mut dice).await?;
        let told = |report: &Report, what: &str| tell(&bar, began, report, what);
        let ended = round
            .play(&faults, began + time, &mut report, &mut dice, &told)
            .await;
        if let Err(error) = ended {
            report
                .problems
                .push(format!("{} in {}: {error:#}", ground.word(), at.display()));
        }
        let stand = round.close(&mut report);
        if report.problems.is_empty() {
            drop(stand);
            std::fs::remove_dir_all(&at).with_context(|| at.display().to_string())?;
        } else {
            stand.keep()?;
        }
    }
    bar.finish_and_clear();
    report.finish(began.elapsed());
    Ok(report)
}

/// The faults that can be played, and why the others cannot.
fn playable(asked: &[Fault], means: &Means) -> (Vec<Fault>, String) {
    let lacks = |fault: &&Fault| means.lacks(**fault).is_some();
    let (lacking, faults): (Vec<Fault>, Vec<Fault>) = asked.iter().partition(lacks);
    let mut why: Vec<&str> = lacking.iter().filter_map(|f| means.lacks(*f)).collect();
    why.dedup();
    (faults, why.join("; "))
}

/// The layer first: most faults can be played there.
fn grounds(faults: &[Fault], layer: bool) -> Vec<Ground> {
    let of = |ground: &Ground| faults.iter().any(|fault| fault.is_for(*ground));
    let all = match layer {
        true => vec![Ground::Layer, Ground::Disk],
        false => vec![Ground::Disk],
    };
    all.into_iter().filter(of).collect()
}

fn tell(bar: &ProgressBar, began: Instant, report: &Report, what: &str) {
    bar.set_position(began.elapsed().as_secs());
    bar.set_message(format!(
        "{} acked, {} faults: {what}",
        report.acked,
        report.played()
    ));
    tracing::debug!(
        acked = report.acked,
        after = length(began.elapsed()),
        "{what}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &[&str]) -> Args {
        #[derive(clap::Parser)]
        struct Typed {
            #[command(flatten)]
            args: Args,
        }
        let words = ["torture"].into_iter().chain(text.iter().copied());
        <Typed as clap::Parser>::parse_from(words).args
    }

    #[test]
    fn without_a_layer_only_faults_of_the_disk_are_played() {
        let all = args(&[]).faults();
        assert_eq!(grounds(&all, true), [Ground::Layer, Ground::Disk]);
        assert_eq!(grounds(&all, false), [Ground::Disk]);
        let cuts = args(&["--only", "power-cut"]).faults();
        assert_eq!(cuts, [Fault::PowerCut]);
        assert_eq!(grounds(&cuts, true), [Ground::Layer]);
        assert!(grounds(&cuts, false).is_empty());
        let means = Means {
            no_layer: Some("no FUSE".into()),
            no_wall: None,
        };
        assert_eq!(playable(&cuts, &means), (vec![], "no FUSE".into()));
        let clock = args(&["--only", "set-clock,power-cut"]).faults();
        assert_eq!(playable(&clock, &means).0, [Fault::SetClock]);
    }

    #[test]
    fn time_is_in_minutes_or_seconds() {
        let secs = |text: &[&str]| args(text).time().as_secs();
        assert_eq!(secs(&[]), 300);
        assert_eq!(secs(&["--minutes", "2"]), 120);
        assert_eq!(secs(&["--seconds", "20"]), 20);
    }
}
