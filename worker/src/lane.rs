//! A lane: one route's deliveries from one receiver, on their way to its destination.
//!
//! Leases queue here; batches of them are called as soon as the destination has
//! a free place and the worker a free slot.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use creel_common::attempt::Report;
use creel_common::ids::{DeliveryId, LogId};
use creel_common::log::{Leased, Settled, codec};
use creel_common::outcome::Outcome;
use creel_common::time::{Clock, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::call;
use crate::destinations::{Destination, Item};
use crate::hold::{Done, Held};
use crate::pipeline::Stages;
use crate::room::{Portion, Room};
use crate::slots::LaneSlots;
use crate::tally::Tally;

/// A destination that is open, and the places in it. Shared by all routes that lead there.
pub(crate) struct Opened {
    pub(crate) destination: Arc<dyn Destination>,
    pub(crate) places: Arc<Semaphore>,
}

/// What a stop tells: first to begin nothing more, then to wait no longer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    pub(crate) soon: CancellationToken,
    pub(crate) now: CancellationToken,
}

/// What leads from a lane's receiver to its destination.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) route: Arc<str>,
    pub(crate) timeout: Duration,
    pub(crate) opened: Arc<Opened>,
    pub(crate) stages: Stages,
    pub(crate) slots: LaneSlots,
    pub(crate) room: Arc<Room>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: Stop,
}

/// A lease that has just come.
pub(crate) struct Arrival {
    pub(crate) log: LogId,
    pub(crate) items: Vec<Leased>,
    pub(crate) held: Held,
    pub(crate) portion: Portion,
}

/// A part of a lease that is called at once.
struct Batch {
    log: LogId,
    items: Vec<Leased>,
    held: Held,
    portion: Portion,
}

impl Lane {
    /// Takes leases from `arrivals` until nobody sends any more.
    pub(crate) async fn run(self, mut arrivals: mpsc::Receiver<Arrival>) {
        while let Some(arrival) = arrivals.recv().await {
            for batch in cut(arrival, self.opened.destination.batch_max()) {
                self.start(batch).await;
            }
        }
    }

    /// Waits until the batch may be called and calls it beside the lane; gives it back untried
    /// when the worker stops first.
    async fn start(&self, batch: Batch) {
        let permits = tokio::select! {
            biased;
            () = self.stop.soon.cancelled() => None,
            () = batch.held.over.cancelled() => return,
            permits = self.permits() => Some(permits),
        };
        match permits {
            Some(permits) => {
                let lane = self.clone();
                self.tasks.spawn(async move {
                    lane.deliver(batch).await;
                    drop(permits);
                });
            }
            None => self.release(batch.log, &batch.items, &batch.held, batch.portion),
        }
    }

    /// First a place in the destination, which may take long, then a slot, so that nobody waits
    /// while holding a slot that others could use.
    async fn permits(&self) -> (OwnedSemaphorePermit, OwnedSemaphorePermit) {
        let place = Arc::clone(&self.opened.places)
            .acquire_owned()
            .await
            .expect("places are never closed");
        (place, self.slots.acquire().await)
    }

    async fn deliver(&self, batch: Batch) {
        let (log, held, portion) = (batch.log, batch.held, batch.portion);
        let (items, unreadable) = self.decode(log, &batch.items);
        let results = tokio::select! {
            biased;
            () = self.stop.now.cancelled() => None,
            results = self.attempt(items, &held) => Some(results),
        };
        let Some(results) = results else {
            return self.release(log, &batch.items, &held, portion);
        };
        let mut settled = unreadable;
        settled.reserve(results.len());
        for (item, result) in results {
            call::log(&item, &result);
            self.tally.attempted(&result.outcome);
            settled.push(Settled {
                offset: item.id.delivery.offset,
                outcome: result.outcome,
                report: result.report,
            });
        }
        held.report(Done { settled, portion });
    }

    /// The deliveries, and what to say of records that cannot be read: a newer worker may.
    fn decode(&self, log: LogId, leased: &[Leased]) -> (Vec<Item>, Vec<Settled>) {
        let mut items = Vec::with_capacity(leased.len());
        let mut unreadable = Vec::new();
        for one in leased {
            let id = DeliveryId {
                log,
                offset: one.offset,
            };
            match codec::decode(&one.record) {
                Ok(delivery) => items.push(Item {
                    id: id.into(),
                    route: Arc::clone(&self.route),
                    attempt: one.attempt,
                    generation: one.generation,
                    started_at: Timestamp::default(),
                    delivery,
                }),
                Err(error) => {
                    tracing::error!(delivery = %id, route = &*self.route, %error, "cannot read");
                    unreadable.push(self.unreadable(one.offset, error.to_string()));
                }
            }
        }
        (items, unreadable)
    }

    fn unreadable(&self, offset: u64, error: String) -> Settled {
        let outcome = Outcome::Retry { after: None };
        self.tally.attempted(&outcome);
        Settled {
            offset,
            outcome,
            report: Report {
                started_at: self.clock.wall(),
                error: Some(error),
                ..Report::default()
            },
        }
    }

    fn release(&self, log: LogId, items: &[Leased], held: &Held, portion: Portion) {
        let settled = items
            .iter()
            .map(|item| {
                let delivery = DeliveryId { log, offset: item.offset };
                tracing::debug!(%delivery, route = &*self.route, attempt = item.attempt, "released");
                self.tally.attempted(&Outcome::Released);
                released(item, self.clock.wall())
            })
            .collect();
        held.report(Done { settled, portion });
    }
}

/// What is said of a delivery that was not tried.
pub(crate) fn released(item: &Leased, now: Timestamp) -> Settled {
    Settled {
        offset: item.offset,
        outcome: Outcome::Released,
        report: Report {
            started_at: now,
            ..Report::default()
        },
    }
}

/// Cuts a lease into batches of at most `batch_max`, each with its portion of the room.
fn cut(arrival: Arrival, batch_max: usize) -> impl Iterator<Item = Batch> {
    let Arrival {
        log,
        items,
        held,
        mut portion,
    } = arrival;
    let mut left: VecDeque<Leased> = items.into();
    std::iter::from_fn(move || {
        let count = left.len().min(batch_max.max(1));
        if count == 0 {
            return None;
        }
        let items: Vec<Leased> = left.drain(..count).collect();
        let bytes = items.iter().map(|item| item.record.len()).sum();
        Some(Batch {
            log,
            portion: portion.split(items.len(), bytes),
            items,
            held: held.clone(),
        })
    })
}
