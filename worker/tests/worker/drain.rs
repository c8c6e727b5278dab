//! What a worker does with leases, whatever happens around it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use creel_common::config::Route;
use creel_common::log::Work;
use creel_common::outcome::Outcome;
use creel_common::time::SystemClock;
use creel_worker::destinations::{Attempted, Destination, Item};
use creel_worker::{Counts, Destinations, Settings, Worker};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake::{FakeWork, Faults};
use crate::sample::{route, unique};

const MINUTE: Duration = Duration::from_secs(60);
const RETRY: Outcome = Outcome::Retry { after: None };

/// A destination that does what its function says, and counts.
struct Scripted<F> {
    does: F,
    batch_max: usize,
    parallel: usize,
}

#[async_trait]
impl<F> Destination for Scripted<F>
where
    F: Fn(&[Item]) -> Vec<Attempted> + Send + Sync + 'static,
{
    async fn deliver(&self, batch: &[Item]) -> Vec<Attempted> {
        (self.does)(batch)
    }

    fn batch_max(&self) -> usize {
        self.batch_max
    }

    fn parallel(&self) -> usize {
        self.parallel
    }
}

fn takes_all() -> Arc<dyn Destination> {
    Arc::new(Scripted {
        does: |batch: &[Item]| vec![Attempted::delivered(); batch.len()],
        batch_max: 100,
        parallel: 4,
    })
}

/// A destination that answers when it is let.
struct Gate {
    open: Arc<Semaphore>,
    inside: AtomicUsize,
    parallel: usize,
}

impl Gate {
    fn closed(parallel: usize) -> Arc<Self> {
        Arc::new(Self {
            open: Arc::new(Semaphore::new(0)),
            inside: AtomicUsize::new(0),
            parallel,
        })
    }

    fn let_through(&self, count: usize) {
        self.open.add_permits(count);
    }

    async fn until_inside(&self, count: usize) {
        let started = Instant::now();
        while self.inside.load(Ordering::SeqCst) < count {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "they never came in"
            );
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl Destination for Gate {
    async fn deliver(&self, batch: &[Item]) -> Vec<Attempted> {
        self.inside.fetch_add(batch.len(), Ordering::SeqCst);
        self.open.acquire().await.unwrap().forget();
        vec![Attempted::delivered(); batch.len()]
    }

    fn batch_max(&self) -> usize {
        1
    }

    fn parallel(&self) -> usize {
        self.parallel
    }
}

/// A worker that runs, and how to stop it.
pub struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Counts>,
}

impl Running {
    pub async fn stop(self) -> Counts {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(30), self.task)
            .await
            .expect("it did not stop")
            .unwrap()
    }
}

pub fn settings() -> Settings {
    Settings {
        name: "test".into(),
        concurrency: 16,
        drain_timeout: Duration::from_secs(20),
        routes: Vec::new(),
    }
}

fn start(
    receivers: Vec<Arc<dyn Work>>,
    lanes: &[(&str, Arc<dyn Destination>)],
    settings: &Settings,
    timeout: Duration,
) -> Running {
    let mut destinations = Destinations::new();
    let mut routes = Vec::new();
    for (name, destination) in lanes {
        destinations.insert(format!("to-{name}"), Arc::clone(destination));
        let mut route = route(name, &format!("to-{name}"));
        route.timeout = timeout;
        routes.push(route);
    }
    start_routes(receivers, &routes, &destinations, settings)
}

/// The same with routes that are made already.
pub fn start_routes(
    receivers: Vec<Arc<dyn Work>>,
    routes: &[Route],
    destinations: &Destinations,
    settings: &Settings,
) -> Running {
    let clock = Arc::new(SystemClock::default());
    let worker = Worker::over(receivers, routes, destinations, settings, clock, &unique()).unwrap();
    let shutdown = CancellationToken::new();
    Running {
        task: tokio::spawn(worker.run(shutdown.clone())),
        shutdown,
    }
}

fn start_one(log: &Arc<FakeWork>, destination: Arc<dyn Destination>) -> Running {
    start(
        vec![Arc::clone(log) as _],
        &[("a", destination)],
        &settings(),
        MINUTE,
    )
}

fn all(count: u64) -> Vec<u64> {
    (1..=count).collect()
}

#[tokio::test]
async fn everything_that_is_lent_is_delivered_and_settled_once() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.add("a", 1, 5000);
    let worker = start_one(&log, takes_all());
    log.until(|log| log.settled().len() == 5000).await;
    let counts = worker.stop().await;
    assert_eq!(log.offsets(&Outcome::Delivered), all(5000));
    assert_eq!((counts.delivered, counts.fenced), (5000, 0));
}

#[tokio::test]
async fn thousands_of_deliveries_cost_few_requests() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.add("a", 1, 4000);
    let worker = start_one(&log, takes_all());
    log.until(|log| log.settled().len() == 4000).await;
    worker.stop().await;
    let counts = log.counts();
    assert!(counts.lease_requests <= 40, "{counts:?}");
    assert!(counts.settle_requests <= 60, "{counts:?}");
}

#[tokio::test]
async fn all_routes_of_a_quiet_receiver_share_one_poll() {
    let log = FakeWork::new(&["a", "b", "c"], MINUTE);
    let lanes = [("a", takes_all()), ("b", takes_all()), ("c", takes_all())];
    let worker = start(vec![Arc::clone(&log) as _], &lanes, &settings(), MINUTE);
    log.until(|log| log.counts().lease_requests == 1).await;
    log.add("b", 1, 1);
    log.until(|log| log.settled().len() == 1).await;
    let counts = worker.stop().await;
    assert!(counts.polls <= 4, "{counts:?}");
}

#[tokio::test]
async fn a_lease_whose_reply_was_lost_is_got_back() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.set(Faults {
        lose_leases: 2,
        ..Faults::default()
    });
    log.add("a", 1, 10);
    let worker = start_one(&log, takes_all());
    log.until(|log| log.settled().len() == 10).await;
    worker.stop().await;
    assert_eq!(log.offsets(&Outcome::Delivered), all(10));
    assert_eq!(log.open(), 0);
}

#[tokio::test]
async fn a_settle_is_repeated_until_it_is_answered() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.set(Faults {
        lose_settles: 2,
        away_settles: 2,
        ..Faults::default()
    });
    log.add("a", 1, 10);
    let worker = start_one(&log, takes_all());
    log.until(|log| log.counts().settle_requests >= 5).await;
    let counts = worker.stop().await;
    assert_eq!(log.offsets(&Outcome::Delivered), all(10));
    assert_eq!(counts.fenced, 0);
}

#[tokio::test]
async fn what_a_stale_lease_delivered_is_dropped_and_counted() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.set(Faults {
        stale: true,
        ..Faults::default()
    });
    log.add("a", 1, 10);
    let worker = start_one(&log, takes_all());
    log.until(|log| log.counts().settle_requests == 1).await;
    let counts = worker.stop().await;
    assert_eq!((counts.fenced, counts.settles), (1, 0));
    assert_eq!(log.settled().len(), 0);
}

#[tokio::test]
async fn a_receiver_that_is_away_is_asked_again_without_spinning() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.set(Faults {
        away_leases: usize::MAX,
        ..Faults::default()
    });
    let started = Instant::now();
    let worker = start_one(&log, takes_all());
    log.until(|log| log.counts().lease_requests >= 3).await;
    // two pauses of at least half of 100 and 200 ms
    assert!(started.elapsed() >= Duration::from_millis(150));
    log.set(Faults::default());
    log.add("a", 1, 1);
    log.until(|log| log.settled().len() == 1).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_panic_fails_only_the_delivery_that_causes_it() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.add("a", 1, 10);
    let panics = Scripted {
        does: |batch: &[Item]| {
            assert!(
                batch.iter().all(|item| item.id.delivery.offset != 7),
                "poison"
            );
            vec![Attempted::delivered(); batch.len()]
        },
        batch_max: 100,
        parallel: 1,
    };
    let worker = start_one(&log, Arc::new(panics));
    log.until(|log| log.settled().len() == 10).await;
    log.add("a", 11, 1);
    log.until(|log| log.settled().len() == 11).await;
    worker.stop().await;
    assert_eq!(log.offsets(&RETRY), [7]);
    let (_, failed) = log
        .settled()
        .into_iter()
        .find(|(_, s)| s.offset == 7)
        .unwrap();
    assert_eq!(
        failed.report.error.as_deref(),
        Some("the destination panicked")
    );
}

#[tokio::test]
async fn a_destination_that_answers_too_little_has_what_is_missing_retried() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.add("a", 1, 10);
    let terse = Scripted {
        does: |_: &[Item]| vec![Attempted::delivered(); 3],
        batch_max: 100,
        parallel: 1,
    };
    let worker = start_one(&log, Arc::new(terse));
    log.until(|log| log.settled().len() == 10).await;
    worker.stop().await;
    assert_eq!(log.offsets(&RETRY).len(), 7);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_retried_and_holds_nobody_up() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.add_record("a", 1, Bytes::from_static(b"\xff\xff"));
    log.add("a", 2, 2);
    let worker = start_one(&log, takes_all());
    log.until(|log| log.settled().len() == 3).await;
    worker.stop().await;
    assert_eq!(log.offsets(&RETRY), [1]);
    assert_eq!(log.offsets(&Outcome::Delivered), [2, 3]);
}

#[tokio::test]
async fn a_destination_that_hangs_delays_no_other() {
    let log = FakeWork::new(&["hung", "b", "c"], MINUTE);
    log.add("hung", 1, 500);
    let hung = Gate::closed(1000);
    let lanes = [
        ("hung", Arc::clone(&hung) as Arc<dyn Destination>),
        ("b", takes_all()),
        ("c", takes_all()),
    ];
    let worker = start(vec![Arc::clone(&log) as _], &lanes, &settings(), MINUTE);
    // its share of 16/2/3 = 2 and all of the pool
    hung.until_inside(12).await;
    log.add("b", 1000, 1000);
    log.add("c", 2000, 1000);
    log.until(|log| log.settled().len() == 2000).await;
    assert_eq!(hung.inside.load(Ordering::SeqCst), 12);
    assert!(log.open() <= 2 * 12, "{} are hoarded", log.open());
    hung.let_through(1000);
    log.until(|log| log.settled().len() == 2500).await;
    worker.stop().await;
}

#[tokio::test]
async fn what_takes_too_long_is_retried() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.add("a", 1, 1);
    let timeout = Duration::from_millis(80);
    let started = Instant::now();
    let worker = start(
        vec![Arc::clone(&log) as _],
        &[("a", Gate::closed(1) as _)],
        &settings(),
        timeout,
    );
    log.until(|log| log.settled().len() == 1).await;
    let took = started.elapsed();
    worker.stop().await;
    assert_eq!(log.offsets(&RETRY), [1]);
    assert!(
        took >= timeout && took < Duration::from_secs(10),
        "{took:?}"
    );
    assert!(log.settled()[0].1.report.duration_ms >= 80);
}

#[tokio::test]
async fn a_lease_is_extended_for_as_long_as_it_is_needed() {
    let log = FakeWork::new(&["a"], Duration::from_secs(1));
    log.add("a", 1, 1);
    let gate = Gate::closed(1);
    let worker = start_one(&log, Arc::clone(&gate) as _);
    log.until(|log| log.counts().extends >= 2).await;
    gate.let_through(1);
    log.until(|log| log.settled().len() == 1).await;
    let counts = worker.stop().await;
    assert_eq!(counts.fenced, 0);
}

#[tokio::test]
async fn a_part_of_a_lease_is_settled_while_the_rest_is_under_way() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.add("a", 1, 4);
    let gate = Gate::closed(4);
    let worker = start_one(&log, Arc::clone(&gate) as _);
    gate.until_inside(4).await;
    gate.let_through(1);
    log.until(|log| log.settled().len() == 1).await;
    assert_eq!(log.open(), 3);
    gate.let_through(3);
    log.until(|log| log.settled().len() == 4).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_stop_finishes_what_is_under_way_and_gives_back_the_rest() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.add("a", 1, 4);
    let gate = Gate::closed(2);
    let worker = start_one(&log, Arc::clone(&gate) as _);
    gate.until_inside(2).await;
    worker.shutdown.cancel();
    log.until(|log| log.offsets(&Outcome::Released) == [3, 4])
        .await;
    gate.let_through(2);
    let counts = worker.stop().await;
    assert_eq!(log.offsets(&Outcome::Delivered), [1, 2]);
    assert_eq!((counts.delivered, counts.released, log.open()), (2, 2, 0));
}

#[tokio::test]
async fn what_is_not_finished_within_the_drain_timeout_is_given_back() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.add("a", 1, 2);
    let gate = Gate::closed(2);
    let impatient = Settings {
        drain_timeout: Duration::from_millis(50),
        ..settings()
    };
    let lanes = [("a", Arc::clone(&gate) as Arc<dyn Destination>)];
    let worker = start(vec![Arc::clone(&log) as _], &lanes, &impatient, MINUTE);
    gate.until_inside(2).await;
    worker.stop().await;
    assert_eq!(log.offsets(&Outcome::Released), [1, 2]);
    assert_eq!(log.open(), 0);
}

#[tokio::test]
async fn a_lease_whose_reply_is_lost_in_a_stop_is_given_back() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.set(Faults {
        lose_leases: 1,
        ..Faults::default()
    });
    let worker = start_one(&log, takes_all());
    log.until(|log| log.counts().lease_requests == 1).await;
    log.add("a", 1, 3);
    log.until(|log| log.open() == 3).await;
    worker.stop().await;
    assert_eq!(log.offsets(&Outcome::Released), all(3));
    assert_eq!(log.open(), 0);
}

#[tokio::test]
async fn a_route_that_the_receiver_does_not_know_holds_up_no_other() {
    let log = FakeWork::new(&["b"], MINUTE);
    log.add("b", 1, 3);
    let lanes = [("a", takes_all()), ("b", takes_all())];
    let worker = start(vec![Arc::clone(&log) as _], &lanes, &settings(), MINUTE);
    log.until(|log| log.settled().len() == 3).await;
    let counts = worker.stop().await;
    assert!(counts.polls < 10, "{counts:?}");
}

#[tokio::test]
async fn a_worker_serves_several_receivers_and_one_that_is_away_delays_no_other() {
    let (near, away) = (FakeWork::new(&["a"], MINUTE), FakeWork::new(&["a"], MINUTE));
    away.set(Faults {
        away_leases: usize::MAX,
        ..Faults::default()
    });
    away.add("a", 1, 1);
    near.add("a", 1, 500);
    let receivers: Vec<Arc<dyn Work>> = vec![Arc::clone(&near) as _, Arc::clone(&away) as _];
    let worker = start(receivers, &[("a", takes_all())], &settings(), MINUTE);
    near.until(|log| log.settled().len() == 500).await;
    away.set(Faults::default());
    away.until(|log| log.settled().len() == 1).await;
    worker.stop().await;
}

#[tokio::test]
async fn deliveries_reach_a_batching_destination_in_order() {
    let log = FakeWork::new(&["a"], MINUTE);
    log.add("a", 1, 3000);
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    let destination = Scripted {
        does: move |batch: &[Item]| {
            into.lock()
                .unwrap()
                .extend(batch.iter().map(|item| item.id.delivery.offset));
            vec![Attempted::delivered(); batch.len()]
        },
        batch_max: 64,
        parallel: 1,
    };
    let worker = start_one(&log, Arc::new(destination));
    log.until(|log| log.settled().len() == 3000).await;
    worker.stop().await;
    assert_eq!(*seen.lock().unwrap(), all(3000));
}

#[tokio::test]
async fn one_delivery_larger_than_all_room_passes() {
    let log = FakeWork::new(&["a"], MINUTE);
    let large = creel_common::log::codec::encode(&crate::sample::delivery(vec![b'x'; 40 << 20]));
    log.add_record("a", 1, large.unwrap().into());
    log.add("a", 2, 10);
    let worker = start_one(&log, takes_all());
    log.until(|log| log.settled().len() == 11).await;
    worker.stop().await;
    let offsets: HashSet<u64> = log.offsets(&Outcome::Delivered).into_iter().collect();
    assert_eq!(offsets.len(), 11);
}

#[tokio::test]
async fn no_request_names_more_routes_than_it_may() {
    let names: Vec<String> = (0..1100).map(|n| format!("r{n:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let log = FakeWork::new(&names, MINUTE);
    let lanes: Vec<_> = names.iter().map(|name| (*name, takes_all())).collect();
    let worker = start(vec![Arc::clone(&log) as _], &lanes, &settings(), MINUTE);
    for (n, name) in (1..).zip([names[0], names[1099]]) {
        log.add(name, n, 1);
    }
    log.until(|log| log.settled().len() == 2).await;
    worker.stop().await;
    assert!(log.counts().most_wants <= 1024, "{:?}", log.counts());
}
