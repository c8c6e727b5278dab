//! Backups of the log while it runs: one at a time, in a thread of their own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::threads::blocking;
use crate::engine::backup::{BackupCall, BackupError, BackupReport, Cancel, Stage, Watch};
use crate::engine::{self, Engine};
use crate::log::block::Block;
use crate::log::{Actor, BackupOrder, BackupStatus, OperateError};
use crate::time::Timestamp;

/// Runs backups.
#[derive(Default)]
pub(super) struct Backups {
    status: Arc<Mutex<BackupStatus>>,
    cancel: Cancel,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What a backup needs besides its order.
pub(super) struct Around {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) at: Timestamp,
    /// Bytes that the log needs on its own disk.
    pub(super) keep_free: u64,
}

/// The first that is heard of an order: its directory is fit, or it is not.
type Heard = oneshot::Sender<Result<(), BackupError>>;

struct Following {
    status: Arc<Mutex<BackupStatus>>,
    cancel: Cancel,
    heard: Mutex<Option<Heard>>,
}

impl Watch for Following {
    fn begun(&self) {
        if let Some(heard) = self.heard.lock().take() {
            drop(heard.send(Ok(())));
        }
    }

    fn went(&self, stage: Stage, done: u64, total: u64) {
        let mut status = self.status.lock();
        (status.stage, status.done, status.total) = (stage, done, total);
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    fn check(&self, block: &engine::Block) -> Result<(), String> {
        Block::open(block).map(drop).map_err(|e| e.to_string())
    }
}

impl Backups {
    /// How the last one goes, or went.
    pub(super) fn status(&self) -> BackupStatus {
        self.status.lock().clone()
    }

    /// Begins one; answers once its directory was found to be fit.
    pub(super) async fn begin(
        &self,
        around: Around,
        order: BackupOrder,
        actor: Actor,
    ) -> Result<BackupStatus, OperateError> {
        self.take_turn(&order, around.at)?;
        tracing::info!(
            dir = order.dir,
            who = actor.who,
            why = actor.why,
            "a backup begins"
        );
        let (heard, first) = oneshot::channel();
        let following = Following {
            status: self.status.clone(),
            cancel: self.cancel.clone(),
            heard: Mutex::new(Some(heard)),
        };
        let thread = std::thread::Builder::new().name("creel-backup".to_owned());
        match thread.spawn(move || run(&following, &around, &order)) {
            Ok(thread) => drop(self.thread.lock().replace(thread)),
            Err(error) => {
                let error = BackupError::Failed(format!("cannot start a thread: {error}"));
                end(&self.status, Err(&error));
                return Err(refused(error));
            }
        }
        match first.await {
            Ok(first) => first.map_err(refused)?,
            Err(_) => return Err(OperateError::Unavailable("the backup broke off".to_owned())),
        }
        Ok(self.status())
    }

    fn take_turn(&self, order: &BackupOrder, at: Timestamp) -> Result<(), OperateError> {
        let mut status = self.status.lock();
        if status.running {
            let dir = status.dir.as_deref().unwrap_or_default();
            return Err(OperateError::Busy(format!(
                "a backup to {dir} is under way; there is one at a time"
            )));
        }
        *status = BackupStatus {
            order: status.order + 1,
            running: true,
            dir: Some(order.dir.clone()),
            ordered_at: Some(at),
            ..BackupStatus::default()
        };
        Ok(())
    }

    /// Breaks off what is under way and waits for its thread.
    pub(super) async fn stop(&self) {
        self.cancel.cancel();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // a panic of it has been told
            blocking(move || drop(thread.join())).await;
        }
    }
}

fn run(following: &Following, around: &Around, order: &BackupOrder) {
    let dir = PathBuf::from(&order.dir);
    let call = BackupCall {
        dir: &dir,
        at: around.at,
        keep_free: around.keep_free,
        verify: order.verify,
        watch: following,
    };
    let done = catch_unwind(AssertUnwindSafe(|| around.engine.backup(&call)));
    let done = done.unwrap_or_else(|_| Err(BackupError::Failed("it panicked".to_owned())));
    end(&following.status, done.as_ref());
    let heard = following.heard.lock().take();
    match done {
        Ok(report) => told(&report),
        // whoever asked is told; later only the log can tell
        Err(error) if heard.is_none() => {
            tracing::error!(dir = order.dir, %error, "a backup failed");
        }
        Err(error) => {
            tracing::warn!(dir = order.dir, %error, "a backup was refused");
            drop(heard.map(|heard| heard.send(Err(error))));
        }
    }
}

fn told(report: &BackupReport) {
    let damaged = report.verified.as_ref().map_or(0, |v| v.damage.len());
    tracing::info!(
        number = report.number,
        next = report.next,
        files_written = report.files_written,
        bytes_written = report.bytes_written,
        damaged,
        "a backup is complete"
    );
}

fn end(status: &Mutex<BackupStatus>, done: Result<&BackupReport, &BackupError>) {
    let mut status = status.lock();
    status.running = false;
    match done {
        Ok(report) => status.report = Some(report.clone()),
        Err(error) => status.error = Some(error.to_string()),
    }
}

fn refused(error: BackupError) -> OperateError {
    let text = error.to_string();
    match error {
        BackupError::Unsupported(_) | BackupError::Unfit(_) | BackupError::Damaged(_) => {
            OperateError::Invalid(text)
        }
        BackupError::Busy(_) => OperateError::Busy(text),
        BackupError::Cancelled | BackupError::Failed(_) => OperateError::Unavailable(text),
    }
}
