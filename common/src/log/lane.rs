//! One route in the lender: what it has in the air, what waits, and how fast it may go.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;

use crate::config;
use crate::engine::{EngineError, StateBatch};
use crate::ids::Offset;
use crate::log::breaker::Breaker;
use crate::log::codec;
use crate::log::cursor::{AIR_MAX, Cursor};
use crate::log::decide::{Ended, Next, Rules, Tried, decide};
use crate::log::due::{DueWindow, WINDOW};
use crate::log::rate::Rate;
use crate::log::shelf::Shelf;
use crate::log::spans::source_bit;
use crate::log::state::{self, DeadRecord, Place, REASON_BYTES_MAX, RouteRecord, WaitingRecord};
use crate::outcome::Outcome;
use crate::retry::RetryPolicy;
use crate::time::Timestamp;

/// Most records one call looks at, so that a route that matches little holds nobody up.
const SCAN_MAX: usize = 20_000;

/// The moment something happens, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For due times.
    pub wall: Timestamp,
    /// For leases, breakers and rates.
    pub mono: Duration,
}

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

/// A leased delivery.
#[derive(Debug, Clone, Copy)]
struct InAir {
    attempts: u32,
    lost: u32,
    generation: u32,
    received_at: Timestamp,
    probe: bool,
    /// When it was due, if it comes from the waiting ones.
    due: Option<Timestamp>,
}

impl InAir {
    /// As it stood, or would stand, among the waiting ones.
    fn waiting(self) -> WaitingRecord {
        WaitingRecord {
            attempts: self.attempts,
            lost: self.lost,
            generation: self.generation,
            received_at: self.received_at,
        }
    }
}

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

/// A route's standing.
pub struct Lane {
    name: String,
    record: RouteRecord,
    bit: u64,
    config: Option<config::Route>,
    lost_max: u32,
    cursor: Cursor,
    /// In the cursor's air, but not leased: to be leased again at once.
    returned: BTreeSet<Offset>,
    air: HashMap<Offset, InAir>,
    due: DueWindow,
    waiting: u64,
    dead: u64,
    breaker: Breaker,
    rate: Option<Rate>,
    delivered: u64,
    unmatched: u64,
    /// The cursor has looked further since it was last written; nothing is lost if it is not.
    moved: bool,
    /// Something came down since it was last written: has to go with its batch.
    touched: bool,
    /// The last look at new deliveries was cut short and may have missed some.
    unfinished: bool,
    /// Waiting entries whose deliveries the log cannot read: dead with the next batch.
    unreadable: Vec<(Timestamp, Offset, DeadRecord)>,
}

impl Lane {
    /// A lane as it was left. Without `config` the route is no longer configured and nothing is lent.
    pub fn new(
        name: &str,
        record: RouteRecord,
        place: Place,
        config: Option<config::Route>,
        lost_max: u32,
        now: Duration,
    ) -> Self {
        let breaker = config.as_ref().map(|c| c.breaker).unwrap_or_default();
        let rate = config
            .as_ref()
            .and_then(|c| c.rate)
            .map(|per_sec| Rate::new(per_sec, now));
        Self {
            name: name.to_owned(),
            bit: source_bit(&record.source),
            record,
            config,
            lost_max,
            returned: place.cursor.air().collect(),
            cursor: place.cursor,
            air: HashMap::new(),
            due: DueWindow::new(place.waiting == 0),
            waiting: place.waiting,
            dead: place.dead,
            breaker: Breaker::new(breaker),
            rate,
            delivered: 0,
            unmatched: 0,
            moved: false,
            touched: false,
            unfinished: false,
            unreadable: Vec::new(),
        }
    }

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
            let Some((due, offset, entry)) = self.due.first_due(now.wall) else {
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
            received_at: held.received_at,
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
        decide(tried, ended, rules, scene.now.wall, scene.dice)
    }

    fn tell_breaker(&mut self, ended: &Ended, probe: bool, now: Now) {
        match ended {
            Ended::Said(Outcome::Retry { .. }) => self.breaker.failed(now.mono, probe),
            Ended::Said(Outcome::Released) | Ended::Lost => {}
            Ended::Said(_) => self.breaker.answered(),
        }
    }

    fn put_back(&mut self, offset: Offset, held: InAir) {
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

    fn wait(
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

    /// Gives a dead letter fresh attempts, due now.
    pub fn revive(
        &mut self,
        offset: Offset,
        letter: &DeadRecord,
        now: Now,
        batch: &mut StateBatch,
    ) {
        batch.remove(state::dead_key(&self.name, offset));
        self.dead = self.dead.saturating_sub(1);
        let record = WaitingRecord {
            attempts: 0,
            lost: 0,
            generation: letter.generation + 1,
            received_at: letter.received_at,
        };
        self.wait(offset, now.wall, record, batch);
        self.touched = true;
    }

    /// Drops a dead letter.
    pub fn bury(&mut self, offset: Offset, batch: &mut StateBatch) {
        batch.remove(state::dead_key(&self.name, offset));
        self.dead = self.dead.saturating_sub(1);
        self.touched = true;
    }

    /// Sets the cursor back; everything in the air from there on is void.
    pub fn rewind(&mut self, to: Offset) {
        self.cursor.rewind(to);
        self.returned.split_off(&to);
        self.due.rewind(to);
        self.record.epoch += 1;
        self.touched = true;
    }

    /// Puts back everything in the air, as if it had not been leased.
    pub fn void(&mut self) {
        let air: Vec<_> = self.air.drain().collect();
        for (offset, held) in air {
            self.put_back(offset, held);
        }
    }

    /// A waiting entry was superseded by a rewind and is gone from the store.
    pub fn superseded(&mut self, waiting: u64, dead: u64) {
        self.waiting = self.waiting.saturating_sub(waiting);
        self.dead = self.dead.saturating_sub(dead);
        self.touched = true;
    }

    /// Stops or allows new leases.
    pub fn set_paused(&mut self, paused: bool) {
        self.record.paused = paused;
    }

    /// Writes the cursor into a batch, if something came down, or with `all` if it has moved at all.
    pub fn write(&mut self, all: bool, batch: &mut StateBatch) {
        for (due, offset, letter) in std::mem::take(&mut self.unreadable) {
            state::remove_waiting(batch, &self.name, (due, offset));
            batch.put(state::dead_key(&self.name, offset), state::encoded(&letter));
            self.waiting = self.waiting.saturating_sub(1);
            self.dead += 1;
        }
        if self.touched || (all && self.moved) {
            batch.put(state::place_key(&self.name), self.place().encode());
            (self.touched, self.moved) = (false, false);
        }
    }

    /// Where it stands, as it is kept.
    pub fn place(&self) -> Place {
        Place {
            waiting: self.waiting,
            dead: self.dead,
            cursor: self.cursor.clone(),
        }
    }

    /// When it may have something to lend though nothing new comes, on the monotonic clock.
    pub fn wake(&self, now: Now) -> Option<Duration> {
        let config = self.config.as_ref().filter(|_| !self.record.paused)?;
        if self.breaker.is_open() && self.breaker.probe_at().is_some() {
            return self.breaker.probe_at();
        }
        if let Some(next_at) = self.rate.as_ref().and_then(Rate::held_until) {
            return Some(next_at);
        }
        let open_max = (config.open_max as usize).min(AIR_MAX);
        if self.air.len() >= open_max.min(self.breaker.limit_now()) {
            return None;
        }
        if self.unfinished || !self.returned.is_empty() {
            return Some(now.mono);
        }
        self.due
            .next_due()
            .map(|due| now.mono + due.since(now.wall))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its durable facts.
    pub fn record(&self) -> &RouteRecord {
        &self.record
    }

    /// Its configuration; `None` when it is no longer configured.
    pub fn config(&self) -> Option<&config::Route> {
        self.config.as_ref()
    }

    /// Its cursor.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Bit of its source in spans.
    pub fn bit(&self) -> u64 {
        self.bit
    }

    /// Numbers for status pages: leased, waiting, dead, delivered, unmatched.
    pub fn counts(&self) -> Counts {
        Counts {
            open: self.air.len() as u64,
            returned: self.returned.len() as u64,
            waiting: self.waiting,
            dead: self.dead,
            delivered: self.delivered,
            unmatched: self.unmatched,
        }
    }

    /// The breaker's state, as a word.
    pub fn breaker(&self) -> &'static str {
        self.breaker.word()
    }

    /// Which try an offset is leased for, if it is.
    pub fn leased(&self, offset: Offset) -> Option<u32> {
        self.air.get(&offset).map(|held| held.attempts + 1)
    }
}

/// Numbers of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Leased now.
    pub open: u64,
    /// To be leased again at once.
    pub returned: u64,
    /// To be tried again.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// Delivered since the start of the process.
    pub delivered: u64,
    /// Not matched since the start of the process.
    pub unmatched: u64,
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
