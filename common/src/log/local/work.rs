//! Workers lease and settle.

use std::time::Duration;

use async_trait::async_trait;
use crossbeam_channel::TrySendError;
use tokio::sync::oneshot;

use super::LocalLog;
use crate::ids::LogId;
use crate::log::desk::Command;
use crate::log::{Lease, LeaseRequest, Settled, Work, WorkError};

impl LocalLog {
    pub(super) fn send(&self, command: Command) -> Result<(), WorkError> {
        self.desk.try_send(command).map_err(|error| {
            let why = match error {
                TrySendError::Full(_) => "too much is being asked of the log",
                TrySendError::Disconnected(_) => "the log has stopped",
            };
            WorkError::Unavailable(why.to_owned())
        })
    }
}

#[async_trait]
impl Work for LocalLog {
    async fn log_id(&self) -> Result<LogId, WorkError> {
        Ok(self.id())
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, WorkError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Lease(request, reply))?;
        answer
            .await
            .map_err(|_| WorkError::Unavailable("the log has stopped".to_owned()))?
    }

    async fn extend(&self, lease: u64) -> Result<Duration, WorkError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Extend(lease, reply))?;
        answer
            .await
            .map_err(|_| WorkError::Unavailable("the log has stopped".to_owned()))?
    }

    async fn settle(&self, lease: u64, settled: Vec<Settled>) -> Result<(), WorkError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Settle(lease, settled, reply))?;
        answer
            .await
            .map_err(|_| WorkError::Unavailable("the log has stopped".to_owned()))?
    }
}
