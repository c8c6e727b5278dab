//! What is left of old volumes is carried over: nothing of it is lost, and the rest goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use creel_common::engine::Engine;
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::ids::{DeliveryId, Offset};
use creel_common::log::{Actor, Find, Intake, Operate, RewindTo, Selection, Standing};
use creel_common::outcome::Outcome;
use creel_common::testkit::sample;
use creel_common::time::Clock;
use proptest::prelude::*;

use crate::subject::{HOUR, Subject, config};

/// About twenty deliveries of 2000 bytes fill a volume.
const VOLUMES_OF_TWENTY: MemorySettings = MemorySettings {
    volume_bytes: 42_000,
    attempts_bytes: 1 << 20,
    block_bytes_best: 28 * 1024,
};

fn fresh(routes: &[&str]) -> Subject {
    Subject::open(MemoryEngine::new(VOLUMES_OF_TWENTY, 5), routes)
}

fn body(offset: Offset) -> Vec<u8> {
    format!("{offset:>2000}").into_bytes()
}

impl Subject {
    /// Appends a delivery whose body tells its offset.
    async fn append_telling(&self, source: &str, offset: Offset) {
        let delivery = sample::delivery(source, body(offset), self.clock.wall());
        let appended = self.log.append(delivery).await.unwrap();
        assert_eq!(appended.id.offset, offset);
    }

    /// Every offset that can be read, each with the right body.
    fn readable(&self) -> BTreeSet<Offset> {
        let mut found = BTreeSet::new();
        for stored in self.engine.read(0, usize::MAX).unwrap() {
            let block = creel_common::log::block::Block::open(&stored).unwrap();
            for offset in block.first()..block.end() {
                let record = block.record(offset).unwrap();
                let delivery = creel_common::log::codec::decode(&record).unwrap();
                assert_eq!(delivery.body, body(offset), "{offset}");
                assert!(found.insert(offset), "{offset} is there twice");
            }
        }
        found
    }

    /// Lets the desk keep house until `done`.
    async fn keep_house_until(&self, what: &str, done: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(30);
        while !done() {
            assert!(
                Instant::now() < until,
                "{what}: {:?}",
                self.engine.volumes()
            );
            self.clock.advance(Duration::from_secs(6));
            self.log.routes().await.unwrap();
        }
    }

    /// The dead letters at an offset.
    fn dead(&self, offset: Offset) -> Selection {
        let log = self.log.id();
        Selection {
            ids: vec![DeliveryId { log, offset }],
            ..Selection::default()
        }
    }

    fn rests(&self) -> usize {
        self.engine.volumes().iter().filter(|v| v.rest).count()
    }
}

fn actor() -> Actor {
    Actor::default()
}

#[tokio::test]
async fn what_waits_is_dead_or_has_no_route_is_carried_over_and_all_else_goes() {
    let subject = fresh(&["r"]);
    for offset in 1..=30 {
        let source = if offset == 7 { "unrouted" } else { "s" };
        subject.append_telling(source, offset).await;
    }
    let first = subject.engine.volumes()[0].clone();
    assert!((16..=24).contains(&first.end), "{first:?}");
    let outcome = |offset| match offset {
        3 | 4 => Outcome::Reject,
        12 => Outcome::Retry { after: None },
        _ => Outcome::Delivered,
    };
    subject.settle("r", 30, outcome).await;
    subject.clock.advance(2 * HOUR);
    subject
        .keep_house_until("carried over", || subject.rests() == 1)
        .await;
    let kept = |o: &Offset| matches!(o, 3 | 4 | 7 | 12) || *o >= first.end;
    let wanted: BTreeSet<Offset> = (1..=30).filter(kept).collect();
    assert_eq!(subject.readable(), wanted);
    let volumes = subject.engine.volumes();
    assert!(volumes[0].bytes * 3 < first.bytes, "{volumes:?}");
    // what is left can be found, tried again and settled, also after a restart
    let subject = Subject::open(subject.engine.reopen(), &["r"]);
    let page = subject.log.find(Find::default()).await.unwrap();
    let found: BTreeSet<Offset> = page.items.iter().map(|f| f.id.offset).collect();
    assert_eq!(found, wanted);
    let all = Selection {
        all: true,
        ..Selection::default()
    };
    let revived = subject.log.reprocess(all, actor()).await.unwrap();
    assert_eq!(revived.count, 2);
    subject.clock.advance(2 * HOUR);
    let leased = subject.lease("r", 10).await;
    let leased: Vec<_> = leased.into_iter().flat_map(|lease| lease.items).collect();
    let offsets: BTreeSet<Offset> = leased.iter().map(|item| item.offset).collect();
    assert_eq!(offsets, BTreeSet::from([3, 4, 12]));
    for item in leased {
        let delivery = creel_common::log::codec::decode(&item.record).unwrap();
        assert_eq!(delivery.body, body(item.offset));
    }
}

#[tokio::test]
async fn a_paused_route_of_a_quiet_source_does_not_pin_a_busy_ones_volumes() {
    let subject = fresh(&["r", "other:quiet"]);
    for offset in 1..=60 {
        let source = if offset % 15 == 0 { "quiet" } else { "s" };
        subject.append_telling(source, offset).await;
    }
    let newest = subject.engine.volumes().last().unwrap().first;
    subject.settle("r", 60, |_| Outcome::Delivered).await;
    subject.clock.advance(2 * HOUR);
    let left = |o: &Offset| o.is_multiple_of(15) || *o >= newest;
    let wanted: BTreeSet<Offset> = (1..=60).filter(left).collect();
    subject
        .keep_house_until("carried over", || subject.readable() == wanted)
        .await;
    subject.settle("other", 60, |_| Outcome::Delivered).await;
    let wanted = (newest..=60).collect();
    subject
        .keep_house_until("gone", || subject.readable() == wanted)
        .await;
}

#[tokio::test]
async fn a_volume_of_which_most_is_left_stays_as_it_is() {
    let subject = fresh(&["r"]);
    for offset in 1..=30 {
        subject.append_telling("s", offset).await;
    }
    let outcome = |offset| match offset % 2 {
        0 => Outcome::Reject,
        _ => Outcome::Delivered,
    };
    subject.settle("r", 30, outcome).await;
    subject.clock.advance(2 * HOUR);
    for _ in 0..50 {
        subject.clock.advance(Duration::from_secs(6));
        subject.log.routes().await.unwrap();
    }
    subject.log.clone().close().await.unwrap();
    assert_eq!((subject.rests(), subject.readable().len()), (0, 30));
}

#[tokio::test]
async fn many_small_ones_become_one() {
    let subject = fresh(&["r"]);
    for offset in 1..=400 {
        subject.append_telling("s", offset).await;
    }
    let newest = subject.engine.volumes().last().unwrap().first;
    let dead = |offset: Offset| offset % 10 == 3;
    for _ in 0..4 {
        let outcome = |offset| match dead(offset) {
            true => Outcome::Reject,
            false => Outcome::Delivered,
        };
        subject.settle("r", 100, outcome).await;
    }
    let wanted: BTreeSet<Offset> = (1..=400).filter(|&o| dead(o) || o >= newest).collect();
    subject.clock.advance(2 * HOUR);
    subject
        .keep_house_until("merged", || {
            let count = subject.engine.volumes().len();
            count <= 9 && subject.readable() == wanted
        })
        .await;
    // all discarded: all goes
    let all = Selection {
        all: true,
        ..Selection::default()
    };
    let before = wanted.iter().filter(|&&o| dead(o)).count() as u64;
    let discarded = subject.log.discard(all, actor()).await.unwrap();
    assert_eq!(discarded.count, before);
    subject
        .keep_house_until("gone", || subject.engine.volumes().len() == 1)
        .await;
}

/// What a random history does.
#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    /// Leases some and lets each end as its offset and this say.
    Settle(u32, u64),
    Reprocess(Offset),
    Discard(Offset),
    Rewind(Offset),
    Advance(u64),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u8..40).prop_map(Step::Append),
        4 => (1u32..60, any::<u64>()).prop_map(|(n, dice)| Step::Settle(n, dice)),
        1 => (1u64..200).prop_map(Step::Reprocess),
        1 => (1u64..200).prop_map(Step::Discard),
        1 => (1u64..200).prop_map(Step::Rewind),
        4 => (1u64..200).prop_map(Step::Advance),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Where every delivery stands that is not settled, and that each of them can be read.
async fn assert_all_left_is_there(subject: &Subject) {
    let readable = subject.readable();
    let mut from = None;
    let mut standings = BTreeMap::new();
    loop {
        let find = Find {
            from,
            limit: 1000,
            ..Find::default()
        };
        let page = subject.log.find(find).await.unwrap();
        for found in page.items {
            standings.insert(found.id.offset, found.standings);
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    let status = &subject.log.routes().await.unwrap()[0];
    let count = |wanted: fn(&Standing) -> bool| {
        let all = standings.values().flatten();
        all.filter(|(_, standing)| wanted(standing)).count() as u64
    };
    let dead = count(|s| matches!(s, Standing::Dead { .. }));
    assert_eq!(dead, status.dead, "each dead letter has its delivery");
    let waiting = count(|s| matches!(s, Standing::Waiting { .. } | Standing::Open { .. }));
    assert!(waiting >= status.waiting, "{waiting} of {}", status.waiting);
    assert!(standings.keys().all(|offset| readable.contains(offset)));
}

async fn play(steps: Vec<Step>) {
    let mut subject = fresh(&["r"]);
    let (mut next, mut looked_at) = (1, 0);
    for step in steps {
        match step {
            Step::Append(count) => {
                for _ in 0..count {
                    subject.append_telling("s", next).await;
                    next += 1;
                }
            }
            Step::Settle(count, dice) => {
                let outcome = |offset: Offset| match (offset ^ dice) % 11 {
                    0 => Outcome::Reject,
                    1 => Outcome::Retry { after: None },
                    2 => Outcome::Released,
                    _ => Outcome::Delivered,
                };
                subject.settle("r", count, outcome).await;
                looked_at = next - 1;
            }
            Step::Reprocess(offset) => {
                let _ = subject.log.reprocess(subject.dead(offset), actor()).await;
            }
            Step::Discard(offset) => {
                let _ = subject.log.discard(subject.dead(offset), actor()).await;
            }
            Step::Rewind(to) => {
                let to = RewindTo::Offset(to);
                let _ = subject.log.rewind("r", to, actor()).await;
            }
            Step::Advance(minutes) => {
                subject.clock.advance(Duration::from_secs(60 * minutes));
                subject.log.routes().await.unwrap();
            }
            Step::Restart => {
                subject.log.clone().close().await.unwrap();
                let (engine, clock) = (subject.engine.reopen(), subject.clock.clone());
                subject = Subject::open_with(engine, &config("", "", &["r"]), clock);
            }
        }
        assert_all_left_is_there(&subject).await;
        let ahead = subject.log.routes().await.unwrap()[0]
            .floor
            .max(looked_at + 1);
        assert!((ahead..next).all(|offset| subject.readable().contains(&offset)));
    }
}

/// So many histories; with `CREEL_FAULTS=long` far more.
fn cases() -> u32 {
    match std::env::var("CREEL_FAULTS") {
        Ok(form) if form == "long" => 1000,
        _ => 12,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_that_is_left_is_ever_missing(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}
