//! How often the secrets of sources have verified: kept beside the cursors, off the way of every answer.

use std::collections::BTreeMap;

use crate::engine::EngineError;
use crate::log::desk::Desk;
use crate::log::state::{self, UseRecord};
use crate::log::{OperateError, local::LocalLog};
use crate::time::Timestamp;

/// How often a secret of a source has verified a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretUse {
    /// The source.
    pub source: String,
    /// The secret's id in the configuration.
    pub secret: String,
    /// How often.
    pub count: u64,
    /// When last; `None`: never.
    pub last: Option<Timestamp>,
    /// It is counted since.
    pub since: Timestamp,
}

impl From<(String, String, UseRecord)> for SecretUse {
    fn from((source, secret, record): (String, String, UseRecord)) -> Self {
        Self {
            source,
            secret,
            count: record.count,
            last: record.last,
            since: record.since,
        }
    }
}

impl LocalLog {
    /// What was kept last. Blocks; for a start.
    ///
    /// # Errors
    /// The engine's.
    pub fn secret_uses(&self) -> Result<Vec<SecretUse>, EngineError> {
        let uses = state::uses(self.engine())?;
        Ok(uses.into_iter().map(SecretUse::from).collect())
    }

    /// Keeps these and forgets all others. Durable when it returns.
    ///
    /// # Errors
    /// The log has stopped.
    pub async fn keep_secret_uses(&self, uses: Vec<SecretUse>) -> Result<(), OperateError> {
        self.change(move |desk| desk.keep_secret_uses(&uses)).await
    }
}

impl Desk {
    fn keep_secret_uses(&mut self, uses: &[SecretUse]) -> Result<(), OperateError> {
        let known = state::uses(&*self.engine);
        let known = known.map_err(|error| OperateError::Unavailable(error.to_string()))?;
        let mut known: BTreeMap<_, _> = known
            .into_iter()
            .map(|(source, secret, record)| ((source, secret), record))
            .collect();
        for one in uses {
            let record = UseRecord {
                count: one.count,
                last: one.last,
                since: one.since,
            };
            let before = known.remove(&(one.source.clone(), one.secret.clone()));
            if before != Some(record) {
                let key = state::use_key(&one.source, &one.secret);
                self.effects.batch.put(key, state::encoded(&record));
            }
        }
        for (source, secret) in known.into_keys() {
            self.effects.batch.remove(state::use_key(&source, &secret));
        }
        Ok(())
    }
}
