//! `creel restore`: a log made of a backup.

use std::path::PathBuf;

use creel_common::engine::backup::{BackupError, RestoreReport};
use creel_common::engine::sled::backup::{RestoreCall, restore};
use creel_common::time::{Clock, SystemClock};

use crate::commands::backup::{Bar, damage_text, explain, lost, offsets};
use crate::failure::said;
use crate::output::{BAD, Output, bytes, count, paint};
use crate::settings::Global;

/// Make a log of a backup, in an empty or a new directory
///
/// All of the backup is checked on the way. The new log has another id, so the ids of its deliveries
/// are others too, and it goes on far above the offsets that the old one can have given out since.
/// What was delivered after the backup is delivered again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory with the backup
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    /// Where the log is to be; best `log.path` of the configuration
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Of a damaged backup, restore what can be read; exit with 1, naming what cannot
    #[arg(long)]
    partial: bool,
    #[command(flatten)]
    output: Output,
}

/// Restores.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let bar = Bar::new();
    let restored = restore(&RestoreCall {
        backup: &args.backup,
        dir: &args.dir,
        dice: rand::random(),
        now: SystemClock::default().wall(),
        partial: args.partial,
        watch: &bar,
    });
    bar.clear();
    let report = restored.map_err(|error| match error {
        BackupError::Damaged(what) => anyhow::anyhow!(
            "the backup is damaged: {what}; `creel backup verify` names everything, --partial \
             restores what can be read; what is in {} is no log: delete it",
            args.dir.display()
        ),
        other => explain(other),
    })?;
    args.output
        .print(&report, |report| text(report, &global.config))?;
    match report.damage.is_empty() {
        true => Ok(()),
        false => Err(said()),
    }
}

fn text(report: &RestoreReport, config: &std::path::Path) -> String {
    let mut lines = vec![
        format!("log         {}, restored from {}", report.log, report.from),
        format!("in          {}", report.dir.display()),
        format!("as of       {}", report.at),
        offsets(report.first, report.end),
        format!(
            "deliveries  {} in {} volumes",
            count(report.deliveries),
            count(report.volumes)
        ),
        format!("read        {}", bytes(report.bytes)),
        format!(
            "goes on at  {}: above what the old log can have given out",
            report.next
        ),
    ];
    lines.extend(lost(&report.lost));
    let damage = report.damage.iter();
    lines.extend(damage.map(|d| paint(BAD, &format!("damaged     {}", damage_text(d)))));
    lines.push(format!(
        "\nwhat to do next:\n\
         1. see that the old log's receiver runs nowhere: both would take and deliver\n\
         2. point log.path in {} here, and `creel check`\n\
         3. `creel log verify` if you want to be sure; then start, and `creel routes list`\n\
         4. what was delivered after {} is delivered again, under new ids\n\
         5. have senders repeat what came in after it: it is not in the backup",
        config.display(),
        report.at
    ));
    lines.join("\n")
}
