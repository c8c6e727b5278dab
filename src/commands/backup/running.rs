//! A backup by the receiver that runs, followed until it is complete.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use creel_common::engine::backup::BackupReport;
use creel_common::log::remote::RemoteLog;
use creel_common::log::{BackupOrder, BackupStatus, Operate, OperateError};

use super::Bar;
use crate::commands::connect::Connect;
use crate::commands::{act::actor, block_on};
use crate::failure::usage;
use crate::settings::Global;

/// How often it is asked how it goes.
const ASK: Duration = Duration::from_millis(200);
/// So many questions in a row may go unanswered.
const UNANSWERED_MAX: u32 = 50;

/// What came of asking.
pub enum Answer {
    /// It is complete.
    Taken(Box<BackupReport>),
    /// No receiver runs here, as far as can be seen, and why.
    NoReceiver(anyhow::Error),
}

/// Asks the receiver for a backup and waits until it is complete.
///
/// # Errors
/// The receiver's, when there is one or one was named.
pub fn ask(global: &Global, connect: &Connect, dir: &Path, verify: bool) -> anyhow::Result<Answer> {
    let named = connect.receiver.is_some();
    let log = match connect.open(global) {
        Ok(log) => log,
        Err(error) if named => return Err(error),
        // neither addresses nor a token: nothing was ever started here
        Err(error) => return Ok(Answer::NoReceiver(error)),
    };
    let dir = dir.to_str().context("the directory's name is not UTF-8")?;
    let order = BackupOrder {
        dir: dir.to_owned(),
        verify,
    };
    block_on(async {
        match log.backup(order, actor(None)).await {
            Ok(begun) => Ok(Answer::Taken(Box::new(follow(&log, begun).await?))),
            Err(error @ OperateError::Unavailable(_)) if !named => {
                Ok(Answer::NoReceiver(error.into()))
            }
            Err(error @ OperateError::Invalid(_)) => Err(usage(error.to_string())),
            Err(error) => Err(error.into()),
        }
    })
}

async fn follow(log: &RemoteLog, begun: BackupStatus) -> anyhow::Result<BackupReport> {
    let bar = Bar::new();
    let mut unanswered = 0;
    let mut status = begun.clone();
    while status.running {
        bar.show(status.stage, status.done, status.total);
        tokio::time::sleep(ASK).await;
        match log.backup_status().await {
            Ok(now) => (status, unanswered) = (now, 0),
            Err(error) => {
                unanswered += 1;
                if unanswered > UNANSWERED_MAX {
                    return Err(error).context("the receiver does not say how the backup goes");
                }
            }
        }
        if status.order != begun.order {
            bail!("the receiver was started again meanwhile; the backup is not complete");
        }
    }
    bar.clear();
    match (status.report, status.error) {
        (Some(report), _) => Ok(report),
        (None, Some(error)) => bail!("the backup failed: {error}"),
        (None, None) => bail!("the backup broke off"),
    }
}
