//! A route's deliveries are taken for a lease: retries that are due, what came back, and new ones.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{InAir, Lane, Now};
use crate::config;
use crate::engine::EngineError;
use crate::ids::Offset;
use crate::log::codec;
use crate::log::cursor::AIR_MAX;
use crate::log::due::WINDOW;
use crate::log::shelf::Shelf;
use crate::log::state::{self, DeadRecord, WaitingRecord};

/// Most records one call looks at, so that a route that matches little holds nobody up.
const SCAN_MAX: usize = 20_000;
/// A delivery that has just been leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its place.
    pub offset: Offset,
    /// Which try this will be, from 1.
    pub attempt: u32,
    /// Rewinds and reprocesses.
    pub generation: u32,
    /// The record.
    pub record: Bytes,
}

impl Lane {
    /// Takes up to `max_items` deliveries of up to `max_bytes` in all for one lease.
    ///
    /// # Errors
    /// The engine's.
    pub fn take(
        &mut self,
        shelf: &Shelf,
        now: Now,
        max_items: usize,
        max_bytes: u64,
    ) -> Result<Vec<Taken>, EngineError> {
        let room = self.room(now).min(max_items);
        if room == 0 {
            return Ok(Vec::new());
        }
        self.fill_window(shelf)?;
        let mut basket = Basket {
            items: Vec::new(),
            room,
            bytes_left: max_bytes,
            alone: false,
        };
        if let Err(error) = self.fill(shelf, now, &mut basket) {
            // nobody will hold a lease of these
            for item in basket.items {
                if let Some(held) = self.air.remove(&item.offset) {
                    self.put_back(item.offset, held);
                }
            }
            return Err(error);
        }
        if let Some(rate) = &mut self.rate {
            rate.take(basket.items.len());
        }
        Ok(basket.items)
    }

    fn fill(&mut self, shelf: &Shelf, now: Now, basket: &mut Basket) -> Result<(), EngineError> {
        // overdue retries get half, so that neither starves the other; then whoever is there
        let room = basket.room;
        basket.room = room.div_ceil(2);
        self.take_due(shelf, now, basket)?;
        basket.room = room;
        if !basket.alone {
            self.take_returned(shelf, basket)?;
            self.take_new(shelf, basket)?;
            self.take_due(shelf, now, basket)?;
        }
        Ok(())
    }

    /// How many more may be leased now.
    fn room(&mut self, now: Now) -> usize {
        let Some(config) = &self.config else { return 0 };
        if self.record.paused {
            return 0;
        }
        let open_max = (config.open_max as usize)
            .min(AIR_MAX)
            .min(self.breaker.limit(now.mono));
        let room = open_max.saturating_sub(self.air.len());
        match &mut self.rate {
            Some(rate) => room.min(rate.available(now.mono)),
            None => room,
        }
    }

    /// Whether it reads waiting entries from the state store before it lends.
    pub fn reads_store(&self) -> bool {
        self.due.wants_filling()
    }

    fn fill_window(&mut self, shelf: &Shelf) -> Result<(), EngineError> {
        if self.due.wants_filling() {
            let limit = WINDOW + self.air.len();
            let found = state::waiting(shelf.engine(), &self.name, limit)?;
            let all = found.len() < limit;
            let idle = found
                .into_iter()
                .filter(|(_, offset, _)| !self.air.contains_key(offset));
            self.due.fill(idle, all);
        }
        Ok(())
    }

    fn take_due(
        &mut self,
        shelf: &Shelf,
        now: Now,
        basket: &mut Basket,
    ) -> Result<(), EngineError> {
        while basket.has_room() {
            let Some((due, offset, entry)) = self.due.first_due(now.steady) else {
                break;
            };
            // one whose worker died is leased alone: it takes no innocents along
            let alone = entry.lost > 0;
            if alone && !basket.items.is_empty() {
                break;
            }
            let Some(record) = self.read(shelf, offset)? else {
                self.due.take(due, offset);
                self.unreadable
                    .push((due, offset, self.unreadable_letter(entry, now)));
                self.touched = true;
                continue;
            };
            if !basket.fits(&record) {
                break;
            }
            self.due.take(due, offset);
            let held = InAir {
                attempts: entry.attempts,
                lost: entry.lost,
                generation: entry.generation,
                received_at: entry.received_at,
                probe: self.breaker.probing(),
                due: Some(due),
            };
            self.hold(offset, held, record, basket);
            if alone {
                basket.alone = true;
                break;
            }
        }
        Ok(())
    }

    fn take_returned(&mut self, shelf: &Shelf, basket: &mut Basket) -> Result<(), EngineError> {
        while basket.has_room() {
            let Some(&offset) = self.returned.first() else {
                break;
            };
            let Some(record) = self.read(shelf, offset)? else {
                self.returned.remove(&offset);
                self.cursor.land(offset);
                continue;
            };
            if !basket.fits(&record) {
                break;
            }
            self.returned.remove(&offset);
            self.hold_new(offset, record, basket);
        }
        Ok(())
    }

    fn take_new(&mut self, shelf: &Shelf, basket: &mut Basket) -> Result<(), EngineError> {
        self.unfinished = false;
        if !basket.has_room() || self.cursor.next() >= shelf.height() {
            return Ok(());
        }
        let mut looked_at = 0;
        let mut refused = None;
        let mut found: Vec<(Offset, Bytes)> = Vec::new();
        let (source, config, unmatched) = (&self.record.source, &self.config, &mut self.unmatched);
        let scanned = shelf.scan(self.cursor.next(), self.bit, &mut |offset, block| {
            looked_at += 1;
            let fits = match block.peek(offset).map(codec::envelope) {
                Some(Ok(envelope)) if envelope.source == source => {
                    matches(config.as_ref(), envelope.event_type) || {
                        *unmatched += 1;
                        false
                    }
                }
                _ => false,
            };
            if fits {
                let Some(record) = block.record(offset) else {
                    return ControlFlow::Continue(());
                };
                if !basket.would_fit(found.len(), &record) {
                    refused = Some(offset);
                    return ControlFlow::Break(());
                }
                basket.bytes_left = basket.bytes_left.saturating_sub(record.len() as u64);
                found.push((offset, record));
            }
            let full = basket.items.len() + found.len() >= basket.room;
            if full || looked_at >= SCAN_MAX {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        // a part that cannot be read ends a scan early
        self.unfinished = looked_at >= SCAN_MAX || scanned.damaged.is_some();
        for (offset, record) in found {
            self.cursor.take(offset);
            self.hold_new(offset, record, basket);
        }
        self.moved |= scanned.next != self.cursor.next();
        self.cursor.skip_to(refused.unwrap_or(scanned.next));
        Ok(())
    }

    fn hold_new(&mut self, offset: Offset, record: Bytes, basket: &mut Basket) {
        let received_at = codec::envelope(&record)
            .map(|e| e.received_at)
            .unwrap_or_default();
        let probe = self.breaker.probing();
        let held = InAir {
            attempts: 0,
            lost: 0,
            generation: 0,
            received_at,
            probe,
            due: None,
        };
        self.hold(offset, held, record, basket);
    }

    fn hold(&mut self, offset: Offset, held: InAir, record: Bytes, basket: &mut Basket) {
        self.air.insert(offset, held);
        basket.items.push(Taken {
            offset,
            attempt: held.attempts + 1,
            generation: held.generation + self.record.epoch,
            record,
        });
    }

    /// Reads a delivery that was lent before; `None`, and a line in the log, when it is damaged or gone.
    fn read(&self, shelf: &Shelf, offset: Offset) -> Result<Option<Bytes>, EngineError> {
        let found = match shelf.record(offset) {
            Err(EngineError::Damaged(what)) => Err(what),
            found => found?.ok_or("it is not in the log".to_owned()).map(Some),
        };
        Ok(found.unwrap_or_else(|what| {
            tracing::error!(route = self.name, offset, %what, "a delivery to be lent again cannot be read");
            None
        }))
    }

    fn unreadable_letter(&self, entry: WaitingRecord, now: Now) -> DeadRecord {
        DeadRecord {
            died_at: now.wall,
            attempts: entry.attempts,
            reason: "the log cannot read it".to_owned(),
            status: None,
            source: self.record.source.clone(),
            event_type: None,
            received_at: entry.received_at,
            generation: entry.generation,
        }
    }

    /// A leased delivery again, for a repeated lease request.
    pub fn again(&self, shelf: &Shelf, offset: Offset) -> Result<Option<Taken>, EngineError> {
        let Some(held) = self.air.get(&offset) else {
            return Ok(None);
        };
        let record = shelf.record(offset)?;
        Ok(record.map(|record| Taken {
            offset,
            attempt: held.attempts + 1,
            generation: held.generation + self.record.epoch,
            record,
        }))
    }
}

struct Basket {
    items: Vec<Taken>,
    room: usize,
    bytes_left: u64,
    alone: bool,
}

impl Basket {
    fn has_room(&self) -> bool {
        self.items.len() < self.room
            && !self.alone
            && (self.items.is_empty() || self.bytes_left > 0)
    }

    fn would_fit(&self, more: usize, record: &[u8]) -> bool {
        (self.items.is_empty() && more == 0) || record.len() as u64 <= self.bytes_left
    }

    fn fits(&mut self, record: &[u8]) -> bool {
        let fits = self.would_fit(0, record);
        if fits {
            self.bytes_left = self.bytes_left.saturating_sub(record.len() as u64);
        }
        fits
    }
}

fn matches(config: Option<&config::Route>, event_type: Option<&str>) -> bool {
    config.is_some_and(|config| {
        config.events.is_empty()
            || event_type.is_some_and(|event| config.events.iter().any(|wanted| wanted == event))
    })
}
