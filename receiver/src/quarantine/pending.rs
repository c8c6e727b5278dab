//! What had to wait for its sender's key is looked at again when a key has come.
//!
//! ```text
//!  key is missing ──► 503, and a request in quarantine ──► the key comes ──► reverify
//! ```
//!
//! The sender comes again, too, and mostly before this: then the log knows the delivery by its key.

use std::sync::Arc;
use std::time::Duration;

use creel_common::log::wire::{Chosen, Reverified};
use creel_common::log::{Actor, OperateError};

use super::Quarantine;
use super::review::Review;
use crate::private::Api;
use crate::verify::Reason;

/// What was offered at the same moment is in the files after so many turns of the thread: one that is
/// under way, its own, and the one that puts it in order.
const TURNS: u64 = 3;
/// What is still there is looked at again after this long, without any key having come: first, when the
/// log or the disk takes nothing, and at last, when nobody has noted that its key is wanted.
const AGAIN: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(600));

impl Quarantine {
    /// Takes in what waits for keys, now and whenever one has come, until the stop.
    pub async fn follow_keys(self: Arc<Self>, api: Api) {
        let ring = api.ingest.keys.ring.clone();
        let mut pause = AGAIN.0;
        loop {
            let written = api.stop.run_until_cancelled(self.written()).await;
            if written.is_none() {
                return;
            }
            let all = self.take_in_pending(&api).await;
            let next = async {
                match all {
                    true => ring.arrival().await,
                    false => match tokio::time::timeout(pause, ring.arrival()).await {
                        Ok(()) => pause = AGAIN.0,
                        Err(_) => pause = AGAIN.1.min(pause * 2),
                    },
                }
            };
            if api.stop.run_until_cancelled(next).await.is_none() {
                return;
            }
        }
    }

    /// Waits until what has been offered before is in the files.
    async fn written(&self) {
        let mut turns = self.shared.turns.subscribe();
        let until = *turns.borrow() + TURNS;
        // it ends with the process
        let _ = turns.wait_for(|turn| *turn >= until).await;
    }

    /// Whether nothing waits any more.
    async fn take_in_pending(self: &Arc<Self>, api: &Api) -> bool {
        let (mut from, mut all) = (None, true);
        loop {
            let call = self.one_call(api, from).await;
            let call = call.and_then(|done| match done.stopped {
                Some(why) => Err(OperateError::Unavailable(why)),
                None => Ok(done),
            });
            let done = match call {
                Ok(done) => done,
                Err(error) => {
                    tracing::warn!(%error, "what waited for a key is not yet taken in");
                    return false;
                }
            };
            all &= !done.refused.contains_key(Reason::KeyPending.name());
            if done.next.is_none() {
                return all;
            }
            from = done.next;
        }
    }

    async fn one_call(
        self: &Arc<Self>,
        api: &Api,
        from: Option<creel_common::ids::QuarantineId>,
    ) -> Result<Reverified, OperateError> {
        let which = Chosen {
            reason: Some(Reason::KeyPending.name().to_owned()),
            ..Chosen::default()
        };
        let review = Review {
            which,
            from,
            limit: 0,
            dry_run: false,
        };
        let actor = Actor {
            who: "receiver".into(),
            why: Some("the sender's key has come".into()),
        };
        let (own, api) = (self.clone(), api.clone());
        // a step that has begun goes on to its end
        let call = tokio::spawn(own.reverify(api, review, actor));
        let ended = call.await;
        ended.unwrap_or_else(|error| Err(OperateError::Unavailable(error.to_string())))
    }
}
