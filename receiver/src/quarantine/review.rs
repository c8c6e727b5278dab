//! Requests in quarantine are judged again, and what is genuine goes into the log.
//!
//! A call works in steps: read in order of arrival, judge each as of its arrival, note what is to be
//! appended, append in that order with the time it came, remove it here, drop the note. One call at a
//! time; it goes on when its caller hangs up.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use creel_common::delivery::{Delivery, IdempotencyKey};
use creel_common::ids::{DeliveryId, QuarantineId};
use creel_common::log::wire::{Chosen, Reverified};
use creel_common::log::{Act, Actor, AppendError, Appended, OperateError};
use creel_common::time::Timestamp;

use super::Quarantine;
use super::intent::{Entry, Intent};
use super::shown::{Judged, Now};
use super::store::Place;
use super::walk::{Found, Walk};
use crate::facts;
use crate::ingest::Ingest;
use crate::private::Api;

/// Most requests looked at by one call.
pub const CALL_ITEMS_MAX: u32 = 5000;
/// A call begins no step after this long: its caller waits for an answer.
const CALL_TIME: Duration = Duration::from_secs(20);
/// Most requests in one step.
const STEP_ITEMS: usize = 512;
/// Most bytes of bodies in one step, but for its last.
const STEP_BYTES: usize = 16 << 20;

/// What is asked for.
pub struct Review {
    /// Which ones.
    pub which: Chosen,
    /// From this id on.
    pub from: Option<QuarantineId>,
    /// At most so many; 0 is all that a call may.
    pub limit: u32,
    /// Take nothing in.
    pub dry_run: bool,
}

/// Judged, and to be appended.
type Ready = (Place, QuarantineId, Delivery);

/// A handshake whose sender wants a URL called.
struct Wish {
    place: Place,
    source: String,
    url: String,
    received_at: Timestamp,
}

/// What a step found.
struct Step {
    walk: Walk,
    ready: Vec<Ready>,
    /// Calls that genuine handshakes wish.
    calls: Vec<Wish>,
    refused: Vec<&'static str>,
    last: Option<QuarantineId>,
    /// Nothing is left.
    ended: bool,
}

impl Step {
    fn looked_at(&self) -> usize {
        self.ready.len() + self.calls.len() + self.refused.len()
    }
}

/// How an append ended.
struct Taken {
    appended: Vec<DeliveryId>,
    duplicates: u64,
    stopped: Option<AppendError>,
}

fn failed(error: &io::Error) -> OperateError {
    OperateError::Unavailable(format!("the quarantine's disk: {error}"))
}

/// Runs what blocks beside the async threads.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, OperateError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|error| failed(&error))
}

impl Quarantine {
    /// The only one that changes something, with what an earlier one left half done finished.
    async fn turn(
        self: &Arc<Self>,
        api: &Api,
    ) -> Result<tokio::sync::MutexGuard<'_, ()>, OperateError> {
        if !self.is_read().await {
            let what = "the quarantine is still being read; try again";
            return Err(OperateError::Unavailable(what.to_owned()));
        }
        let turn = self.changes.lock().await;
        self.finish(api).await?;
        Ok(turn)
    }

    /// Finishes what a crash cut short, if anything.
    pub async fn recover(self: Arc<Self>, api: Api) {
        if let Err(error) = self.turn(&api).await {
            tracing::warn!(%error, "what was being taken out of quarantine is not yet finished");
        }
    }

    async fn finish(self: &Arc<Self>, api: &Api) -> Result<(), OperateError> {
        let dir = self.dir.clone();
        let Some(intent) = blocking(move || Intent::load(&dir)).await? else {
            return Ok(());
        };
        let end = facts::read(&api.facts).await.next;
        let done = intent.appended(api.log_id, end, &*api.operate).await?;
        let count = done.len() as u64;
        if !done.is_empty() {
            let which = Chosen {
                ids: done,
                ..Chosen::default()
            };
            let own = self.clone();
            blocking(move || {
                let (mut walk, mut places) = (own.walk(&which, None)?, Vec::new());
                while let Some((place, _)) = walk.next()? {
                    places.push(place);
                }
                own.remove(&places)
            })
            .await?;
            let what = "finished after a crash".to_owned();
            self.record(
                api,
                "quarantine reverify",
                what,
                count,
                Actor {
                    who: "receiver".into(),
                    why: None,
                },
            )
            .await?;
        }
        tracing::info!(
            count,
            "deliveries that were being taken out of quarantine are in the log"
        );
        let own = self.clone();
        blocking(move || Intent::clear(&own.dir)).await
    }

    async fn record(
        &self,
        api: &Api,
        action: &'static str,
        subject: String,
        count: u64,
        actor: Actor,
    ) -> Result<(), OperateError> {
        let act = Act {
            action,
            subject,
            count,
        };
        api.record.record(act, actor).await
    }

    /// Judges again, and takes in what is genuine.
    ///
    /// # Errors
    /// The quarantine's disk, or the log's: what was not taken is still here.
    pub async fn reverify(
        self: Arc<Self>,
        api: Api,
        review: Review,
        actor: Actor,
    ) -> Result<Reverified, OperateError> {
        let _turn = self.turn(&api).await?;
        let clock = api.ingest.clock.clone();
        let began = clock.mono();
        let mut left = match review.limit {
            0 => CALL_ITEMS_MAX,
            limit => limit.min(CALL_ITEMS_MAX),
        } as usize;
        let mut result = Reverified::default();
        let (own, which, from) = (self.clone(), review.which.clone(), review.from);
        let mut walk = blocking(move || own.walk(&which, from)).await?;
        loop {
            let (ingest, most) = (api.ingest.clone(), left.min(STEP_ITEMS));
            let step = blocking(move || look(walk, &ingest, most)).await?;
            let looked_at = step.looked_at();
            left -= looked_at;
            result.looked_at += looked_at as u64;
            for word in step.refused {
                *result.refused.entry(word.to_owned()).or_default() += 1;
            }
            result.next = step.last.map(|last| QuarantineId(last.0 + 1));
            match review.dry_run {
                true => result.confirmed += step.calls.len() as u64,
                false => result.confirmed += self.confirm(&api, step.calls).await?,
            }
            if review.dry_run {
                result.appended += step.ready.len() as u64;
            } else if !step.ready.is_empty() {
                let first = step.ready.first().map(|(_, id, _)| *id);
                let taken = self.take_in(&api, step.ready).await?;
                add(&mut result, &taken);
                if let Some(stopped) = taken.stopped {
                    result.next = first;
                    result.stopped = Some(stopped.to_string());
                    break;
                }
            }
            if step.ended {
                result.next = None;
            }
            let late = clock.mono().saturating_sub(began) > CALL_TIME;
            if step.ended || left == 0 || late {
                break;
            }
            walk = step.walk;
        }
        if result.appended + result.duplicates + result.confirmed > 0 && !review.dry_run {
            let count = result.appended;
            let subject = review.which.to_string();
            self.record(&api, "quarantine reverify", subject, count, actor)
                .await?;
        }
        Ok(result)
    }

    /// Keeps the calls that are wished, and removes the handshakes then. Answers how many.
    async fn confirm(self: &Arc<Self>, api: &Api, wishes: Vec<Wish>) -> Result<u64, OperateError> {
        let mut gone = Vec::new();
        for wish in wishes {
            let kept = api
                .ingest
                .keys
                .calls
                .keep(&wish.source, wish.url, wish.received_at);
            kept.await.map_err(|error| {
                OperateError::Unavailable(format!("a call cannot be kept: {error}"))
            })?;
            gone.push(wish.place);
        }
        if gone.is_empty() {
            return Ok(0);
        }
        let own = self.clone();
        blocking(move || own.remove(&gone)).await
    }

    /// Takes one in although nothing vouches for it. Recorded first: none gets in unseen.
    ///
    /// # Errors
    /// No such request, no such source any more, or a disk's.
    pub async fn promote(
        self: Arc<Self>,
        api: Api,
        id: QuarantineId,
        actor: Actor,
    ) -> Result<DeliveryId, OperateError> {
        let _turn = self.turn(&api).await?;
        let (place, item) = self.find(id).await?;
        let delivery = Judged::new(&api.ingest, &item).unverified();
        let mut delivery = delivery.ok_or_else(|| {
            let source = &item.head.source;
            OperateError::Invalid(format!("source `{source}` is no longer configured"))
        })?;
        // what marks it in the log for ever, and is no sender's key
        delivery.head.key = Some(IdempotencyKey(format!("promoted:{id}")));
        let subject = format!("{id} of {}", item.head.source);
        self.record(&api, "quarantine promote", subject, 1, actor)
            .await?;
        let taken = self.take_in(&api, vec![(place, id, delivery)]).await?;
        match (taken.appended.first(), taken.stopped) {
            (Some(delivery), _) => Ok(*delivery),
            (None, Some(error)) => Err(OperateError::Unavailable(error.to_string())),
            (None, None) => Err(OperateError::Invalid(format!("{id} was promoted already"))),
        }
    }

    /// Drops some for good. Answers how many.
    ///
    /// # Errors
    /// The quarantine's disk, or the log's when it is recorded.
    pub async fn discard(
        self: Arc<Self>,
        api: Api,
        which: Chosen,
        dry_run: bool,
        actor: Actor,
    ) -> Result<u64, OperateError> {
        let _turn = self.turn(&api).await?;
        let (own, chosen) = (self.clone(), which.clone());
        let count = blocking(move || {
            let mut walk = own.walk(&chosen, None)?;
            let (mut count, mut places) = (0, Vec::new());
            while let Some((place, _)) = walk.next()? {
                count += 1;
                places.push(place);
                if places.len() == STEP_ITEMS && !dry_run {
                    own.remove(&std::mem::take(&mut places))?;
                }
                places.truncate(STEP_ITEMS);
            }
            if !dry_run {
                own.remove(&places)?;
            }
            Ok(count)
        })
        .await?;
        if count > 0 && !dry_run {
            self.record(&api, "quarantine discard", which.to_string(), count, actor)
                .await?;
        }
        Ok(count)
    }

    /// One request.
    ///
    /// # Errors
    /// [`OperateError::NotFound`], or the disk's.
    pub async fn find(self: &Arc<Self>, id: QuarantineId) -> Result<Found, OperateError> {
        let which = Chosen {
            ids: vec![id],
            ..Chosen::default()
        };
        let own = self.clone();
        let found = blocking(move || own.walk(&which, None)?.next()).await?;
        found.ok_or_else(|| OperateError::NotFound(format!("no request {id} in quarantine")))
    }

    /// Appends what is ready, in order, and removes what is in the log then.
    async fn take_in(
        self: &Arc<Self>,
        api: &Api,
        ready: Vec<Ready>,
    ) -> Result<Taken, OperateError> {
        let entries = ready
            .iter()
            .map(|(_, id, delivery)| Entry::new(*id, delivery));
        let intent = Intent {
            log: api.log_id,
            from: facts::read(&api.facts).await.next,
            entries: entries.collect(),
        };
        let dir = self.dir.clone();
        blocking(move || intent.save(&dir)).await?;
        let (places, deliveries): (Vec<_>, Vec<_>) = ready
            .into_iter()
            .map(|(place, _, delivery)| (place, delivery))
            .unzip();
        let answers = append(&api.ingest, deliveries).await;
        let mut taken = Taken {
            appended: Vec::new(),
            duplicates: 0,
            stopped: None,
        };
        let mut gone = Vec::new();
        for (place, answer) in places.into_iter().zip(answers) {
            match answer {
                // what had begun may be durable or not: the note stays, and the next turn looks
                Err(AppendError::Stopped) => {
                    return Err(OperateError::Unavailable(AppendError::Stopped.to_string()));
                }
                Err(error) => taken.stopped = taken.stopped.or(Some(error)),
                Ok(Appended { id, duplicate }) => {
                    gone.push(place);
                    match duplicate {
                        true => taken.duplicates += 1,
                        false => taken.appended.push(id),
                    }
                }
            }
        }
        let own = self.clone();
        blocking(move || {
            own.remove(&gone)?;
            Intent::clear(&own.dir)
        })
        .await?;
        Ok(taken)
    }
}

fn add(result: &mut Reverified, taken: &Taken) {
    result.appended += taken.appended.len() as u64;
    result.duplicates += taken.duplicates;
    if let (Some(first), Some(last)) = (taken.appended.first(), taken.appended.last()) {
        let first = result.deliveries.map_or(*first, |(first, _)| first);
        result.deliveries = Some((first, *last));
    }
}

/// Reads and judges at most so many. Blocks.
fn look(mut walk: Walk, ingest: &Ingest, most: usize) -> io::Result<Step> {
    let (mut ready, mut calls, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bytes, mut last, mut ended) = (0, None, false);
    while ready.len() + calls.len() + refused.len() < most && bytes < STEP_BYTES {
        let Some((place, item)) = walk.next()? else {
            ended = true;
            break;
        };
        last = Some(item.id);
        bytes += item.body.len();
        let now = Judged::new(ingest, &item).now();
        match now {
            Now::Genuine(delivery) => ready.push((place, item.id, *delivery)),
            Now::Call(url) => calls.push(Wish {
                place,
                source: item.head.source,
                url,
                received_at: item.received_at,
            }),
            Now::Refused(word) => refused.push(word),
        }
    }
    Ok(Step {
        walk,
        ready,
        calls,
        refused,
        last,
        ended,
    })
}

/// Appends all of them in this order: each is begun before the next, and all wait together.
async fn append(ingest: &Ingest, deliveries: Vec<Delivery>) -> Vec<Result<Appended, AppendError>> {
    let mut begun: Vec<_> = deliveries
        .into_iter()
        .map(|delivery| (ingest.log.append(delivery), None))
        .collect();
    for (append, answer) in &mut begun {
        *answer = poll_fn(|cx| match Pin::as_mut(append).poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => Poll::Ready(None),
        })
        .await;
    }
    let mut answers = Vec::with_capacity(begun.len());
    for (append, answer) in begun {
        answers.push(match answer {
            Some(answer) => answer,
            None => append.await,
        });
    }
    answers
}
