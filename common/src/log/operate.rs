//! What operators change, as the desk does it: durable, recorded, never half done in a way that loses.

use crate::engine::{Engine, EngineError, StateBatch};
use crate::ids::Offset;
use crate::log::desk::Desk;
use crate::log::lane::Lane;
use crate::log::state::{self, Renaming, RouteRecord};
use crate::log::{Actor, Audit, OperateError, Standing};

/// Entries of the state store that are removed or moved in one batch.
const STEP: usize = 2000;
/// Longest text in the record of an act.
const AUDIT_TEXT_BYTES_MAX: usize = 1024;

fn no_route(route: &str) -> OperateError {
    OperateError::NotFound(format!("no route `{route}`"))
}

fn failed(error: EngineError) -> OperateError {
    OperateError::Unavailable(error.to_string())
}

impl Desk {
    /// Where a delivery stands on every route of its source.
    pub fn standings(
        &self,
        source: &str,
        offset: Offset,
    ) -> Result<Vec<(String, Standing)>, OperateError> {
        let lanes = self
            .lender
            .lanes()
            .filter(|lane| lane.record().source == source);
        lanes
            .map(|lane| Ok((lane.name().to_owned(), self.standing(lane, offset)?)))
            .collect()
    }

    fn standing(&self, lane: &Lane, offset: Offset) -> Result<Standing, OperateError> {
        if let Some(attempt) = lane.leased(offset) {
            return Ok(Standing::Open { attempt });
        }
        if let Some((due, waiting)) =
            state::waiting_at(&*self.engine, lane.name(), offset).map_err(failed)?
        {
            return Ok(Standing::Waiting {
                due: self.now().on_the_wall(due),
                attempts: waiting.attempts,
            });
        }
        if let Some(dead) = state::dead_at(&*self.engine, lane.name(), offset).map_err(failed)? {
            return Ok(Standing::Dead {
                attempts: dead.attempts,
                died_at: dead.died_at,
                reason: dead.reason,
            });
        }
        Ok(if lane.cursor().has_passed(offset) {
            Standing::Settled
        } else {
            Standing::Pending
        })
    }

    /// Gives dead letters fresh attempts, or drops them. Answers how many were dead still.
    pub fn change_dead(
        &mut self,
        chosen: &[(String, Offset)],
        revive: bool,
        actor: &Actor,
        subject: &str,
    ) -> Result<u64, OperateError> {
        let now = self.now();
        let mut count = 0;
        for (route, offset) in chosen {
            let letter = state::dead_at(&*self.engine, route, *offset).map_err(failed)?;
            let (Some(letter), Some(lane)) = (letter, self.lender.lane_mut(route)) else {
                continue;
            };
            if revive {
                lane.revive(*offset, &letter, now, &mut self.effects.batch);
            } else {
                lane.bury(*offset, &mut self.effects.batch);
            }
            count += 1;
        }
        self.record(
            if revive { "reprocess" } else { "discard" },
            subject,
            count,
            actor,
        );
        // the next call must see these gone
        self.commit(false).map_err(failed)?;
        Ok(count)
    }

    /// Stops or allows new leases of a route.
    pub fn set_paused(
        &mut self,
        route: &str,
        paused: bool,
        actor: &Actor,
    ) -> Result<(), OperateError> {
        let lane = self.lender.lane_mut(route).ok_or_else(|| no_route(route))?;
        lane.set_paused(paused);
        let record = state::encoded(lane.record());
        self.effects.batch.put(state::route_key(route), record);
        self.record(if paused { "pause" } else { "resume" }, route, 0, actor);
        Ok(())
    }

    /// Sets a route's cursor back to `to`. Answers how many offsets are before it again.
    ///
    /// The cursor goes first: a crash in between leaves entries that are tried once more than
    /// needed, never a delivery that is in no place.
    pub fn rewind(&mut self, route: &str, to: Offset, actor: &Actor) -> Result<u64, OperateError> {
        let lane = self.lender.lane(route).ok_or_else(|| no_route(route))?;
        let before = lane.cursor().next();
        let oldest = self.shelf.spans().first().unwrap_or(self.shelf.height());
        let to = to.max(oldest);
        if to >= before {
            return Err(OperateError::Invalid(format!(
                "route `{route}` is at offset {before}, not past {to}: nothing to rewind"
            )));
        }
        self.lender.void(route);
        self.retention.void();
        let lane = self.lender.lane_mut(route).ok_or_else(|| no_route(route))?;
        lane.rewind(to);
        let record = state::encoded(lane.record());
        self.effects.batch.put(state::route_key(route), record);
        self.record("rewind", &format!("{route} to {to}"), before - to, actor);
        self.commit(false).map_err(failed)?;
        self.supersede(route, to).map_err(failed)?;
        Ok(before - to)
    }

    /// Removes the waiting entries and dead letters from an offset on: they are looked at anew.
    fn supersede(&mut self, route: &str, from: Offset) -> Result<(), EngineError> {
        let range = (from, Offset::MAX);
        loop {
            let waiting = state::waiting_offsets(&*self.engine, route, range, STEP)?;
            let dead = state::dead(&*self.engine, route, range, STEP)?;
            if waiting.is_empty() && dead.is_empty() {
                return Ok(());
            }
            for (offset, due) in &waiting {
                state::remove_waiting(&mut self.effects.batch, route, (*due, *offset));
            }
            for (offset, _) in &dead {
                self.effects.batch.remove(state::dead_key(route, *offset));
            }
            if let Some(lane) = self.lender.lane_mut(route) {
                lane.superseded(waiting.len() as u64, dead.len() as u64);
            }
            self.commit(false)?;
        }
    }

    /// Moves the cursor of a route that is no longer configured to another name, with all that waits
    /// or is dead. Whatever stood under the other name is replaced.
    pub fn rename(&mut self, from: &str, to: &str, actor: &Actor) -> Result<(), OperateError> {
        let old = self.lender.lane(from).ok_or_else(|| no_route(from))?;
        if old.config().is_some() {
            return Err(OperateError::Invalid(format!(
                "route `{from}` is configured; rename it in the configuration first"
            )));
        }
        let record = old.record().clone();
        let target = self.lender.lane(to).ok_or_else(|| {
            OperateError::NotFound(format!(
                "no route `{to}`: name the route in the configuration first"
            ))
        })?;
        if target.record().source != record.source {
            return Err(OperateError::Invalid(format!(
                "route `{to}` is of source `{}`, `{from}` of `{}`",
                target.record().source,
                record.source
            )));
        }
        let config = target.config().cloned();
        self.lender.void(from);
        self.lender.void(to);
        self.retention.void();
        self.record("rename", &format!("{from} to {to}"), 0, actor);
        let renaming = Renaming {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        self.effects
            .batch
            .put(state::RENAMING, state::encoded(&renaming));
        self.commit(false).map_err(failed)?;
        finish_rename(&*self.engine).map_err(failed)?;
        let place = self
            .lender
            .lane(from)
            .ok_or_else(|| no_route(from))?
            .place();
        self.lender.set_lane(from, None);
        let lane = self.new_lane(to, record, place, config);
        self.lender.set_lane(to, Some(lane));
        self.clear_entries(from).map_err(failed)
    }

    /// Drops everything of a route that is no longer configured.
    pub fn forget(&mut self, route: &str, actor: &Actor) -> Result<(), OperateError> {
        let lane = self.lender.lane(route).ok_or_else(|| no_route(route))?;
        if lane.config().is_some() {
            return Err(OperateError::Invalid(format!(
                "route `{route}` is configured; take it out of the configuration first"
            )));
        }
        let (source, floor) = (lane.record().source.clone(), lane.cursor().next());
        let dropped = lane.counts().waiting + lane.counts().dead;
        // what this route had looked at is not unrouted now
        self.effects
            .batch
            .put(state::source_key(&source), state::encoded(&floor));
        self.retention.set_routed(&source, floor);
        self.retention.void();
        drop_route(&mut self.effects.batch, route);
        self.record("forget", route, dropped, actor);
        self.lender.set_lane(route, None);
        self.commit(false).map_err(failed)?;
        self.clear_entries(route).map_err(failed)
    }

    /// Removes the waiting entries and dead letters that a route left behind.
    fn clear_entries(&mut self, route: &str) -> Result<(), EngineError> {
        clear(&*self.engine, route)
    }

    fn new_lane(
        &self,
        name: &str,
        record: RouteRecord,
        place: state::Place,
        config: Option<crate::config::Route>,
    ) -> Lane {
        Lane::new(name, record, place, config, self.lost_max, self.now().mono)
    }

    /// Notes an act, durable with the next commit.
    pub fn record(&mut self, action: &str, subject: &str, count: u64, actor: &Actor) {
        let audit = Audit {
            at: self.now().wall,
            actor: Actor {
                who: cut(&actor.who),
                why: actor.why.as_deref().map(cut),
            },
            action: action.to_owned(),
            subject: cut(subject),
            count,
        };
        tracing::info!(
            action,
            subject,
            count,
            who = actor.who,
            why = actor.why,
            "an operator acted"
        );
        self.effects
            .batch
            .put(state::audit_key(self.next_audit), state::encoded(&audit));
        self.next_audit += 1;
    }
}

/// Finishes a rewind that a crash cut short: what waits or is dead at or above the cursor is looked
/// at anew, and must not be in two places.
///
/// # Errors
/// The engine's.
pub fn finish_rewind(
    engine: &dyn Engine,
    route: &str,
    place: &mut state::Place,
) -> Result<(), EngineError> {
    let range = (place.cursor.next(), Offset::MAX);
    loop {
        let waiting = state::waiting_offsets(engine, route, range, STEP)?;
        let dead = state::dead(engine, route, range, STEP)?;
        if waiting.is_empty() && dead.is_empty() {
            return Ok(());
        }
        let mut batch = StateBatch::default();
        for (offset, due) in &waiting {
            state::remove_waiting(&mut batch, route, (*due, *offset));
        }
        for (offset, _) in &dead {
            batch.remove(state::dead_key(route, *offset));
        }
        place.waiting = place.waiting.saturating_sub(waiting.len() as u64);
        place.dead = place.dead.saturating_sub(dead.len() as u64);
        batch.put(state::place_key(route), place.encode());
        engine.commit(&batch)?;
    }
}

/// Carries out the rename that the state store says is under way, if any: at once, or at the next
/// start when a crash came between. Each step may be done again.
///
/// # Errors
/// The engine's.
pub fn finish_rename(engine: &dyn Engine) -> Result<(), EngineError> {
    let Some(Renaming { from, to }) = state::renaming(engine)? else {
        return Ok(());
    };
    clear(engine, &to)?;
    copy_entries(engine, &from, &to)?;
    let mut batch = StateBatch::default();
    for key in [state::route_key, state::place_key] {
        let moved = engine.get(&key(&from))?.ok_or_else(|| {
            EngineError::Damaged(format!(
                "route `{from}`, which is being renamed, is not there"
            ))
        })?;
        batch.put(key(&to), moved);
    }
    drop_route(&mut batch, &from);
    batch.remove(state::RENAMING);
    engine.commit(&batch)
}

fn copy_entries(engine: &dyn Engine, from: &str, to: &str) -> Result<(), EngineError> {
    let mut at = 0;
    loop {
        let waiting = state::waiting_offsets(engine, from, (at, Offset::MAX), STEP)?;
        let Some((last, _)) = waiting.last() else {
            break;
        };
        at = last + 1;
        let mut batch = StateBatch::default();
        for (offset, _) in waiting {
            if let Some((due, entry)) = state::waiting_at(engine, from, offset)? {
                state::put_waiting(&mut batch, to, (due, offset), &entry);
            }
        }
        engine.commit(&batch)?;
    }
    let mut at = 0;
    loop {
        let dead = state::dead(engine, from, (at, Offset::MAX), STEP)?;
        let Some((last, _)) = dead.last() else {
            return Ok(());
        };
        at = last + 1;
        let mut batch = StateBatch::default();
        for (offset, letter) in dead {
            batch.put(state::dead_key(to, offset), state::encoded(&letter));
        }
        engine.commit(&batch)?;
    }
}

fn drop_route(batch: &mut StateBatch, route: &str) {
    batch.remove(state::route_key(route));
    batch.remove(state::place_key(route));
}

/// Removes all waiting entries and dead letters under a name.
///
/// # Errors
/// The engine's.
pub fn clear(engine: &dyn Engine, route: &str) -> Result<(), EngineError> {
    while let Some(batch) = leftovers(engine, route)? {
        engine.commit(&batch)?;
    }
    Ok(())
}

/// A text as it fits into the record of an act.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(AUDIT_TEXT_BYTES_MAX)].to_owned()
}

/// A batch that removes some of what a route that is gone left behind; `None` when nothing is left.
///
/// # Errors
/// The engine's.
fn leftovers(engine: &dyn Engine, route: &str) -> Result<Option<StateBatch>, EngineError> {
    let mut batch = StateBatch::default();
    let all = (0, Offset::MAX);
    for (offset, due) in state::waiting_offsets(engine, route, all, STEP)? {
        state::remove_waiting(&mut batch, route, (due, offset));
    }
    for (offset, _) in state::dead(engine, route, all, STEP)? {
        batch.remove(state::dead_key(route, offset));
    }
    Ok((!batch.is_empty()).then_some(batch))
}
