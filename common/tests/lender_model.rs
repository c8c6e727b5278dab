//! Random histories of the lease machine against a model, with crashes and restarts in between.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use creel_common::attempt::Report;
use creel_common::config::{self, Config};
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::ids::{DeliveryId, Offset};
use creel_common::log::local::LocalLog;
use creel_common::log::{
    Actor, Intake, Operate, RewindTo, Selection, Settled, Standing, Work, WorkError,
};
use creel_common::outcome::Outcome;
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::log::{request_for, surroundings};
use creel_common::testkit::sample;
use creel_common::time::Clock;
use proptest::prelude::*;

const LEASE: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(10);
const ATTEMPTS_MAX: u32 = 3;
const LOST_MAX: u32 = 2;

#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Lease(u32),
    Settle {
        lease: usize,
        outcome: u8,
        items: usize,
    },
    Pass(u64),
    Crash,
    Reprocess,
    Discard(usize),
    Rewind(u64),
    Pause,
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..5).prop_map(Step::Append),
        5 => (1u32..6).prop_map(Step::Lease),
        6 => (0usize..4, 0u8..5, 1usize..6).prop_map(|(lease, outcome, items)| Step::Settle { lease, outcome, items }),
        2 => prop_oneof![Just(1u64), Just(11), Just(61)].prop_map(Step::Pass),
        1 => Just(Step::Crash),
        1 => Just(Step::Reprocess),
        1 => (0usize..4).prop_map(Step::Discard),
        1 => (1u64..30).prop_map(Step::Rewind),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
    ]
}

/// Where the model has a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Pending,
    Waiting,
    Open { lease: u64, from_waiting: bool },
    Dead,
    Settled,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    at: At,
    attempts: u32,
    lost: u32,
    revived: u32,
}

struct World {
    engine: Arc<MemoryEngine>,
    log: Arc<LocalLog>,
    clock: Arc<ManualClock>,
    config: Config,
    items: BTreeMap<Offset, Item>,
    /// Leases by age, with the time they end.
    leases: Vec<(u64, Duration)>,
    stale: Vec<(u64, Offset)>,
    epoch: u32,
    paused: bool,
    requests: u64,
}

fn config() -> Config {
    let text = format!(
        "[log]\nengine = \"memory\"\nlease = \"60s\"\nlost_max = {LOST_MAX}\nreserve = \"0B\"\n\
         [sources.s]\nprovider = \"none\"\n[destinations.d]\ntype = \"stdout\"\n\
         [[routes]]\nname = \"r\"\nsource = \"s\"\ndestination = \"d\"\nbreaker = {{ failures = 0 }}\n\
         retry = {{ max_attempts = {ATTEMPTS_MAX}, initial = \"10s\", max = \"10s\" }}\n"
    );
    config::parse(&text, Path::new("creel.toml"), &config::Known::default()).unwrap()
}

fn open(
    engine: &Arc<MemoryEngine>,
    config: &Config,
    clock: &Arc<ManualClock>,
    dice: u64,
) -> Arc<LocalLog> {
    LocalLog::open(engine.clone(), config, surroundings(clock, dice)).unwrap()
}

impl World {
    fn new() -> Self {
        let engine = Arc::new(MemoryEngine::new(MemorySettings::default(), 5));
        let (clock, config) = (Arc::new(ManualClock::default()), config());
        let log = open(&engine, &config, &clock, 0);
        Self {
            engine,
            log,
            clock,
            config,
            items: BTreeMap::new(),
            leases: Vec::new(),
            stale: Vec::new(),
            epoch: 0,
            paused: false,
            requests: 0,
        }
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Append(count) => self.append(count).await,
            Step::Lease(max) => {
                self.lease(max).await;
            }
            Step::Settle {
                lease,
                outcome,
                items,
            } => self.settle(lease, outcome, items).await,
            Step::Pass(secs) => self.pass(Duration::from_secs(secs)).await,
            Step::Crash => self.crash(),
            Step::Reprocess => self.reprocess().await,
            Step::Discard(nth) => self.discard(nth).await,
            Step::Rewind(to) => self.rewind(to).await,
            Step::Pause => {
                self.log.pause("r", Actor::default()).await.unwrap();
                self.paused = true;
            }
            Step::Resume => {
                self.log.resume("r", Actor::default()).await.unwrap();
                self.paused = false;
            }
        }
        self.compare().await;
    }

    async fn append(&mut self, count: u8) {
        for n in 0..count {
            let id = self
                .log
                .append(sample::delivery("s", vec![n], self.clock.wall()))
                .await
                .unwrap()
                .id;
            let fresh = Item {
                at: At::Pending,
                attempts: 0,
                lost: 0,
                revived: 0,
            };
            assert!(
                self.items.insert(id.offset, fresh).is_none(),
                "an offset is used once"
            );
        }
    }

    async fn lease(&mut self, max_items: u32) -> usize {
        self.requests += 1;
        let request = request_for(&self.requests.to_string(), "r", max_items);
        let mut count = 0;
        for lease in self.log.lease(request).await.unwrap() {
            assert!(!self.paused, "a paused route lends nothing");
            assert!(lease.items.len() <= max_items as usize);
            for leased in &lease.items {
                let item = self.items.get_mut(&leased.offset).unwrap();
                assert!(
                    matches!(item.at, At::Pending | At::Waiting),
                    "{} was {:?}",
                    leased.offset,
                    item.at
                );
                assert_eq!(leased.attempt, item.attempts + 1);
                assert_eq!(leased.generation, item.revived + self.epoch);
                assert!(
                    item.lost == 0 || lease.items.len() == 1,
                    "a lost one is leased alone"
                );
                item.at = At::Open {
                    lease: lease.id,
                    from_waiting: item.at == At::Waiting,
                };
            }
            count += lease.items.len();
            self.leases.push((lease.id, self.clock.mono() + LEASE));
        }
        count
    }

    async fn settle(&mut self, nth: usize, outcome: u8, most: usize) {
        let Some(&(lease, _)) = self.leases.get(nth) else {
            return self.settle_stale().await;
        };
        let held = |item: &Item| matches!(item.at, At::Open { lease: l, .. } if l == lease);
        let offsets: Vec<Offset> = self
            .items
            .iter()
            .filter(|(_, item)| held(item))
            .map(|(offset, _)| *offset)
            .take(most)
            .collect();
        let outcome = match outcome {
            0 => Outcome::Delivered,
            1 => Outcome::Retry { after: None },
            2 => Outcome::Reject,
            3 => Outcome::Released,
            _ => Outcome::Filtered,
        };
        let settled = |offset: &Offset| Settled {
            offset: *offset,
            outcome: outcome.clone(),
            report: Report::default(),
        };
        let settled: Vec<_> = offsets.iter().map(settled).collect();
        // a reply may get lost: the worker says it again, and it counts once
        self.log.settle(lease, settled.clone()).await.unwrap();
        self.log.settle(lease, settled).await.unwrap();
        for offset in &offsets {
            self.items.get_mut(offset).unwrap().ended(&outcome);
        }
        if !self.items.values().any(held) {
            self.leases.remove(nth);
        }
    }

    async fn settle_stale(&self) {
        for (lease, offset) in &self.stale {
            let late = Settled {
                offset: *offset,
                outcome: Outcome::Delivered,
                report: Report::default(),
            };
            assert_eq!(
                self.log.settle(*lease, vec![late]).await,
                Err(WorkError::Stale(*lease))
            );
        }
    }

    async fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        for _ in 0..2 {
            self.log.routes().await.unwrap();
        }
        let now = self.clock.mono();
        let ended: Vec<u64> = self
            .leases
            .iter()
            .filter(|(_, ends)| *ends <= now)
            .map(|(id, _)| *id)
            .collect();
        self.leases.retain(|(id, _)| !ended.contains(id));
        for (offset, item) in &mut self.items {
            if let At::Open { lease, .. } = item.at
                && ended.contains(&lease)
            {
                self.stale.push((lease, *offset));
                item.lost += 1;
                item.attempts += 1;
                let dies = item.lost >= LOST_MAX || item.attempts >= ATTEMPTS_MAX;
                item.at = if dies { At::Dead } else { At::Waiting };
            }
        }
    }

    fn void_leases(&mut self) {
        for (offset, item) in &mut self.items {
            if let At::Open {
                lease,
                from_waiting,
            } = item.at
            {
                self.stale.push((lease, *offset));
                item.at = if from_waiting {
                    At::Waiting
                } else {
                    At::Pending
                };
            }
        }
        self.leases.clear();
    }

    fn crash(&mut self) {
        self.void_leases();
        self.engine = Arc::new(self.engine.reopen());
        self.requests += 1000;
        self.log = open(&self.engine, &self.config, &self.clock, self.requests);
    }

    async fn reprocess(&mut self) {
        let all = Selection {
            all: true,
            ..Selection::default()
        };
        let dead = self.items.values_mut().filter(|item| item.at == At::Dead);
        let mut count = 0;
        for item in dead {
            *item = Item {
                at: At::Waiting,
                attempts: 0,
                lost: 0,
                revived: item.revived + 1,
            };
            count += 1;
        }
        assert_eq!(
            self.log
                .reprocess(all, Actor::default())
                .await
                .unwrap()
                .count,
            count
        );
    }

    async fn discard(&mut self, nth: usize) {
        let log = self.log.id();
        let dead = self
            .items
            .iter_mut()
            .filter(|(_, item)| item.at == At::Dead)
            .nth(nth);
        let Some((offset, item)) = dead else { return };
        item.at = At::Settled;
        let one = Selection {
            ids: vec![DeliveryId {
                log,
                offset: *offset,
            }],
            ..Selection::default()
        };
        assert_eq!(
            self.log.discard(one, Actor::default()).await.unwrap().count,
            1
        );
    }

    async fn rewind(&mut self, to: Offset) {
        if self
            .log
            .rewind("r", RewindTo::Offset(to), Actor::default())
            .await
            .is_err()
        {
            // refused: it has not come that far
            return;
        }
        self.void_leases();
        self.epoch += 1;
        for (_, item) in self.items.range_mut(to..) {
            *item = Item {
                at: At::Pending,
                attempts: 0,
                lost: 0,
                revived: 0,
            };
        }
    }

    /// The log and the model agree on where everything is.
    async fn compare(&self) {
        for (offset, item) in &self.items {
            let found = self
                .log
                .show(DeliveryId {
                    log: self.log.id(),
                    offset: *offset,
                })
                .await
                .unwrap();
            let standing = &found.standings[0].1;
            let agrees = match (item.at, standing) {
                (At::Pending, Standing::Pending) | (At::Settled, Standing::Settled) => true,
                (At::Open { .. }, Standing::Open { attempt }) => *attempt == item.attempts + 1,
                (At::Waiting, Standing::Waiting { attempts, due }) => {
                    *attempts == item.attempts && *due <= self.clock.wall().plus(PAUSE_MAX)
                }
                (At::Dead, Standing::Dead { attempts, .. }) => *attempts == item.attempts,
                _ => false,
            };
            assert!(agrees, "{offset}: model {item:?}, log {standing:?}");
        }
        let status = self.log.routes().await.unwrap().remove(0);
        let count =
            |at: fn(&At) -> bool| self.items.values().filter(|item| at(&item.at)).count() as u64;
        assert_eq!(
            status.waiting + status.open,
            count(|at| matches!(at, At::Waiting | At::Open { .. })) + self.open_waiting()
        );
        assert_eq!(status.dead, count(|at| *at == At::Dead));
    }

    /// A leased delivery that had been waiting stands in both numbers.
    fn open_waiting(&self) -> u64 {
        let both = |item: &&Item| {
            matches!(
                item.at,
                At::Open {
                    from_waiting: true,
                    ..
                }
            )
        };
        self.items.values().filter(both).count() as u64
    }

    /// With a destination that works, everything that is not dead is settled in the end.
    async fn drain(&mut self) {
        self.take(&Step::Resume).await;
        while self
            .items
            .values()
            .any(|item| !matches!(item.at, At::Dead | At::Settled))
        {
            self.take(&Step::Pass(61)).await;
            while self.lease(100).await > 0 {}
            while !self.leases.is_empty() {
                self.settle(0, 0, usize::MAX).await;
            }
        }
        self.compare().await;
    }
}

impl Item {
    fn ended(&mut self, outcome: &Outcome) {
        let At::Open { from_waiting, .. } = self.at else {
            return;
        };
        self.at = match outcome {
            Outcome::Delivered | Outcome::Filtered => At::Settled,
            Outcome::Released if from_waiting => At::Waiting,
            Outcome::Released => At::Pending,
            Outcome::Reject => {
                self.attempts += 1;
                At::Dead
            }
            Outcome::Retry { .. } => {
                self.attempts += 1;
                if self.attempts >= ATTEMPTS_MAX {
                    At::Dead
                } else {
                    At::Waiting
                }
            }
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn every_delivery_is_in_exactly_one_place_through_any_history(steps in proptest::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in &steps {
                world.take(step).await;
            }
            world.drain().await;
        });
    }
}

fn cases() -> u32 {
    if std::env::var("CREEL_FAULTS").is_ok_and(|form| form == "long") {
        10_000
    } else {
        96
    }
}
