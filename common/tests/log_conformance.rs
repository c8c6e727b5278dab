//! The log's behaviours over the engine in memory and over sled.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use creel_common::config::Config;
use creel_common::engine::Engine;
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::engine::sled::{SledEngine, SledSettings};
use creel_common::log::local::LocalLog;
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::log::{Openings, Subject, log_conformance, surroundings};

type Opening<'a> = Pin<Box<dyn Future<Output = Subject> + Send + 'a>>;

#[derive(Default)]
struct Opener {
    clock: Arc<ManualClock>,
    openings: u64,
}

impl Opener {
    fn open(&mut self, engine: Arc<dyn Engine>, config: &Config) -> Subject {
        self.openings += 1;
        let log = LocalLog::open(engine, config, surroundings(&self.clock, self.openings)).unwrap();
        Subject {
            intake: log.clone(),
            work: log.clone(),
            operate: log,
            clock: self.clock.clone(),
        }
    }
}

#[derive(Default)]
struct InMemory {
    opener: Opener,
    engine: Option<Arc<MemoryEngine>>,
}

impl InMemory {
    fn open(&mut self, engine: MemoryEngine, config: &Config) -> Subject {
        let engine = Arc::new(engine);
        self.engine = Some(engine.clone());
        self.opener.open(engine, config)
    }
}

impl Openings for InMemory {
    fn fresh(&mut self, config: Config) -> Opening<'_> {
        Box::pin(async move { self.open(MemoryEngine::new(MemorySettings::default(), 5), &config) })
    }

    fn again(&mut self, config: Config) -> Opening<'_> {
        Box::pin(async move {
            let engine = self.engine.take().unwrap().reopen();
            self.open(engine, &config)
        })
    }
}

/// Each opening is on a copy of what the last one had written by then, as after kill -9.
struct OnSled {
    opener: Opener,
    directory: tempfile::TempDir,
}

impl OnSled {
    fn path(&self, opening: u64) -> std::path::PathBuf {
        self.directory.path().join(opening.to_string())
    }

    fn open(&mut self, config: &Config) -> Subject {
        let path = self.path(self.opener.openings);
        let engine = SledEngine::open(SledSettings::new(path), self.opener.openings + 1).unwrap();
        self.opener.open(Arc::new(engine), config)
    }
}

impl Openings for OnSled {
    fn fresh(&mut self, config: Config) -> Opening<'_> {
        Box::pin(async move { self.open(&config) })
    }

    fn again(&mut self, config: Config) -> Opening<'_> {
        Box::pin(async move {
            let last = self.opener.openings;
            copy(&self.path(last - 1), &self.path(last));
            self.open(&config)
        })
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[tokio::test]
async fn the_log_over_memory_behaves() {
    log_conformance(&mut InMemory::default()).await;
}

#[tokio::test]
async fn the_log_over_sled_behaves() {
    let directory = tempfile::tempdir().unwrap();
    log_conformance(&mut OnSled {
        opener: Opener::default(),
        directory,
    })
    .await;
}
