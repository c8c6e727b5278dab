//! Every behaviour of the log, asked for over HTTP.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use creel_common::config::{Config, ResolvedToken, Role};
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::log::remote::RemoteLog;
use creel_common::secret::Secret;
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::log::{Openings, Subject, log_conformance};
use creel_common::time::Clock;
use creel_receiver::auth::Tokens;
use creel_receiver::verify::Registry;
use creel_receiver::{Listeners, LogParts, Prepared, Receiver};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::setup::{OPERATE, WORKER, reload};

#[derive(Default)]
struct OverHttp {
    clock: Arc<ManualClock>,
    engine: Option<Arc<MemoryEngine>>,
    openings: u64,
    running: Option<DropGuard>,
}

fn token(role: Role, secret: &str) -> ResolvedToken {
    ResolvedToken {
        role,
        name: "test".into(),
        secret: Secret::new(secret),
    }
}

impl OverHttp {
    fn open(&mut self, engine: MemoryEngine, mut config: Config) -> Subject {
        let engine = Arc::new(engine);
        self.engine = Some(engine.clone());
        self.openings += 1;
        config.receiver.listen = "127.0.0.1:0".parse().unwrap();
        config.receiver.private = config.receiver.listen;
        let mut prepared = Prepared::new(&config, &Registry::built_in(), "test").unwrap();
        prepared.tokens = Tokens::new([token(Role::Worker, WORKER), token(Role::Operate, OPERATE)]);
        let failed = Arc::new(|error: &creel_common::engine::EngineError| panic!("{error}"));
        let clock = self.clock.clone();
        let log = prepared
            .open_log(&config, engine, clock.clone(), self.openings, failed)
            .unwrap();
        let listeners = Listeners::bind(&config.receiver).unwrap();
        let address = format!("http://{}", listeners.private.local_addr().unwrap());
        let stop = CancellationToken::new();
        // nothing of this suite reloads
        let nowhere = Path::new("");
        let clocks: Arc<dyn Clock> = clock.clone();
        let reload = reload(&config, &prepared, &log, &clocks, nowhere);
        let receiver = Receiver {
            config: config.receiver,
            prepared,
            log: LogParts::from(&log),
            quarantine: None,
            listeners,
            clock: clock.clone(),
            version: "test".into(),
            reload,
            stop: stop.clone(),
        };
        tokio::spawn(receiver.run());
        // the one before stops now
        self.running = Some(stop.drop_guard());
        let remote = |token| Arc::new(RemoteLog::new(&address, Secret::new(token)).unwrap());
        Subject {
            intake: log,
            work: remote(WORKER),
            operate: remote(OPERATE),
            clock,
        }
    }
}

impl Openings for OverHttp {
    fn fresh(&mut self, config: Config) -> Pin<Box<dyn Future<Output = Subject> + Send + '_>> {
        Box::pin(async move { self.open(MemoryEngine::new(MemorySettings::default(), 5), config) })
    }

    fn again(&mut self, config: Config) -> Pin<Box<dyn Future<Output = Subject> + Send + '_>> {
        Box::pin(async move {
            let engine = self.engine.take().unwrap().reopen();
            self.open(engine, config)
        })
    }
}

#[tokio::test]
async fn the_log_over_http_behaves() {
    log_conformance(&mut OverHttp::default()).await;
}
