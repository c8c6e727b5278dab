//! A leased delivery comes down: settled, to be tried again, or dead.

use super::{InAir, Lane, Now};
use crate::engine::StateBatch;
use crate::ids::Offset;
use crate::log::codec;
use crate::log::decide::{Ended, Next, Rules, Tried, decide};
use crate::log::shelf::Shelf;
use crate::log::state::{self, DeadRecord, REASON_BYTES_MAX, WaitingRecord};
use crate::outcome::Outcome;
use crate::retry::RetryPolicy;
use crate::time::Timestamp;

/// One try of a leased delivery, ended.
#[derive(Debug, Clone)]
pub struct Try<'a> {
    /// The delivery.
    pub offset: Offset,
    /// How it ended.
    pub ended: Ended,
    /// What the worker said of a failure, for the dead letter.
    pub error: Option<&'a str>,
    /// The protocol's status.
    pub status: Option<u16>,
}

/// Where, when, and with which luck.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The log, for reading.
    pub shelf: &'a Shelf,
    /// Both clocks.
    pub now: Now,
    /// Uniform in `0.0..1.0`.
    pub dice: f64,
}

/// What a try came to, for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Which try it was, from 1.
    pub attempt: u32,
    /// It died of it.
    pub died: bool,
}

impl Lane {
    /// One leased delivery was tried: applies what follows. `None` when it was not in the air.
    pub fn land(
        &mut self,
        tried: &Try<'_>,
        scene: Scene<'_>,
        batch: &mut StateBatch,
    ) -> Option<Tally> {
        let offset = tried.offset;
        let held = self.air.remove(&offset)?;
        self.touched = true;
        self.tell_breaker(&tried.ended, held.probe, scene.now);
        let next = self.decide(held, &tried.ended, scene);
        let died = matches!(next, Next::Dead { .. });
        match next {
            Next::Untouched => self.put_back(offset, held),
            Next::Settled => {
                self.delivered += u64::from(tried.ended == Ended::Said(Outcome::Delivered));
                self.leave(offset, held, batch);
            }
            Next::Wait {
                due,
                attempts,
                lost,
            } => {
                self.leave(offset, held, batch);
                self.wait(
                    offset,
                    due,
                    WaitingRecord {
                        attempts,
                        lost,
                        ..held.waiting()
                    },
                    batch,
                );
            }
            Next::Dead { attempts, reason } => {
                self.leave(offset, held, batch);
                let letter = DeadRecord {
                    attempts,
                    ..self.epitaph(tried, held, reason, scene)
                };
                batch.put(state::dead_key(&self.name, offset), state::encoded(&letter));
                self.dead += 1;
            }
        }
        Some(Tally {
            attempt: held.attempts + 1,
            died,
        })
    }

    fn decide(&self, held: InAir, ended: &Ended, scene: Scene<'_>) -> Next {
        let tried = Tried {
            attempts: held.attempts,
            lost: held.lost,
            age: scene.now.age(held.received_at),
            probe: held.probe,
        };
        let orphaned = RetryPolicy::default();
        let retry = self
            .config
            .as_ref()
            .map_or(&orphaned, |config| &config.retry);
        let rules = Rules {
            retry,
            lost_max: self.lost_max,
        };
        decide(tried, ended, rules, scene.now.steady, scene.dice)
    }

    fn tell_breaker(&mut self, ended: &Ended, probe: bool, now: Now) {
        match ended {
            Ended::Said(Outcome::Retry { .. }) => self.breaker.failed(now.mono, probe),
            Ended::Said(Outcome::Released) | Ended::Lost => {}
            Ended::Said(_) => self.breaker.answered(),
        }
    }

    pub(super) fn put_back(&mut self, offset: Offset, held: InAir) {
        match held.due {
            None => {
                self.returned.insert(offset);
            }
            Some(due) => {
                self.due.add(due, offset, held.waiting());
            }
        }
    }

    /// Takes a delivery out of the cursor's air or out of the waiting ones, wherever it came from.
    fn leave(&mut self, offset: Offset, held: InAir, batch: &mut StateBatch) {
        match held.due {
            None => {
                self.cursor.land(offset);
            }
            Some(due) => {
                state::remove_waiting(batch, &self.name, (due, offset));
                self.waiting = self.waiting.saturating_sub(1);
            }
        }
    }

    pub(super) fn wait(
        &mut self,
        offset: Offset,
        due: Timestamp,
        record: WaitingRecord,
        batch: &mut StateBatch,
    ) {
        state::put_waiting(batch, &self.name, (due, offset), &record);
        self.waiting += 1;
        self.due.add(due, offset, record);
    }

    fn epitaph(&self, tried: &Try<'_>, held: InAir, reason: &str, scene: Scene<'_>) -> DeadRecord {
        let record = scene.shelf.record(tried.offset).ok().flatten();
        let event_type = record
            .as_ref()
            .and_then(|record| codec::envelope(record).ok())
            .and_then(|envelope| envelope.event_type.map(str::to_owned));
        let mut reason = match tried.error {
            Some(error) => format!("{reason}: {error}"),
            None => reason.to_owned(),
        };
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        DeadRecord {
            died_at: scene.now.wall,
            attempts: held.attempts,
            reason,
            status: tried.status,
            source: self.record.source.clone(),
            event_type,
            received_at: held.received_at,
            generation: held.generation,
        }
    }
}
