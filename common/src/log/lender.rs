//! The lender: the one decider of what is tried when, for all routes and workers.
//!
//! ```text
//!            lease                     settle: delivered, filtered
//!  pending ─────────► open ──────────────────────────────────────────► settled
//!     ▲  released       │  retry, lost            no attempts left
//!     └─────────────────┤─────────────► waiting ─────────────────────► dead
//!                       │  reject          │ due: lease                  │
//!                       └──────────────────┼───────────────────────────► │
//!                                          └◄──────── reprocess ─────────┘
//! ```
//!
//! It holds no clock and no dice, and never waits: its owner (`desk`)
//! hands in both and writes the changes it asks for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::attempt::{Attempt, Report};
use crate::engine::{EngineError, StateBatch};
use crate::ids::Offset;
use crate::log::decide::Ended;
use crate::log::lane::{Lane, Now, Scene, Taken, Tally, Try};
use crate::log::shelf::Shelf;
use crate::log::{
    LEASE_BYTES_MAX, LEASE_ITEMS_MAX, Lease, LeaseRequest, Leased, Settled, Want, WorkError,
};
use crate::outcome::Verdict;

/// Ended leases are remembered this long, so that a repeated settle can be told from a stale one.
const ENDED_KEPT: Duration = Duration::from_secs(120);
/// Most leases one worker's request may hold open; beyond it nothing is lent to it.
const LEASES_MAX: usize = 65_536;

struct Held {
    route: String,
    request: String,
    items: BTreeSet<Offset>,
    ends: Duration,
}

/// What has to be written and told after something happened.
#[derive(Debug, Default)]
pub struct Effects {
    /// Changes of the state store.
    pub batch: StateBatch,
    /// Attempts to keep.
    pub attempts: Vec<Attempt>,
    /// Dead letters made, as route names.
    pub died: Vec<String>,
}

/// All routes and all leases.
pub struct Lender {
    lanes: BTreeMap<String, Lane>,
    leases: HashMap<u64, Held>,
    ended: HashMap<u64, Duration>,
    requests: HashMap<String, Vec<u64>>,
    next_lease: u64,
    lease_time: Duration,
}

impl Lender {
    /// A lender with its routes. `boot` are random bits, so that leases of different runs differ.
    pub fn new(lanes: impl IntoIterator<Item = Lane>, lease_time: Duration, boot: u64) -> Self {
        Self {
            lanes: lanes
                .into_iter()
                .map(|lane| (lane.name().to_owned(), lane))
                .collect(),
            leases: HashMap::new(),
            ended: HashMap::new(),
            requests: HashMap::new(),
            next_lease: boot & !0xffff_ffff,
            lease_time,
        }
    }

    /// A route.
    pub fn lane(&self, route: &str) -> Option<&Lane> {
        self.lanes.get(route)
    }

    /// A route, to change it.
    pub fn lane_mut(&mut self, route: &str) -> Option<&mut Lane> {
        self.lanes.get_mut(route)
    }

    /// All routes, by name.
    pub fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.values()
    }

    /// Adds a route or takes one away.
    pub fn set_lane(&mut self, route: &str, lane: Option<Lane>) {
        match lane {
            Some(lane) => self.lanes.insert(route.to_owned(), lane),
            None => self.lanes.remove(route),
        };
    }

    /// Leases what there is now, perhaps nothing. The same request again gets the same leases.
    ///
    /// # Errors
    /// [`WorkError::NoRoute`]; [`WorkError::Unavailable`] when the engine fails.
    pub fn lease(
        &mut self,
        request: &LeaseRequest,
        shelf: &Shelf,
        now: Now,
    ) -> Result<Vec<Lease>, WorkError> {
        let unavailable = |e: EngineError| WorkError::Unavailable(e.to_string());
        if let Some(ids) = self.requests.get(&request.request).cloned() {
            return self.again(&ids, shelf, now).map_err(unavailable);
        }
        if let Some(want) = request
            .wants
            .iter()
            .find(|want| self.configured(&want.route).is_none())
        {
            return Err(WorkError::NoRoute(want.route.clone()));
        }
        let mut leases = Vec::new();
        let mut failed = None;
        for want in &request.wants {
            if self.leases.len() >= LEASES_MAX {
                break;
            }
            // one route's trouble is not the others': what they have is lent all the same
            match self.lease_one(want, &request.request, shelf, now) {
                Ok(lease) => leases.extend(lease),
                Err(error) => {
                    tracing::error!(route = want.route, %error, "cannot lend");
                    failed = Some(error);
                }
            }
        }
        if let Some(error) = failed.filter(|_| leases.is_empty()) {
            return Err(unavailable(error));
        }
        if !leases.is_empty() {
            self.requests.insert(
                request.request.clone(),
                leases.iter().map(|lease| lease.id).collect(),
            );
        }
        Ok(leases)
    }

    /// Whether lending of these routes reads waiting entries from the state store.
    pub fn reads_store<'a>(&self, mut routes: impl Iterator<Item = &'a str>) -> bool {
        routes.any(|route| self.configured(route).is_some_and(Lane::reads_store))
    }

    fn configured(&self, route: &str) -> Option<&Lane> {
        self.lanes.get(route).filter(|lane| lane.config().is_some())
    }

    fn lease_one(
        &mut self,
        want: &Want,
        request: &str,
        shelf: &Shelf,
        now: Now,
    ) -> Result<Option<Lease>, EngineError> {
        let Some(lane) = self.lanes.get_mut(&want.route) else {
            return Ok(None);
        };
        let items = want.max_items.min(LEASE_ITEMS_MAX) as usize;
        let taken = lane.take(shelf, now, items, want.max_bytes.min(LEASE_BYTES_MAX))?;
        if taken.is_empty() {
            return Ok(None);
        }
        self.next_lease += 1;
        let id = self.next_lease;
        let held = Held {
            route: want.route.clone(),
            request: request.to_owned(),
            items: taken.iter().map(|item| item.offset).collect(),
            ends: now.mono + self.lease_time,
        };
        self.leases.insert(id, held);
        Ok(Some(lease(id, &want.route, self.lease_time, taken)))
    }

    fn again(&self, ids: &[u64], shelf: &Shelf, now: Now) -> Result<Vec<Lease>, EngineError> {
        let mut leases = Vec::new();
        for (&id, held) in ids.iter().filter_map(|id| self.leases.get_key_value(id)) {
            let Some(lane) = self.lanes.get(&held.route) else {
                continue;
            };
            let mut items = Vec::new();
            for &offset in &held.items {
                items.extend(lane.again(shelf, offset)?);
            }
            leases.push(lease(
                id,
                &held.route,
                held.ends.saturating_sub(now.mono),
                items,
            ));
        }
        Ok(leases)
    }

    /// Makes a lease hold anew. Answers for how long.
    ///
    /// # Errors
    /// [`WorkError::Stale`].
    pub fn extend(&mut self, lease: u64, now: Now) -> Result<Duration, WorkError> {
        let held = self.leases.get_mut(&lease);
        held.ok_or(WorkError::Stale(lease))?.ends = now.mono + self.lease_time;
        Ok(self.lease_time)
    }

    /// Applies what a worker says of some or all deliveries of a lease. What it no longer holds was
    /// settled by an earlier call, and is passed over.
    ///
    /// # Errors
    /// [`WorkError::Stale`]: nothing changed.
    pub fn settle(
        &mut self,
        lease: u64,
        settled: Vec<Settled>,
        shelf: &Shelf,
        now: Now,
        dice: &mut dyn FnMut() -> f64,
        effects: &mut Effects,
    ) -> Result<(), WorkError> {
        // a lease holds until `expire` has ended it: a word that waited in line is not late
        let Some(held) = self.leases.get_mut(&lease) else {
            return if self.ended.contains_key(&lease) {
                Ok(())
            } else {
                Err(WorkError::Stale(lease))
            };
        };
        let Some(lane) = self.lanes.get_mut(&held.route) else {
            return Err(WorkError::Stale(lease));
        };
        for one in settled {
            if held.items.remove(&one.offset) {
                land(
                    lane,
                    one,
                    Scene {
                        shelf,
                        now,
                        dice: dice(),
                    },
                    effects,
                );
            }
        }
        if held.items.is_empty() {
            self.end(lease);
            self.ended.insert(lease, now.mono + ENDED_KEPT);
        }
        Ok(())
    }

    fn end(&mut self, lease: u64) -> Option<Held> {
        let held = self.leases.remove(&lease)?;
        if let Some(ids) = self.requests.get_mut(&held.request) {
            ids.retain(|id| *id != lease);
            if ids.is_empty() {
                self.requests.remove(&held.request);
            }
        }
        Some(held)
    }

    /// Forgets leases that ended long ago.
    pub fn forget_ended(&mut self, now: Now) {
        self.ended.retain(|_, forget| *forget > now.mono);
    }

    /// Ends the leases whose time is over: each of their deliveries is a lost try.
    pub fn expire(
        &mut self,
        shelf: &Shelf,
        now: Now,
        dice: &mut dyn FnMut() -> f64,
        effects: &mut Effects,
    ) {
        let over: Vec<u64> = self
            .leases
            .iter()
            .filter(|(_, held)| held.ends <= now.mono)
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            let Some(held) = self.end(id) else { continue };
            let Some(lane) = self.lanes.get_mut(&held.route) else {
                continue;
            };
            tracing::warn!(
                lease = id,
                route = held.route,
                deliveries = held.items.len(),
                "a lease ended without a word"
            );
            for offset in held.items {
                lose(
                    lane,
                    offset,
                    Scene {
                        shelf,
                        now,
                        dice: dice(),
                    },
                    effects,
                );
            }
        }
    }

    /// Voids all leases of a route; what they held is as if it had not been leased.
    pub fn void(&mut self, route: &str) {
        let void: Vec<u64> = self
            .leases
            .iter()
            .filter(|(_, held)| held.route == route)
            .map(|(id, _)| *id)
            .collect();
        for id in void {
            self.end(id);
        }
        if let Some(lane) = self.lanes.get_mut(route) {
            lane.void();
        }
    }

    /// Writes the cursors under which something came down, or with `all` every one that has moved.
    pub fn write(&mut self, all: bool, batch: &mut StateBatch) {
        for lane in self.lanes.values_mut() {
            lane.write(all, batch);
        }
    }

    /// Whether anything is leased.
    pub fn has_leases(&self) -> bool {
        !self.leases.is_empty()
    }
}

fn lease(id: u64, route: &str, expires_in: Duration, taken: Vec<Taken>) -> Lease {
    let leased = |item: Taken| Leased {
        offset: item.offset,
        attempt: item.attempt,
        generation: item.generation,
        record: item.record,
    };
    Lease {
        id,
        route: route.to_owned(),
        expires_in,
        items: taken.into_iter().map(leased).collect(),
    }
}

/// Applies what a worker says of one delivery.
fn land(lane: &mut Lane, one: Settled, scene: Scene<'_>, effects: &mut Effects) {
    let verdict = Verdict::from(&one.outcome);
    let tried = Try {
        offset: one.offset,
        ended: Ended::Said(one.outcome),
        error: one.report.error.as_deref(),
        status: one.report.status,
    };
    if let Some(tally) = lane.land(&tried, scene, &mut effects.batch) {
        note(lane, one.offset, tally, verdict, one.report, effects);
    }
}

/// Applies that nothing was said of one delivery.
fn lose(lane: &mut Lane, offset: Offset, scene: Scene<'_>, effects: &mut Effects) {
    let tried = Try {
        offset,
        ended: Ended::Lost,
        error: None,
        status: None,
    };
    if let Some(tally) = lane.land(&tried, scene, &mut effects.batch) {
        let report = Report {
            started_at: scene.now.wall,
            ..Report::default()
        };
        note(lane, offset, tally, Verdict::Lost, report, effects);
    }
}

fn note(
    lane: &Lane,
    offset: Offset,
    tally: Tally,
    verdict: Verdict,
    report: Report,
    effects: &mut Effects,
) {
    let route = lane.name().to_owned();
    if tally.died {
        effects.died.push(route.clone());
    }
    effects.attempts.push(Attempt {
        offset,
        route,
        number: tally.attempt,
        verdict,
        report,
    });
}
