//! What is left of a volume: what waits, is dead, is in the air, or has not been looked at yet.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::Volumes;
use crate::engine::{Engine, EngineError};
use crate::ids::Offset;
use crate::log::codec;
use crate::log::lane::Lane;
use crate::log::shelf::Shelf;
use crate::log::spans::{Span, source_bit};
use crate::log::state;
use crate::time::Timestamp;

/// Entries of the state store that are read at once.
const STEP: usize = 2000;
/// A volume is worth carrying over when at most this part of its deliveries is left: then the disk
/// never holds more than so many times what is left.
const PART: u64 = 3;

/// A route, as far as it says what is left.
#[derive(Debug, Clone)]
pub struct LaneView {
    name: String,
    source: String,
    bit: u64,
    /// It has not looked at anything from here on.
    next: Offset,
    air: Vec<Offset>,
}

impl From<&Lane> for LaneView {
    fn from(lane: &Lane) -> Self {
        Self {
            name: lane.name().to_owned(),
            source: lane.record().source.clone(),
            bit: lane.bit(),
            next: lane.cursor().next(),
            air: lane.cursor().air().collect(),
        }
    }
}

/// A source without a route, and from where on it has none.
#[derive(Debug, Clone)]
pub struct Unrouted {
    /// The source.
    pub source: Arc<str>,
    /// What is below had a route that was forgotten.
    pub floor: Offset,
}

/// More are never carried over at once: what is left is listed in memory, 70 bytes each.
const LEFT_MAX: u64 = 500_000;
/// After so many deliveries of which most are left, the others are not looked at.
const SAMPLE: u64 = 4096;

/// A question: what is left of these volumes?
pub struct Survey {
    /// These.
    pub volumes: Volumes,
    /// All routes, configured or not, as of now.
    pub lanes: Vec<LaneView>,
    /// All sources without a route.
    pub unrouted: Vec<Unrouted>,
    /// Whatever is left is worth it: the volumes are small and become one.
    pub merges: bool,
}

/// A delivery that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Its offset.
    pub offset: Offset,
    /// Bits of the sources that it may be of.
    pub sources: u64,
    /// Earliest and latest time at which it may have been received.
    pub received: (Timestamp, Timestamp),
}

impl Left {
    /// As a span of its own.
    pub fn span(&self) -> Span {
        Span {
            first: self.offset,
            end: self.offset + 1,
            count: 1,
            sources: self.sources,
            received_min: self.received.0,
            received_max: self.received.1,
        }
    }
}

/// What was found, and how much of it is too much.
struct Found {
    left: BTreeMap<Offset, Left>,
    most: usize,
}

impl Found {
    fn add(&mut self, left: Left) {
        let known = self.left.entry(left.offset).or_insert(left);
        known.sources |= left.sources;
    }

    fn is_too_much(&self) -> bool {
        self.left.len() > self.most
    }

    /// Gives up a volume of which most of what was looked at is left.
    fn judge(&mut self, left: u64, looked_at: u64) {
        if self.most < usize::MAX && looked_at >= SAMPLE && left * 3 > looked_at * 2 {
            self.most = 0;
        }
    }
}

impl Survey {
    /// Answers what is left, in order; `None` when it is too much to be worth it.
    ///
    /// # Errors
    /// The engine's. [`EngineError::Damaged`]: not all of the volume can be read, so that it is left
    /// as it is.
    pub fn look(
        &self,
        shelf: &Shelf,
        engine: &dyn Engine,
    ) -> Result<Option<Vec<Left>>, EngineError> {
        let (first, end) = self.volumes.span;
        let Some(all) = shelf.spans().fold(first, end) else {
            return Ok(Some(Vec::new()));
        };
        let most = match self.merges {
            true => usize::MAX,
            false => (shelf.spans().count_in(first, end) / PART).min(LEFT_MAX) as usize,
        };
        let mut found = Found {
            left: BTreeMap::new(),
            most,
        };
        let received = (all.received_min, all.received_max);
        for lane in &self.lanes {
            let in_air = lane.air.iter().filter(|o| (first..end).contains(*o));
            in_air.for_each(|&offset| {
                found.add(Left {
                    offset,
                    sources: lane.bit,
                    received,
                });
            });
            self.look_at_waiting(engine, lane, received, &mut found)?;
            self.look_at_dead(engine, lane, &mut found)?;
            if found.is_too_much() {
                return Ok(None);
            }
        }
        for (source, from) in self.ahead() {
            look_ahead(shelf, &source, (from, end), &mut found)?;
            if found.is_too_much() {
                return Ok(None);
            }
        }
        Ok(Some(found.left.into_values().collect()))
    }

    fn look_at_waiting(
        &self,
        engine: &dyn Engine,
        lane: &LaneView,
        received: (Timestamp, Timestamp),
        found: &mut Found,
    ) -> Result<(), EngineError> {
        self.look_in_steps(found, |span| {
            let waiting = state::waiting_offsets(engine, &lane.name, span, STEP)?;
            let left = waiting.into_iter().map(|(offset, _)| Left {
                offset,
                sources: lane.bit,
                received,
            });
            Ok(left.collect())
        })
    }

    fn look_at_dead(
        &self,
        engine: &dyn Engine,
        lane: &LaneView,
        found: &mut Found,
    ) -> Result<(), EngineError> {
        self.look_in_steps(found, |span| {
            let dead = state::dead(engine, &lane.name, span, STEP)?;
            let left = dead.into_iter().map(|(offset, letter)| Left {
                offset,
                sources: lane.bit,
                received: (letter.received_at, letter.received_at),
            });
            Ok(left.collect())
        })
    }

    /// Adds what `look` answers: the next of what is left in a span, in order, or nothing.
    fn look_in_steps(
        &self,
        found: &mut Found,
        look: impl Fn((Offset, Offset)) -> Result<Vec<Left>, EngineError>,
    ) -> Result<(), EngineError> {
        let (mut at, end) = self.volumes.span;
        while !found.is_too_much() {
            let left = look((at, end))?;
            let Some(last) = left.last() else {
                break;
            };
            at = last.offset + 1;
            left.into_iter().for_each(|left| found.add(left));
        }
        Ok(())
    }

    /// From where on what is there of a source is left, for those of which that is in the volumes.
    fn ahead(&self) -> BTreeMap<String, Offset> {
        let (first, end) = self.volumes.span;
        let lanes = self.lanes.iter().map(|l| (l.source.clone(), l.next));
        let unrouted = self.unrouted.iter();
        let unrouted = unrouted.map(|u| (u.source.to_string(), u.floor));
        let mut ahead: BTreeMap<String, Offset> = BTreeMap::new();
        for (source, from) in lanes.chain(unrouted).filter(|(_, from)| *from < end) {
            let known = ahead.entry(source).or_insert(Offset::MAX);
            *known = (*known).min(from.max(first));
        }
        ahead
    }
}

/// Adds every delivery of a source in `from .. end`.
fn look_ahead(
    shelf: &Shelf,
    source: &str,
    (from, end): (Offset, Offset),
    found: &mut Found,
) -> Result<(), EngineError> {
    let bit = source_bit(source);
    if !shelf.spans().may_hold(from, end, bit) {
        return Ok(());
    }
    let before = found.left.len();
    let mut looked_at = 0;
    let scanned = shelf.scan(from, bit, &mut |offset, block| {
        if offset >= end || found.is_too_much() {
            return ControlFlow::Break(());
        }
        looked_at += 1;
        found.judge((found.left.len() - before) as u64, looked_at);
        let envelope = block.peek(offset).map(codec::envelope);
        match envelope {
            Some(Ok(envelope)) if envelope.source != source => {}
            envelope => {
                // in doubt it is left
                let at = envelope.and_then(Result::ok).map(|e| e.received_at);
                found.add(Left {
                    offset,
                    sources: bit,
                    received: at.map_or((Timestamp(0), Timestamp(u64::MAX)), |at| (at, at)),
                });
            }
        }
        ControlFlow::Continue(())
    })?;
    match scanned.damaged {
        Some((first, _)) if first < end => Err(EngineError::Damaged(format!(
            "offsets from {first} on cannot be read"
        ))),
        _ => Ok(()),
    }
}
