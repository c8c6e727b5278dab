//! Which volumes may go: those in which all is settled on every route, and that are past retention or
//! have to give way because a bound of the log's room is near. Where only little is not settled, that
//! little is carried over, so that the rest can go.

use std::collections::HashMap;
use std::time::Duration;

use crate::engine::{Engine, EngineError, StateBatch, VolumeInfo};
use crate::ids::Offset;
use crate::log::carry::{Carrying, LaneView, Survey, Unrouted, Volumes};
use crate::log::gate::Shortage;
use crate::log::keeper::Keeper;
use crate::log::lane::Now;
use crate::log::lender::Lender;
use crate::log::shelf::Shelf;
use crate::log::spans::source_bit;
use crate::log::state;

/// A wall clock that went this much further than the monotonic one has jumped.
const JUMP: Duration = Duration::from_secs(300);
/// After a jump nothing is removed by age for this long.
const JUMP_PAUSE: Duration = Duration::from_secs(3600);

/// Removes volumes.
pub struct Retention {
    keep: Duration,
    keeper: Keeper,
    /// Below these offsets a source without a route is not unrouted: a forgotten route had been there.
    routed: HashMap<String, Offset>,
    last: Option<Now>,
    paused_until: Duration,
    carrying: Carrying,
}

impl Retention {
    /// Keeps settled deliveries for `keep`.
    pub fn new(
        keep: Duration,
        keeper: Keeper,
        routed: HashMap<String, Offset>,
        carrying: Carrying,
    ) -> Self {
        Self {
            keep,
            keeper,
            routed,
            last: None,
            paused_until: Duration::ZERO,
            carrying,
        }
    }

    /// Something is being carried over: [`Retention::run`] is wanted soon again.
    pub fn is_busy(&self) -> bool {
        self.carrying.is_busy()
    }

    /// Changes of the state store that are about to be written.
    pub fn note(&mut self, batch: &StateBatch) {
        self.carrying.note(batch);
    }

    /// An operator moves a route in other ways than by [`Retention::note`]'s changes.
    pub fn void(&mut self) {
        self.carrying.void();
    }

    /// A forgotten route leaves its source routed up to here.
    pub fn set_routed(&mut self, source: &str, floor: Offset) {
        self.routed.insert(source.to_owned(), floor);
    }

    /// Hands the volumes that may go to the keeper: those past retention and, oldest first, as many more
    /// as give back what is `short`.
    ///
    /// # Errors
    /// The engine's.
    pub fn run(
        &mut self,
        lender: &Lender,
        shelf: &Shelf,
        engine: &dyn Engine,
        now: Now,
        mut short: Shortage,
    ) -> Result<(), EngineError> {
        let by_age = !self.clock_jumped(now);
        self.carrying.go_on(shelf, &self.keeper, now.mono);
        if !by_age && short.is_none() {
            return Ok(());
        }
        let is_pressed = !short.is_none();
        let mut left = None;
        let volumes = engine.volumes();
        for volume in volumes.iter().take_while(|volume| volume.sealed) {
            if self.carrying.is_busy_with(volume) {
                continue;
            }
            let newest = shelf.spans().received_max(volume.first, volume.end);
            let Some(newest) = newest else {
                // its spans are gone already: it is on its way out
                short.given(volume);
                continue;
            };
            let is_old = by_age && now.age(newest) >= self.keep && newest <= now.wall;
            let asked = short.asks_for(volume);
            if !is_old && asked.is_none() {
                continue;
            }
            let is_settled = !self.is_ahead_of_a_route(volume, lender, shelf)
                && self.is_settled(volume, lender, shelf, engine)?;
            if !is_settled && left.is_some() {
                continue;
            }
            if volume.end > self.keeper.covered() {
                self.keeper.want_keys();
                continue;
            }
            if !is_settled {
                let may_look = self.carrying.may_look(volume, now.mono, is_pressed);
                left = may_look.then(|| Volumes::of(std::slice::from_ref(volume)));
                continue;
            }
            if let Some(bound) = asked.filter(|_| !is_old) {
                tracing::warn!(volume = volume.number, %bound, "room is short: settled history gives way");
            }
            short.given(volume);
            shelf.removed(volume.first, volume.end);
            self.keeper.remove_volume(volume.number);
        }
        if !self.carrying.is_busy() {
            self.look_what_is_left(left, &volumes, lender, shelf);
        }
        Ok(())
    }

    /// Has the next volumes looked at that may be carried over: `volume`, or small ones that were
    /// before.
    fn look_what_is_left(
        &mut self,
        volume: Option<Volumes>,
        volumes: &[VolumeInfo],
        lender: &Lender,
        shelf: &Shelf,
    ) {
        let merges = volume.is_none();
        let Some(volumes) = volume.or_else(|| self.carrying.mergeable(volumes)) else {
            return;
        };
        let unrouted = self.unrouted(lender, shelf).collect();
        self.carrying.look(Survey {
            volumes,
            lanes: lender.lanes().map(LaneView::from).collect(),
            unrouted,
            merges,
        });
    }

    fn clock_jumped(&mut self, now: Now) -> bool {
        if let Some(last) = self.last.replace(now) {
            let wall = now.wall.since(last.wall).max(last.wall.since(now.wall));
            let mono = now.mono.saturating_sub(last.mono);
            if wall.abs_diff(mono) > JUMP {
                tracing::warn!("the wall clock has jumped: nothing is removed by age for an hour");
                self.paused_until = now.mono + JUMP_PAUSE;
            }
        }
        now.mono < self.paused_until
    }

    /// Whether a route has deliveries in it that it has not looked at, or has in the air.
    fn is_ahead_of_a_route(&self, volume: &VolumeInfo, lender: &Lender, shelf: &Shelf) -> bool {
        let spans = shelf.spans();
        lender.lanes().any(|lane| {
            let first = volume.first.max(lane.cursor().floor());
            first < volume.end && spans.may_hold(first, volume.end, lane.bit())
        })
    }

    fn is_settled(
        &self,
        volume: &VolumeInfo,
        lender: &Lender,
        shelf: &Shelf,
        engine: &dyn Engine,
    ) -> Result<bool, EngineError> {
        let range = (volume.first, volume.end);
        for lane in lender.lanes() {
            let waits = !state::waiting_offsets(engine, lane.name(), range, 1)?.is_empty();
            if waits || !state::dead(engine, lane.name(), range, 1)?.is_empty() {
                return Ok(false);
            }
        }
        Ok(!self.holds_unrouted(volume, lender, shelf))
    }

    /// Whether a source without a route may be in it. In doubt, yes.
    fn holds_unrouted(&self, volume: &VolumeInfo, lender: &Lender, shelf: &Shelf) -> bool {
        self.unrouted(lender, shelf).any(|unrouted| {
            let first = volume.first.max(unrouted.floor);
            first < volume.end
                && shelf
                    .spans()
                    .may_hold(first, volume.end, source_bit(&unrouted.source))
        })
    }

    /// The sources of which something is or was there and that have no route.
    fn unrouted(&self, lender: &Lender, shelf: &Shelf) -> impl Iterator<Item = Unrouted> {
        let routed = |source: &str| lender.lanes().any(|lane| *lane.record().source == *source);
        let sources = shelf.sources().into_iter();
        sources
            .filter(move |source| !routed(source))
            .map(|source| Unrouted {
                floor: self.routed.get(&*source).copied().unwrap_or(0),
                source,
            })
    }
}
