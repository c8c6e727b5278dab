//! Which volumes may go: those in which all is settled on every route, and that are past retention or
//! have to give way because a bound of the log's room is near.

use std::collections::HashMap;
use std::time::Duration;

use crate::engine::{Engine, EngineError, VolumeInfo};
use crate::ids::Offset;
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
}

impl Retention {
    /// Keeps settled deliveries for `keep`.
    pub fn new(keep: Duration, keeper: Keeper, routed: HashMap<String, Offset>) -> Self {
        Self {
            keep,
            keeper,
            routed,
            last: None,
            paused_until: Duration::ZERO,
        }
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
        if !by_age && short.is_none() {
            return Ok(());
        }
        for volume in engine.volumes() {
            if !volume.sealed {
                break;
            }
            if self.is_ahead_of_a_route(&volume, lender, shelf) {
                continue;
            }
            let newest = shelf.spans().received_max(volume.first, volume.end);
            let Some(newest) = newest else {
                // its spans are gone already: it is on its way out
                short.given(&volume);
                continue;
            };
            let is_old = by_age && now.wall.since(newest) >= self.keep && newest <= now.wall;
            let asked = short.asks_for(&volume);
            if !(is_old || asked.is_some()) || !self.is_settled(&volume, lender, shelf, engine)? {
                continue;
            }
            if volume.end > self.keeper.covered() {
                self.keeper.want_keys();
                continue;
            }
            if let Some(bound) = asked.filter(|_| !is_old) {
                tracing::warn!(volume = volume.number, %bound, "room is short: settled history gives way");
            }
            short.given(&volume);
            shelf.removed(volume.first, volume.end);
            self.keeper.remove_volume(volume.number);
        }
        Ok(())
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
        shelf.sources().iter().any(|source| {
            let routed = lender.lanes().any(|lane| *lane.record().source == **source);
            let first = volume
                .first
                .max(self.routed.get(&**source).copied().unwrap_or(0));
            !routed
                && first < volume.end
                && shelf
                    .spans()
                    .may_hold(first, volume.end, source_bit(source))
        })
    }
}
