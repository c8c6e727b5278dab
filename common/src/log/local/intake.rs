//! Deliveries come in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use crossbeam_channel::TrySendError;
use tokio::sync::oneshot;

use super::LocalLog;
use crate::config::Config;
use crate::delivery::Delivery;
use crate::heavy::heavy;
use crate::ids::{DeliveryId, Offset};
use crate::log::block::Entry;
use crate::log::committer::{ASK_RUNS, Pending};
use crate::log::keys::{KeyMark, Verdict};
use crate::log::lane::Now;
use crate::log::{AppendError, Appended, Intake, codec};
use crate::time::Timestamp;

/// Window of a source that is not configured.
const WINDOW_DEFAULT: Duration = Duration::from_secs(72 * 3600);

/// For how long repeats of each source are recognised.
pub(super) struct SourceRules(HashMap<Arc<str>, Duration>);

impl SourceRules {
    pub(super) fn of(config: &Config) -> Self {
        let sources = config.sources.values();
        let rules = sources.map(|source| (Arc::from(source.name.as_str()), source.dedupe_window));
        Self(rules.collect())
    }

    /// The longest window of any.
    pub(super) fn window_max(&self) -> Duration {
        let windows = self.0.values().copied();
        windows.max().unwrap_or(WINDOW_DEFAULT)
    }

    fn rule(&self, source: &str) -> (Arc<str>, Duration) {
        match self.0.get_key_value(source) {
            Some((name, window)) => (name.clone(), *window),
            None => (Arc::from(source), WINDOW_DEFAULT),
        }
    }
}

impl LocalLog {
    fn entry(&self, new: &Delivery) -> Result<(Entry, Timestamp), AppendError> {
        let (name, window) = self.sources.read().rule(&new.envelope.source);
        let mark = |key: &crate::delivery::IdempotencyKey| {
            KeyMark::new(
                &new.envelope.source,
                new.envelope.event_type.as_deref(),
                &key.0,
                &new.body,
            )
        };
        let key = new
            .head
            .key
            .as_ref()
            .filter(|_| !window.is_zero())
            .map(mark);
        // heads are bounded by the listener far below what can be encoded
        let record = codec::encode(new).map_err(|e| AppendError::Busy(e.to_string()))?;
        let received_at = new.envelope.received_at;
        // asked of keys alone
        let since = key.map_or(Timestamp::default(), |_| {
            let now = Now {
                wall: received_at,
                ..self.clock.now()
            };
            now.window(window)
        });
        Ok((
            Entry {
                record,
                source: name,
                received_at,
                key,
            },
            since,
        ))
    }

    /// Asks the keys on disk; memory is asked by the committer.
    fn known(&self, entry: &Entry, since: Timestamp) -> (u64, Option<Offset>) {
        let (Some(runs), Some(mark)) = (&self.runs, entry.key) else {
            return (0, None);
        };
        let asked = runs.written();
        match runs.judge(mark, since) {
            Verdict::Repeat(offset) => (asked, Some(offset)),
            // another body under this key may be in memory: the committer looks at both together
            Verdict::Conflict => (ASK_RUNS, None),
            Verdict::New => (asked, None),
        }
    }
}

#[async_trait]
impl Intake for LocalLog {
    async fn append(&self, new: Delivery) -> Result<Appended, AppendError> {
        self.gate.pass_source(&new.envelope.source)?;
        let (entry, since) = heavy(new.body.len(), || self.entry(&new))?;
        let (runs_asked, known) = self.known(&entry, since);
        if let Some(offset) = known {
            self.observer.duplicate(&entry.source);
            return Ok(Appended {
                id: DeliveryId {
                    log: self.id(),
                    offset,
                },
                duplicate: true,
            });
        }
        let (reply, answer) = oneshot::channel();
        let pending = Pending {
            entry,
            since,
            runs_asked,
            reply,
        };
        let sent = match &*self.intake.lock() {
            Some(intake) => intake.try_send(pending),
            None => return Err(AppendError::Stopped),
        };
        match sent {
            Ok(()) => answer.await.unwrap_or(Err(AppendError::Stopped)),
            Err(TrySendError::Full(_)) => Err(AppendError::Busy(
                "too many deliveries wait for the disk".to_owned(),
            )),
            Err(TrySendError::Disconnected(_)) => Err(AppendError::Stopped),
        }
    }
}
