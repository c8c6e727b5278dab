//! A request of a source is accepted, or answered as a handshake, or refused.

use std::sync::Arc;

use creel_common::time::Timestamp;

use crate::ingest::{Ingest, Stop, judge};
use crate::keys::{LearnError, SecretOf};
use crate::reply::{self, Refused};
use crate::sources::Source;
use crate::verify::{self, Accepted, Effect, Reason, Verdict};

impl Ingest {
    /// What its scheme makes of it.
    pub(crate) async fn accept<'s>(
        &self,
        source: &'s Arc<Source>,
        request: &verify::Request<'_>,
        now: Timestamp,
    ) -> Result<Accepted, Stop<'s>> {
        let refused = |why| Stop::refused(Some(source), why, true);
        match judge(&source.verifier, request, now) {
            Verdict::Verified(accepted) => {
                source.used(accepted.key_index, now);
                Ok(accepted)
            }
            Verdict::Handshake(mut given) => {
                if let Some(effect) = given.effect.take() {
                    self.carry_out(source, effect, now).await.map_err(refused)?;
                }
                tracing::info!(source = %source.name, status = given.status, "handshake answered");
                Err(Stop::Handshake(Box::new(reply::handshake(given))))
            }
            Verdict::Refused(Reason::KeyPending) => Err(refused(Refused::KeyPending)),
            Verdict::Refused(reason) => Err(refused(not_verified(source, reason))),
        }
    }

    /// What a handshake asks for besides its answer: it is on disk before that is given.
    async fn carry_out(
        &self,
        source: &Source,
        effect: Effect,
        now: Timestamp,
    ) -> Result<(), Refused> {
        match effect {
            Effect::StoreSecret(secret) => {
                let named = SecretOf {
                    source: source.name.clone(),
                    secret,
                    at: now,
                };
                let learned = self.keys.learn(&self.sources, named).await;
                learned.map_err(|error| match error {
                    LearnError::Known => not_verified(source, Reason::SecretKnown),
                    LearnError::Unfit(_) => not_verified(source, Reason::BadEncoding),
                    LearnError::Disk(_) => Refused::Effect(error.to_string()),
                })
            }
            Effect::Fetch(url) => {
                let kept = self.keys.calls.keep(&source.name, url, now).await;
                kept.map_err(|error| Refused::Effect(format!("its call cannot be kept: {error}")))
            }
        }
    }
}

fn not_verified(source: &Source, reason: Reason) -> Refused {
    let status = source.verifier.pack().refusal_status(reason);
    Refused::NotVerified { reason, status }
}
