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
