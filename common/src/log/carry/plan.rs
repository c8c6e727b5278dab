//! The desk's side of carrying over: which volumes, and what must not be missed meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{Carrier, Done, Left, Survey, Volumes};
use crate::engine::{Change, EngineError, StateBatch, VolumeInfo};
use crate::ids::Offset;
use crate::log::keeper::Keeper;
use crate::log::shelf::Shelf;
use crate::log::spans::{Span, coarse};
use crate::log::state;
use crate::time::Timestamp;

/// A volume of which too much is left is looked at again after this, then after twice as long, …
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// … but at least this often.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(3600);
/// The same while the disk is nearly full.
const LOOK_AGAIN_PRESSED: Duration = Duration::from_secs(10);
/// So many small neighbours that were rewritten become one …
const MERGE: usize = 8;
/// … of at most the size of a volume, or this: the smallest database takes 2 MiB.
const MERGED_BYTES: u64 = 64 << 20;

/// What is carried over now, and what was looked at.
pub struct Carrying {
    carrier: Carrier,
    /// Rewritten volumes are merged up to this size.
    volume_bytes: u64,
    plan: Option<Plan>,
    looks: HashMap<u64, Look>,
}

struct Plan {
    volumes: Volumes,
    stage: Stage,
}

enum Stage {
    /// The carrier looks what is left; what became waiting or dead since it was asked, with bits of
    /// sources.
    Surveyed(BTreeMap<Offset, u64>),
    /// An operator moved what was being looked at: the answer is worth nothing.
    Void,
    /// Only what is left counts as there; the spans of what was.
    Carried(Vec<Span>),
}

/// When a volume was looked at in vain.
struct Look {
    at: Duration,
    again_in: Duration,
}

impl Carrying {
    /// Nothing yet.
    pub fn new(carrier: Carrier, volume_bytes: u64) -> Self {
        Self {
            carrier,
            volume_bytes: volume_bytes.max(MERGED_BYTES),
            plan: None,
            looks: HashMap::new(),
        }
    }

    /// Something is under way.
    pub fn is_busy(&self) -> bool {
        self.plan.is_some()
    }

    /// A volume is being looked at or carried over.
    pub fn is_busy_with(&self, volume: &VolumeInfo) -> bool {
        let within = |p: &Plan| p.volumes.first <= volume.number && volume.number <= p.volumes.last;
        self.plan.as_ref().is_some_and(within)
    }

    /// Whether it is time to look at a volume.
    pub fn may_look(&self, volume: &VolumeInfo, now: Duration, is_pressed: bool) -> bool {
        self.looks.get(&volume.number).is_none_or(|look| {
            let wait = match is_pressed {
                true => look.again_in.min(LOOK_AGAIN_PRESSED),
                false => look.again_in,
            };
            now >= look.at + wait
        })
    }

    /// Has it looked what is left of volumes.
    pub fn look(&mut self, survey: Survey) {
        self.plan = Some(Plan {
            volumes: survey.volumes,
            stage: Stage::Surveyed(BTreeMap::new()),
        });
        self.carrier.survey(survey);
    }

    /// Notes what becomes waiting or dead while the carrier looks what is left.
    pub fn note(&mut self, batch: &StateBatch) {
        let Some(Plan {
            volumes,
            stage: Stage::Surveyed(touched),
        }) = &mut self.plan
        else {
            return;
        };
        let (first, end) = volumes.span;
        for change in &batch.0 {
            if let Change::Put(key, _) = change
                && let Some(offset) = state::offset_left(key)
                && first <= offset
                && offset < end
            {
                touched.insert(offset, u64::MAX);
            }
        }
    }

    /// An operator moved a route: what is being looked at has to be looked at again.
    pub fn void(&mut self) {
        if let Some(plan) = &mut self.plan
            && matches!(plan.stage, Stage::Surveyed(_))
        {
            plan.stage = Stage::Void;
        }
    }

    /// Goes on with what the carrier has done.
    pub fn go_on(&mut self, shelf: &Shelf, keeper: &Keeper, now: Duration) {
        let Some(done) = self.carrier.done() else {
            return;
        };
        let Some(plan) = self.plan.take() else {
            return;
        };
        let volumes = plan.volumes;
        match (done, plan.stage) {
            (Done::Surveyed(Ok(Some(left))), Stage::Surveyed(touched)) => {
                self.begin(volumes, left, touched, shelf, keeper);
            }
            (Done::Carried(Ok(())), _) => {
                self.looks.remove(&volumes.first);
                tracing::info!(
                    volume = volumes.first,
                    bytes = volumes.bytes,
                    "what is left of an old volume was carried over"
                );
            }
            (Done::Carried(Err(error)), Stage::Carried(before)) => {
                let (first, end) = volumes.span;
                shelf.replaced(first, end, before);
                self.later(volumes, now, Some(&error));
            }
            (_, Stage::Void) => {}
            (Done::Surveyed(Err(error)), _) => self.later(volumes, now, Some(&error)),
            (_, _) => self.later(volumes, now, None),
        }
    }

    fn begin(
        &mut self,
        volumes: Volumes,
        left: Vec<Left>,
        touched: BTreeMap<Offset, u64>,
        shelf: &Shelf,
        keeper: &Keeper,
    ) {
        let (first, end) = volumes.span;
        let mut all: BTreeMap<Offset, Left> = left.into_iter().map(|l| (l.offset, l)).collect();
        for (offset, sources) in touched {
            all.entry(offset).or_insert(Left {
                offset,
                sources,
                received: (Timestamp(0), Timestamp(u64::MAX)),
            });
        }
        if all.is_empty() {
            shelf.removed(first, end);
            (volumes.first..=volumes.last).for_each(|number| keeper.remove_volume(number));
            return;
        }
        // from now on what is not left counts as gone: no route is set back to it any more
        let before = shelf.replaced(first, end, coarse(all.values().map(Left::span)));
        self.carrier.carry(volumes, all.into_keys().collect());
        self.plan = Some(Plan {
            volumes,
            stage: Stage::Carried(before),
        });
    }

    fn later(&mut self, volumes: Volumes, now: Duration, error: Option<&EngineError>) {
        if let Some(error) = error.filter(|error| !matches!(error, EngineError::Busy(_))) {
            tracing::warn!(
                volume = volumes.first,
                %error,
                "what is left of an old volume could not be carried over; it stays as it is"
            );
        }
        let look = self.looks.entry(volumes.first).or_insert(Look {
            at: now,
            again_in: LOOK_AGAIN / 2,
        });
        look.at = now;
        look.again_in = (look.again_in * 2).min(LOOK_AGAIN_MAX);
    }

    /// Small rewritten neighbours that had better be one, if there are enough of them.
    pub fn mergeable(&self, volumes: &[VolumeInfo]) -> Option<Volumes> {
        volumes
            .split(|volume| !volume.rest)
            .find_map(|run| merge(run, self.volume_bytes))
    }
}

fn merge(run: &[VolumeInfo], bytes_max: u64) -> Option<Volumes> {
    let windows = run.windows(MERGE).map(Volumes::of);
    let mut small = windows.filter(|volumes| volumes.bytes <= bytes_max);
    small.next()
}

impl Volumes {
    /// Neighbours, at least one.
    pub fn of(run: &[VolumeInfo]) -> Self {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        Self {
            first: first.number,
            last: last.number,
            span: (first.first, last.end),
            bytes: run.iter().map(|volume| volume.bytes).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::engine::Engine;
    use crate::engine::memory::{MemoryEngine, MemorySettings};
    use crate::log::account::Account;
    use crate::log::block::{self, Entry};
    use crate::log::bounds::Bounds;
    use crate::log::carry::Charge;
    use crate::log::codec;
    use crate::log::gate::Gate;
    use crate::log::spans::{Spans, source_bit};
    use crate::testkit::sample;

    const COUNT: u64 = 40;

    /// A sealed volume of forty deliveries, and the shelf over it.
    fn volume() -> (Arc<MemoryEngine>, Arc<Shelf>) {
        let settings = MemorySettings {
            volume_bytes: 1,
            ..MemorySettings::default()
        };
        let engine = Arc::new(MemoryEngine::new(settings, 1));
        let entry = |offset: Offset| Entry {
            record: codec::encode(&sample::delivery("s", vec![7; 500], Timestamp(offset))).unwrap(),
            source: "s".into(),
            received_at: Timestamp(offset),
            key: None,
        };
        let entries: Vec<Entry> = (1..=COUNT).map(entry).collect();
        engine.append(&[block::encode(1, &entries)]).unwrap();
        engine
            .append(&[block::encode(COUNT + 1, &entries[..1])])
            .unwrap();
        let mut spans = Spans::default();
        spans.push(Span {
            first: 1,
            end: COUNT + 2,
            count: COUNT + 1,
            sources: source_bit("s"),
            received_min: Timestamp(1),
            received_max: Timestamp(COUNT),
        });
        let shelf = Shelf::new(engine.clone(), COUNT + 2, spans, BTreeSet::new(), 0);
        (engine, Arc::new(shelf))
    }

    /// Looks at the volume, lets `meanwhile` happen, and answers the offsets that are there in the
    /// end.
    fn after(meanwhile: impl FnOnce(&mut Carrying)) -> Vec<Offset> {
        let (engine, shelf) = volume();
        let (carrier, run) = Carrier::new();
        let (keeper, _keep) = Keeper::new(Offset::MAX);
        let mut carrying = Carrying::new(carrier, 0);
        let first = engine.volumes()[0].clone();
        carrying.look(Survey {
            volumes: Volumes::of(&[first]),
            lanes: Vec::new(),
            unrouted: Vec::new(),
            merges: false,
        });
        meanwhile(&mut carrying);
        let charge = Charge {
            gate: Arc::new(Gate::new(
                engine.clone(),
                Bounds::default(),
                Arc::new(Account::default()),
            )),
            engine: engine.clone(),
            shelf: shelf.clone(),
        };
        let thread = std::thread::spawn(move || run(charge));
        while carrying.is_busy() {
            carrying.go_on(&shelf, &keeper, Duration::ZERO);
            std::thread::yield_now();
        }
        drop(carrying);
        thread.join().unwrap();
        let blocks = engine.read(0, usize::MAX).unwrap();
        blocks.iter().flat_map(|b| b.first..b.end()).collect()
    }

    #[test]
    fn what_becomes_waiting_or_dead_while_it_is_looked_for_is_left() {
        let there = after(|carrying| {
            let mut batch = StateBatch::default();
            batch.put(state::dead_key("r", 17), "dead");
            batch.put(state::due_key("r", 23), "due");
            // not in the volume, gone, and no place of a delivery
            batch.put(state::dead_key("r", COUNT + 1), "dead");
            batch.remove(state::dead_key("r", 5));
            batch.put(state::place_key("r"), 9u64.to_be_bytes());
            carrying.note(&batch);
        });
        assert_eq!(there, [17, 23, COUNT + 1]);
    }

    #[test]
    fn a_look_that_is_void_changes_nothing() {
        let there = after(Carrying::void);
        assert_eq!(there.len() as u64, COUNT + 1);
    }
}
