//! Sending the items of deliveries, as many at once as the destination takes.

use std::time::Duration;

use creel_common::heavy::heavy;
use creel_common::time::Clock;
use tokio_util::sync::CancellationToken;

use super::Splitter;
use super::cut::{Cut, Piece};
use super::progress::{Known, key};
use super::run::Run;
use crate::call;
use crate::destinations::{Attempted, Destination, Item, Part};

/// How a destination is called.
pub(crate) struct Call<'a> {
    pub(crate) destination: &'a dyn Destination,
    /// One call may take this long.
    pub(crate) timeout: Duration,
    pub(crate) clock: &'a dyn Clock,
    /// The lease has ended: nothing more of it should be begun.
    pub(crate) over: &'a CancellationToken,
}

/// Items that are called together, with the place of each one's delivery.
#[derive(Default)]
struct Together {
    items: Vec<Item>,
    of: Vec<usize>,
}

impl Splitter {
    /// Sends the items of each delivery in order. Answers what came of each delivery.
    ///
    /// Items of several deliveries share a call where the destination takes several at once. No more
    /// than one call's items are made ready at a time.
    pub(crate) async fn send(&self, deliveries: &[Item], call: &Call<'_>) -> Vec<Attempted> {
        let mut runs = Vec::with_capacity(deliveries.len());
        let mut together = Together::default();
        for (at, delivery) in deliveries.iter().enumerate() {
            let body_bytes = delivery.delivery.body.len();
            match heavy(body_bytes, || self.cutter.cut(&delivery.delivery)) {
                Err(why) => runs.push(Run::ended(Attempted::reject(why), call.clock)),
                Ok(Cut::Whole) => {
                    runs.push(Run::of_whole(call.clock));
                    if self
                        .cutter
                        .wants(delivery.delivery.envelope.event_type.as_deref())
                    {
                        together.add(at, delivery.clone(), &mut runs, call).await;
                    }
                }
                Ok(Cut::Items(pieces)) => {
                    let of = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
                    let known = self.progress.lock().take(&key(delivery));
                    runs.push(Run::of_items(of, known, call.clock));
                    let of = (at, delivery);
                    self.queue(of, pieces, &mut together, &mut runs, call).await;
                }
            }
        }
        together.send(&mut runs, call).await;
        let ended = runs.into_iter().zip(deliveries);
        ended
            .map(|(run, delivery)| self.end(run, delivery, call))
            .collect()
    }

    async fn queue(
        &self,
        (at, delivery): (usize, &Item),
        pieces: Vec<Piece>,
        together: &mut Together,
        runs: &mut [Run],
        call: &Call<'_>,
    ) {
        let headers = self.cutter.headers(&delivery.delivery.head.headers);
        let of = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        for (number, piece) in (1..=of).zip(pieces) {
            let wanted = self.cutter.wants(piece.event_type(&delivery.delivery));
            if !wanted || runs[at].passes_over(number) {
                continue;
            }
            let item = piece.into_item(delivery, Part { number, of }, &headers);
            together.add(at, item, runs, call).await;
        }
    }

    fn end(&self, run: Run, delivery: &Item, call: &Call<'_>) -> Attempted {
        let (result, known): (_, Option<Known>) = run.end(call.clock);
        if let Some(known) = known {
            self.progress.lock().note(key(delivery), known);
        }
        result
    }
}

impl Together {
    /// Adds one, and calls when there are as many as the destination takes.
    async fn add(&mut self, at: usize, item: Item, runs: &mut [Run], call: &Call<'_>) {
        self.items.push(item);
        self.of.push(at);
        if self.items.len() >= call.destination.batch_max().max(1) {
            self.send(runs, call).await;
        }
    }

    async fn send(&mut self, runs: &mut [Run], call: &Call<'_>) {
        if self.items.is_empty() {
            return;
        }
        let mut items = std::mem::take(&mut self.items);
        let results = match call.over.is_cancelled() {
            true => vec![Attempted::retry("the lease has ended"); items.len()],
            false => call::call(call.destination, &mut items, call.timeout, call.clock).await,
        };
        let came = items.iter().zip(self.of.drain(..)).zip(results);
        for ((item, at), result) in came {
            let number = item.id.part.map_or(1, |part| part.number);
            runs[at].note(number, result);
        }
    }
}
