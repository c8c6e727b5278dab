//! `creel backup`: the log copied while it is in use, and copies read back.

#[cfg(feature = "client")]
mod running;
mod watch;

use std::path::{Path, PathBuf};

use anyhow::Context;
use creel_common::config::Config;
use creel_common::engine::backup::{BackupCall, BackupError, BackupReport, VerifyReport};
use creel_common::engine::sled::backup::verify;
use creel_common::time::{Clock, SystemClock};

pub use self::watch::Bar;

#[cfg(feature = "client")]
use crate::commands::connect::Connect;
use crate::commands::log::open_existing;
use crate::failure::{said, usage};
use crate::output::{BAD, GOOD, Output, bytes, count, paint};
use crate::settings::Global;

/// Back the log up, while it is in use, into a directory
///
/// DIR is on the receiver's machine and best on another disk: new, empty, or with an earlier backup
/// of this log, which is continued: only what is new is copied. Until a backup is complete, the one
/// before counts. When no receiver runs, the log is opened here.
///
/// What is in it: all deliveries, cursors, waiting deliveries, dead letters, the audit, idempotency
/// keys, kept attempts. Not: configuration, secrets, tokens. `creel restore` makes a log of it.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where to
    #[arg(value_name = "DIR", required = true)]
    dir: Option<PathBuf>,
    /// Read all of it back afterwards; exit with 1 when something differs
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    output: Output,
    #[cfg(feature = "client")]
    #[command(flatten)]
    connect: Connect,
}

/// What else there is to do with a backup.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read a backup back and compare it with what was written; exit with 1 when it is damaged
    ///
    /// Every file against the manifest's sizes and digests, every block and every delivery's block
    /// against its own checksum, and that no offset is missing. Changes nothing.
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// The directory with the backup
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// Backs up, or verifies.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    match (&args.command, &args.dir) {
        (Some(Command::Verify(args)), _) => run_verify(args),
        (None, Some(dir)) => back_up(global, args, dir),
        (None, None) => Err(usage("say where to: creel backup DIR")),
    }
}

fn run_verify(args: &VerifyArgs) -> anyhow::Result<()> {
    let bar = Bar::new();
    let verified = verify(&args.dir, &bar).map_err(explain);
    bar.clear();
    let verified = verified?;
    args.output.print(&verified, verified_text)?;
    sound(&verified)
}

fn sound(verified: &VerifyReport) -> anyhow::Result<()> {
    match verified.damage.is_empty() {
        true => Ok(()),
        false => Err(said()),
    }
}

fn back_up(global: &Global, args: &Args, dir: &Path) -> anyhow::Result<()> {
    let dir = std::path::absolute(dir).with_context(|| format!("no path: {}", dir.display()))?;
    let report = taken(global, args, &dir)?;
    args.output
        .print(&report, |report| report_text(report, &dir))?;
    report.verified.as_ref().map_or(Ok(()), sound)
}

/// By the receiver that runs; by this process where none does.
#[cfg(feature = "client")]
fn taken(global: &Global, args: &Args, dir: &Path) -> anyhow::Result<BackupReport> {
    match running::ask(global, &args.connect, dir, args.verify)? {
        running::Answer::Taken(report) => Ok(*report),
        running::Answer::NoReceiver(why) => here(global, dir, args.verify).map_err(|error| {
            error.context(format!(
                "no receiver answered ({why:#}), nor can it be done here"
            ))
        }),
    }
}

#[cfg(not(feature = "client"))]
fn taken(global: &Global, args: &Args, dir: &Path) -> anyhow::Result<BackupReport> {
    here(global, dir, args.verify)
}

/// Opens the log here and backs it up.
fn here(global: &Global, dir: &Path, verify: bool) -> anyhow::Result<BackupReport> {
    let config: Config = global.load()?;
    let engine = open_existing(&config)?;
    let bar = Bar::new();
    let report = engine.backup(&BackupCall {
        dir,
        at: SystemClock::default().wall(),
        keep_free: config.log.reserve_bytes,
        verify,
        watch: &bar,
    });
    bar.clear();
    engine
        .close()
        .map_err(|error| crate::engine::explain(&config, error))?;
    report.map_err(explain)
}

/// What a failure means for whoever asked.
pub fn explain(error: BackupError) -> anyhow::Error {
    match error {
        BackupError::Unfit(_) | BackupError::Unsupported(_) => usage(error.to_string()),
        error => error.into(),
    }
}

fn report_text(report: &BackupReport, dir: &Path) -> String {
    let mut lines = vec![
        format!("backup      {} of log {}", report.number, report.log),
        format!("in          {}", dir.display()),
        format!("as of       {}", report.at),
        offsets(report.first, report.next),
        format!(
            "written     {} files, {}; {} blocks",
            count(report.files_written),
            bytes(report.bytes_written),
            count(report.blocks_written)
        ),
        format!(
            "in all      {} files, {}; {} volumes",
            count(report.files),
            bytes(report.bytes),
            count(report.volumes)
        ),
    ];
    if report.files_removed > 0 {
        let removed = count(report.files_removed);
        lines.push(format!(
            "removed     {removed} files of the backup before, not needed any more"
        ));
    }
    lines.extend(lost(&report.lost));
    if let Some(verified) = &report.verified {
        lines.extend(verdict(verified));
    }
    lines.join("\n")
}

fn verified_text(verified: &VerifyReport) -> String {
    let mut lines = vec![
        format!("backup      {} of log {}", verified.number, verified.log),
        format!("as of       {}", verified.at),
        offsets(verified.first, verified.next),
        format!("deliveries  {}", count(verified.deliveries)),
        format!(
            "read        {} files, {}",
            count(verified.files),
            bytes(verified.bytes)
        ),
    ];
    lines.extend(lost(&verified.lost));
    lines.extend(verdict(verified));
    lines.join("\n")
}

/// The offsets that there are.
pub fn offsets(first: u64, next: u64) -> String {
    match first < next {
        true => format!("offsets     {first} to {}", next - 1),
        false => "offsets     none".to_owned(),
    }
}

/// A line per range that was lost before.
pub fn lost(gaps: &[creel_common::engine::Gap]) -> Vec<String> {
    let line = |gap: &creel_common::engine::Gap| {
        let text = format!("lost        {} to {}, not in it", gap.first, gap.last);
        paint(BAD, &text)
    };
    gaps.iter().map(line).collect()
}

/// A line per damage, or one that there is none.
fn verdict(verified: &VerifyReport) -> Vec<String> {
    if verified.damage.is_empty() {
        let text = "everything in it reads back as it was written";
        return vec![paint(GOOD, text)];
    }
    let damage = verified.damage.iter();
    damage
        .map(|damage| paint(BAD, &format!("damaged     {}", damage_text(damage))))
        .collect()
}

/// Which file, which offsets, what.
pub fn damage_text(damage: &creel_common::engine::backup::Damage) -> String {
    let offsets = damage.offsets.map_or(String::new(), |(first, last)| {
        format!(", offsets {first} to {last}")
    });
    format!("{}{offsets}: {}", damage.file, damage.what)
}
