//! The log's behaviours over the engine in memory.
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use creel_common::config::Config;
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::log::Unobserved;
use creel_common::log::local::{LocalLog, Surroundings};
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::log::{Openings, Subject, log_conformance};

#[derive(Default)]
struct InMemory {
    clock: Arc<ManualClock>,
    engine: Option<Arc<MemoryEngine>>,
    openings: u64,
}

impl InMemory {
    fn open(&mut self, engine: MemoryEngine, config: &Config) -> Subject {
        let engine = Arc::new(engine);
        self.engine = Some(engine.clone());
        self.openings += 1;
        let around = Surroundings {
            clock: self.clock.clone(),
            dice: self.openings,
            observer: Arc::new(Unobserved),
            on_failure: Arc::new(|error| panic!("{error}")),
        };
        let log = LocalLog::open(engine, config, around).unwrap();
        Subject {
            intake: log.clone(),
            work: log.clone(),
            operate: log,
            clock: self.clock.clone(),
        }
    }
}

impl Openings for InMemory {
    fn fresh(&mut self, config: Config) -> Pin<Box<dyn Future<Output = Subject> + Send + '_>> {
        Box::pin(async move { self.open(MemoryEngine::new(MemorySettings::default(), 5), &config) })
    }

    fn again(&mut self, config: Config) -> Pin<Box<dyn Future<Output = Subject> + Send + '_>> {
        Box::pin(async move {
            let engine = self.engine.take().unwrap().reopen();
            self.open(engine, &config)
        })
    }
}

#[tokio::test]
async fn the_log_over_memory_behaves() {
    log_conformance(&mut InMemory::default()).await;
}
