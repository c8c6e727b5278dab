//! One try of one split delivery: what came of its items, and what that makes of the delivery.

use std::time::Duration;

use creel_common::attempt::Report;
use creel_common::outcome::Outcome;
use creel_common::time::{Clock, Timestamp};

use super::progress::{Known, Refused};
use crate::call;
use crate::destinations::Attempted;

/// What is known so far.
pub(super) struct Run {
    /// How many items there are; `None` for a delivery that is sent whole.
    of: Option<u32>,
    known: Known,
    /// Something was sent, now or in an earlier try.
    sent: bool,
    failed: Option<(u32, Attempted)>,
    last: Report,
    began: (Timestamp, Duration),
}

impl Run {
    /// Of this many items, of which this much is known.
    pub fn of_items(of: u32, known: Known, clock: &dyn Clock) -> Self {
        Self {
            of: Some(of),
            sent: known.settled > 0,
            known,
            failed: None,
            last: Report::default(),
            began: (clock.wall(), clock.mono()),
        }
    }

    /// Of a delivery that is sent as it is.
    pub fn of_whole(clock: &dyn Clock) -> Self {
        Self {
            of: None,
            ..Self::of_items(1, Known::default(), clock)
        }
    }

    /// Of a delivery that is not sent at all.
    pub fn ended(result: Attempted, clock: &dyn Clock) -> Self {
        Self {
            failed: Some((1, result)),
            ..Self::of_whole(clock)
        }
    }

    /// Whether an item needs nothing more: sent already, or behind one that failed.
    pub fn passes_over(&self, number: u32) -> bool {
        self.failed.is_some() || number <= self.known.settled
    }

    /// Takes in what came of an item. They come in order; what is behind a failed one comes again.
    pub fn note(&mut self, number: u32, result: Attempted) {
        if self.failed.is_some() {
            return;
        }
        self.sent = true;
        match result.outcome {
            Outcome::Delivered | Outcome::Filtered => {
                self.known.settled = number;
                self.last = result.report;
            }
            Outcome::Reject => {
                self.known.settled = number;
                match &mut self.known.refused {
                    Some(refused) => refused.count += 1,
                    none => {
                        *none = Some(Refused {
                            count: 1,
                            number,
                            first: result,
                        });
                    }
                }
            }
            Outcome::Retry { .. } | Outcome::Released => self.failed = Some((number, result)),
        }
    }

    /// What came of the delivery, and what to remember until its next try, if there is one.
    pub fn end(self, clock: &dyn Clock) -> (Attempted, Option<Known>) {
        let (began, since) = self.began;
        let took = clock.mono().saturating_sub(since);
        let (mut result, known) = self.result();
        let report = &mut result.report;
        report.started_at = began;
        report.duration_ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        call::cut(report);
        (result, known)
    }

    fn result(self) -> (Attempted, Option<Known>) {
        match (self.of, self.failed, self.known) {
            (None, Some((_, failed)), _) => (failed, None),
            (Some(of), Some((number, failed)), known) => {
                let behind = of - number;
                let place = format!(
                    "item {number} of {of} ({} before it done, {behind} behind it not done)",
                    number - 1
                );
                (said_of(&place, failed), Some(known))
            }
            (
                of,
                None,
                Known {
                    refused: Some(refused),
                    ..
                },
            ) => match of {
                Some(of) => (refused.said(of), None),
                None => (refused.first, None),
            },
            (_, None, Known { refused: None, .. }) => {
                let outcome = match self.sent {
                    true => Outcome::Delivered,
                    false => Outcome::Filtered,
                };
                let report = self.last;
                (Attempted { outcome, report }, None)
            }
        }
    }
}

impl Refused {
    /// All others are where they belong.
    fn said(self, of: u32) -> Attempted {
        let place = format!(
            "item {} of {of} ({} refused, all others done)",
            self.number, self.count
        );
        said_of(&place, self.first)
    }
}

fn said_of(place: &str, mut result: Attempted) -> Attempted {
    let why = result.report.error.take().unwrap_or_default();
    result.report.error = Some(format!("{place}: {why}"));
    result
}
