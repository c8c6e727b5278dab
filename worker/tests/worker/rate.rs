//! How fast a worker drains, over a log that costs nothing but a round trip.
//!
//! `cargo test --release -p creel-worker --test worker rate:: -- --ignored --nocapture`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use creel_common::ids::LogId;
use creel_common::log::{Lease, LeaseRequest, Leased, Settled, Work, WorkError, codec};
use creel_common::time::SystemClock;
use creel_worker::destinations::Destination;
use creel_worker::{Destinations, Settings, Worker};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::sample::{delivery, item, opened, route, unique};
use crate::sink::Sink;

/// Lends the same record again and again.
struct Mill {
    record: Bytes,
    round_trip: Duration,
    lent: AtomicU64,
    left: AtomicU64,
    settled: AtomicU64,
    requests: AtomicU64,
    open: AtomicU64,
    open_max: u64,
    freed: Notify,
    done: Notify,
    total: u64,
}

#[async_trait]
impl Work for Mill {
    async fn log_id(&self) -> Result<LogId, WorkError> {
        Ok(LogId::from_bits(1))
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, WorkError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.round_trip).await;
        let want = &request.wants[0];
        let count = loop {
            let room = self
                .open_max
                .saturating_sub(self.open.load(Ordering::SeqCst));
            let left = self.left.load(Ordering::SeqCst);
            let by_bytes = want.max_bytes / self.record.len() as u64;
            let count = u64::from(want.max_items).min(room).min(left).min(by_bytes);
            if left == 0 {
                std::future::pending::<()>().await;
            }
            if count > 0 {
                break count;
            }
            self.freed.notified().await;
        };
        self.left.fetch_sub(count, Ordering::SeqCst);
        self.open.fetch_add(count, Ordering::SeqCst);
        let first = self.lent.fetch_add(count, Ordering::SeqCst) + 1;
        let items = (first..first + count).map(|offset| Leased {
            offset,
            attempt: 1,
            generation: 0,
            record: self.record.clone(),
        });
        Ok(vec![Lease {
            id: first,
            route: want.route.clone(),
            expires_in: Duration::from_secs(60),
            items: items.collect(),
        }])
    }

    async fn extend(&self, _lease: u64) -> Result<Duration, WorkError> {
        Ok(Duration::from_secs(60))
    }

    async fn settle(&self, _lease: u64, settled: Vec<Settled>) -> Result<(), WorkError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.round_trip).await;
        let count = settled.len() as u64;
        self.open.fetch_sub(count, Ordering::SeqCst);
        self.freed.notify_one();
        if self.settled.fetch_add(count, Ordering::SeqCst) + count == self.total {
            self.done.notify_one();
        }
        Ok(())
    }
}

/// A JSON body of about 1 KiB, as webhooks look.
fn body() -> String {
    let mut body = String::from("{");
    for n in 0..24 {
        body.push_str(&format!(
            "\"key_{n:02}\":\"value number {n} of the sample\","
        ));
    }
    body.push_str("\"last\":true}");
    body
}

async fn drain(destination: Arc<dyn Destination>, open_max: u32, round_trip: Duration, total: u64) {
    let record = Bytes::from(codec::encode(&delivery(body())).unwrap());
    let mill = Arc::new(Mill {
        record,
        round_trip,
        lent: AtomicU64::new(0),
        left: AtomicU64::new(total),
        settled: AtomicU64::new(0),
        requests: AtomicU64::new(0),
        open: AtomicU64::new(0),
        open_max: u64::from(open_max),
        freed: Notify::new(),
        done: Notify::new(),
        total,
    });
    let destinations = Destinations::from([("there".to_owned(), destination)]);
    let mut route = route("a", "there");
    route.open_max = open_max;
    let settings = Settings {
        name: "rate".into(),
        concurrency: 256,
        drain_timeout: Duration::from_secs(5),
        routes: Vec::new(),
    };
    let clock = Arc::new(SystemClock::default());
    let receivers: Vec<Arc<dyn Work>> = vec![Arc::clone(&mill) as _];
    let worker = Worker::over(
        receivers,
        &[route],
        &destinations,
        &settings,
        clock,
        &unique(),
    )
    .unwrap();
    let shutdown = CancellationToken::new();
    let started = Instant::now();
    let running = tokio::spawn(worker.run(shutdown.clone()));
    mill.done.notified().await;
    let took = started.elapsed();
    shutdown.cancel();
    running.await.unwrap();
    println!(
        "open_max {open_max:5}, round trip {round_trip:?}: {:.0} deliveries/s, {} requests, {:?} in all",
        total as f64 / took.as_secs_f64(),
        mill.requests.load(Ordering::Relaxed),
        took
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement; run it alone and in release"]
async fn draining_into_files() {
    for (open_max, millis) in [(1024, 0), (1024, 1), (1024, 3), (4096, 1), (4096, 3)] {
        let dir = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let destination = opened("file", "path = \".\"", dir.path()).unwrap();
        drain(
            destination,
            open_max,
            Duration::from_millis(millis),
            200_000,
        )
        .await;
    }
}

/// With the server on the same cores.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement; run it alone and in release"]
async fn draining_into_http() {
    let sink = Sink::start().await;
    let settings = format!("url = {:?}\nallow = [\"127.0.0.0/8\"]", sink.url());
    let destination = opened("http", &settings, std::path::Path::new("")).unwrap();
    drain(destination, 1024, Duration::from_millis(1), 50_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement; run it alone and in release"]
async fn where_the_time_goes() {
    const ROUNDS: usize = 400;
    let dir = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let record = Bytes::from(codec::encode(&delivery(body())).unwrap());
    let destination = opened("file", "path = \".\"", dir.path()).unwrap();
    let nowhere = creel_worker::destinations::stdout::Lines::to(std::io::sink());
    let batch: Vec<_> = (1..=512).map(|offset| item(offset, body())).collect();
    let per_item = |took: Duration| took.as_nanos() / (ROUNDS * batch.len()) as u128;

    let started = Instant::now();
    for _ in 0..ROUNDS * batch.len() {
        std::hint::black_box(codec::decode(&record).unwrap());
    }
    println!("decode          {} ns each", per_item(started.elapsed()));
    let started = Instant::now();
    for _ in 0..ROUNDS {
        nowhere.deliver(&batch).await;
    }
    println!("encode          {} ns each", per_item(started.elapsed()));
    let started = Instant::now();
    for _ in 0..ROUNDS {
        destination.deliver(&batch).await;
    }
    let took = started.elapsed();
    println!(
        "encode and sync {} ns each, {:?} a batch of 512",
        per_item(took),
        took / 400
    );
}
