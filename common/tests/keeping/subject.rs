//! A log in memory with few deliveries in each volume, on a clock that tests move.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use creel_common::attempt::Report;
use creel_common::config::{self, Config, Known};
use creel_common::engine::Engine;
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::ids::Offset;
use creel_common::log::local::LocalLog;
use creel_common::log::{AppendError, Intake, Lease, LeaseRequest, Operate, Settled, Want, Work};
use creel_common::outcome::Outcome;
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::log::surroundings;
use creel_common::testkit::sample;
use creel_common::time::Clock;

pub const HOUR: Duration = Duration::from_secs(3600);

/// Every delivery fills a volume of its own.
pub const VOLUMES_OF_ONE: MemorySettings = MemorySettings {
    volume_bytes: 1000,
    attempts_bytes: 1 << 20,
    block_bytes_best: 28 * 1024,
};

/// `log` and `source` are added to `[log]` and `[sources.s]`. Routes are given as `name`, of source
/// `s`, or as `name:source`.
pub fn config(log: &str, source: &str, routes: &[&str]) -> Config {
    let mut text = format!(
        "[log]\nengine = \"memory\"\nreserve = \"1MiB\"\nretention = \"1h\"\n{log}\n\
         [sources.s]\nprovider = \"none\"\n{source}\n[sources.unrouted]\nprovider = \"none\"\n\
         [sources.quiet]\nprovider = \"none\"\n[destinations.d]\ntype = \"stdout\"\n"
    );
    for route in routes {
        let (name, source) = route.split_once(':').unwrap_or((route, "s"));
        text.push_str(&format!(
            "[[routes]]\nsource = \"{source}\"\ndestination = \"d\"\nname = \"{name}\"\n\
             start = \"beginning\"\n"
        ));
    }
    config::parse(&text, Path::new("creel.toml"), &Known::default()).unwrap()
}

pub struct Subject {
    pub engine: Arc<MemoryEngine>,
    pub log: Arc<LocalLog>,
    pub clock: Arc<ManualClock>,
    requests: AtomicU64,
}

impl Subject {
    pub fn open(engine: MemoryEngine, routes: &[&str]) -> Self {
        Self::open_with(engine, &config("", "", routes), Arc::default())
    }

    /// The same with a configuration, on a clock that may go on.
    pub fn open_with(engine: MemoryEngine, config: &Config, clock: Arc<ManualClock>) -> Self {
        let engine = Arc::new(engine);
        let log = LocalLog::open(engine.clone(), config, surroundings(&clock, 1)).unwrap();
        Self {
            engine,
            log,
            clock,
            requests: AtomicU64::new(0),
        }
    }

    pub fn fresh(routes: &[&str]) -> Self {
        Self::open(MemoryEngine::new(VOLUMES_OF_ONE, 5), routes)
    }

    pub async fn append(&self, source: &str) -> Result<Offset, AppendError> {
        self.append_bytes(source, 2000).await
    }

    pub async fn append_bytes(&self, source: &str, bytes: usize) -> Result<Offset, AppendError> {
        let delivery = sample::delivery(source, vec![b'x'; bytes], self.clock.wall());
        Ok(self.log.append(delivery).await?.id.offset)
    }

    /// Leases up to `max_items` of a route.
    pub async fn lease(&self, route: &str, max_items: u32) -> Vec<Lease> {
        let request = LeaseRequest {
            request: format!("{route} {}", self.requests.fetch_add(1, Ordering::Relaxed)),
            worker: "test".to_owned(),
            wants: vec![Want {
                route: route.to_owned(),
                max_items,
                max_bytes: 8 << 20,
            }],
            wait: Duration::ZERO,
        };
        self.log.lease(request).await.unwrap()
    }

    /// Leases up to `max_items` of a route and settles each as `outcome` says of its offset.
    pub async fn settle(&self, route: &str, max_items: u32, outcome: impl Fn(Offset) -> Outcome) {
        for lease in self.lease(route, max_items).await {
            let settled = lease.items.iter().map(|item| Settled {
                offset: item.offset,
                outcome: outcome(item.offset),
                report: Report::default(),
            });
            self.log.settle(lease.id, settled.collect()).await.unwrap();
        }
    }

    /// What is kept of a source: deliveries and bytes.
    pub fn kept(&self, source: &str) -> (u64, u64) {
        let kept = self.log.facts().account.source(source);
        assert_eq!(kept.estimated_bytes, 0);
        (kept.deliveries, kept.bytes)
    }

    /// Lets time pass until `done`; whatever is asked makes the desk look at its clock.
    pub async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + Duration::from_secs(30);
        while !done(self) {
            assert!(Instant::now() < until, "{what}: left {:?}", self.volumes());
            self.clock.advance(Duration::from_secs(1));
            self.log.routes().await.unwrap();
        }
    }

    pub fn volumes(&self) -> Vec<Offset> {
        let volumes = self.engine.volumes();
        volumes.iter().map(|volume| volume.first).collect()
    }

    /// Waits until the volume of `gone` has been removed, and closes the log: all that was to be
    /// removed with it has been removed then. Answers the first offsets of the volumes left.
    pub async fn left_without(self, gone: Offset) -> Vec<Offset> {
        let until = Instant::now() + Duration::from_secs(30);
        while self.volumes().contains(&gone) {
            assert!(Instant::now() < until, "{gone} is still there");
            // whatever is asked makes the desk look at its clock
            self.log.routes().await.unwrap();
        }
        self.log.clone().close().await.unwrap();
        self.volumes()
    }
}
