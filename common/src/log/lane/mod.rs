//! One route in the lender: what it has in the air, what waits, and how fast it may go.

mod landing;
mod taking;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::config;
use crate::engine::StateBatch;
use crate::ids::Offset;
use crate::log::breaker::Breaker;
use crate::log::cursor::{AIR_MAX, Cursor};
use crate::log::due::DueWindow;
use crate::log::rate::Rate;
use crate::log::spans::source_bit;
use crate::log::state::{self, DeadRecord, Place, RouteRecord, WaitingRecord};
use crate::time::Timestamp;

pub use self::landing::{Scene, Tally, Try};
pub use self::taking::Taken;

/// The moment something happens, on all clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For people. May be set, and be wrong.
    pub wall: Timestamp,
    /// For due times: goes on when the wall clock is set.
    pub steady: Timestamp,
    /// For leases, breakers and rates.
    pub mono: Duration,
}

impl Now {
    /// How long ago something was stamped by the wall clock, at least: it gets no older by a clock
    /// that is set forward, nor by having been stamped by one that was set back.
    pub fn age(&self, stamp: Timestamp) -> Duration {
        self.wall.min(self.steady).since(stamp)
    }

    /// Where a window of the past begins. A wall clock that was set makes it longer, never shorter.
    pub fn window(&self, length: Duration) -> Timestamp {
        let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.wall.min(self.steady).millis().saturating_sub(length))
    }

    /// What the wall clock will say when the steady one says `due`.
    pub fn on_the_wall(&self, due: Timestamp) -> Timestamp {
        let sum = due.millis().saturating_add(self.wall.millis());
        Timestamp(sum.saturating_sub(self.steady.millis()))
    }
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

    /// Goes by another configuration from now on; without one nothing more is lent. What is leased stays
    /// leased. Breaker and rate begin anew only where their settings have changed.
    pub fn configure(&mut self, config: Option<config::Route>, now: Duration) {
        let breaker = |config: &Option<config::Route>| config.as_ref().map(|c| c.breaker);
        let rate = |config: &Option<config::Route>| config.as_ref().and_then(|c| c.rate);
        if breaker(&self.config) != breaker(&config) {
            self.breaker = Breaker::new(breaker(&config).unwrap_or_default());
        }
        if rate(&self.config) != rate(&config) {
            self.rate = rate(&config).map(|per_sec| Rate::new(per_sec, now));
        }
        self.config = config;
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
        self.wait(offset, now.steady, record, batch);
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
            .map(|due| now.mono + due.since(now.steady))
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
