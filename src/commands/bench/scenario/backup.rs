//! `creel bench backup`: what a backup costs those who send meanwhile.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use creel_common::engine::backup::BackupReport;

use super::super::report::{System, per_second};
use super::super::subject::{Layout, Subject};
use super::Common;
use super::finding::{Findings, Unit, print};
use super::stage::{Stage, median, number};

/// Take deliveries in while the whole log is backed up, and while it is not
///
/// The log is filled first. Then runs take turns: deliveries alone, and deliveries while backups into
/// new directories on the same disk follow each other. Medians are compared.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// MiB of deliveries in the log beforehand
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(8..=1 << 20))]
    log: u64,
    /// How many deliveries per run
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1000..=100_000_000))]
    deliveries: u64,
    /// How many runs with, and as many without
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    runs: u8,
    /// Size of a volume in MiB
    #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = clap::value_parser!(u64).range(4..=65_536))]
    volume: u64,
    #[command(flatten)]
    common: Common,
}

/// Least share of the speed that is left.
const SHARE_MIN: f64 = 0.85;
/// How often a backup is asked how it goes.
const ASK: Duration = Duration::from_millis(50);

pub fn run(args: &Args) -> anyhow::Result<()> {
    let stage = Stage::set(&args.common)?;
    let layout = Layout {
        log: format!("volume = \"{}MiB\"\n", args.volume),
        ..Layout::default()
    };
    let subject = Subject::with(&stage.bench, System::Creel, &layout)?;
    let mut sent = args.log * (1 << 20) / u64::from(args.common.size);
    stage.send(&subject, 0..sent, None)?;
    let (mut alone, mut with) = (Measured::default(), Measured::default());
    let mut backups = Backups::default();
    for _ in 0..args.runs {
        alone.add(&stage, &subject, sent..sent + args.deliveries)?;
        sent += args.deliveries;
        backups.during(&subject, || {
            with.add(&stage, &subject, sent..sent + args.deliveries)
        })?;
        sent += args.deliveries;
    }
    let quiet = backups.one(&subject)?;
    subject.stop()?;
    print(
        &args.common,
        "backup",
        &findings(alone, with, &backups, quiet),
    )
}

fn findings(alone: Measured, with: Measured, backups: &Backups, quiet: f64) -> Findings {
    let mut findings = Findings::default();
    let (alone_rate, with_rate) = (median(alone.rates), median(with.rates));
    findings.note(
        "alone_per_second",
        "acknowledged, no backup",
        alone_rate,
        Unit::PerSecond,
    );
    findings.note(
        "with_per_second",
        "acknowledged during backups",
        with_rate,
        Unit::PerSecond,
    );
    findings.note(
        "share",
        "of the speed is left",
        with_rate / alone_rate,
        Unit::Ratio,
    );
    findings.at_least(SHARE_MIN);
    findings.note(
        "alone_p99_ms",
        "99 % answered within, no backup",
        median(alone.p99_ms),
        Unit::Millis,
    );
    findings.note(
        "with_p99_ms",
        "99 % answered within, during backups",
        median(with.p99_ms),
        Unit::Millis,
    );
    findings.note(
        "backup_bytes_per_second",
        "a backup copies per second meanwhile, bytes",
        backups.bytes / backups.took.as_secs_f64(),
        Unit::Bytes,
    );
    findings.note(
        "quiet_bytes_per_second",
        "and while nothing comes in, bytes",
        quiet,
        Unit::Bytes,
    );
    findings
}

#[derive(Default)]
struct Measured {
    rates: Vec<f64>,
    p99_ms: Vec<f64>,
}

impl Measured {
    fn add(
        &mut self,
        stage: &Stage,
        subject: &Subject,
        numbers: std::ops::Range<u64>,
    ) -> anyhow::Result<()> {
        let count = numbers.end - numbers.start;
        let answers = stage.send(subject, numbers, None)?;
        self.rates.push(per_second(count, answers.took));
        let p99 = answers.latencies.quantile(0.99);
        self.p99_ms.push(p99.as_secs_f64() * 1e3);
        Ok(())
    }
}

/// Backups that follow each other.
#[derive(Default)]
struct Backups {
    bytes: f64,
    took: Duration,
    count: u32,
}

impl Backups {
    /// Backs up again and again while `run` runs; the last one is waited for.
    fn during(
        &mut self,
        subject: &Subject,
        run: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let copying = scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    self.take(subject, &over)?;
                }
                anyhow::Ok(())
            });
            let ran = run();
            over.store(true, Ordering::Release);
            let copied = copying.join();
            ran?;
            copied.map_err(|_| anyhow::anyhow!("a thread panicked"))?
        })
    }

    fn take(&mut self, subject: &Subject, over: &AtomicBool) -> anyhow::Result<()> {
        let dir = self.dir(subject.dir());
        subject.begin_backup(&dir)?;
        let began = Instant::now();
        let mut seen = (0, Duration::ZERO);
        loop {
            let status = subject.backup_status()?;
            if !over.load(Ordering::Acquire) {
                let report = status.report.as_ref();
                let done = report.map_or(status.done, |report| report.bytes_written);
                seen = (done, began.elapsed());
            }
            if !status.running {
                status.report.context("a backup failed")?;
                break;
            }
            std::thread::sleep(ASK);
        }
        // what it did once nothing came in any more does not count
        self.bytes += number(seen.0);
        self.took += seen.1;
        std::fs::remove_dir_all(&dir)?;
        Ok(())
    }

    /// One with nothing else going on; how many bytes per second.
    fn one(&mut self, subject: &Subject) -> anyhow::Result<f64> {
        let dir = self.dir(subject.dir());
        let began = Instant::now();
        subject.begin_backup(&dir)?;
        let report: BackupReport = loop {
            let status = subject.backup_status()?;
            if !status.running {
                break status.report.context("a backup failed")?;
            }
            std::thread::sleep(ASK);
        };
        Ok(number(report.bytes_written) / began.elapsed().as_secs_f64())
    }

    fn dir(&mut self, parent: &Path) -> PathBuf {
        self.count += 1;
        parent.join(format!("backup-{}", self.count))
    }
}
