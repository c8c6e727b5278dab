//! A worker over the real log: what is appended arrives, what fails can be reprocessed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use creel_common::config::{self, Config, Known};
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::log::local::{LocalLog, Surroundings};
use creel_common::log::{
    Actor, Find, Intake, LeaseRequest, Observer, Operate, Selection, Want, Work,
};
use creel_common::outcome::Verdict;
use creel_common::time::SystemClock;
use creel_worker::destinations::Kinds;
use creel_worker::{Settings, Worker};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::lines;
use crate::sample::delivery;
use crate::sink::Sink;

/// Counts attempts, and tells when one more has ended.
#[derive(Clone)]
struct Attempts(watch::Sender<usize>);

impl Observer for Attempts {
    fn attempted(&self, _route: &str, _verdict: Verdict) {
        self.0.send_modify(|count| *count += 1);
    }
}

pub struct Setup {
    pub log: Arc<LocalLog>,
    config: Config,
    attempts: Attempts,
    _dir: TempDir,
    pub out: std::path::PathBuf,
}

pub fn setup(more: &str) -> Setup {
    let dir = TempDir::new().unwrap();
    let text = format!(
        "[log]\nengine = \"memory\"\nreserve = \"0B\"\n\
         [sources.github]\nprovider = \"none\"\n{more}"
    );
    let known = Known {
        destinations: Some(&Kinds),
        ..Known::default()
    };
    let config = config::parse(&text, &dir.path().join("creel.toml"), &known)
        .unwrap_or_else(|problems| panic!("{problems}"));
    let attempts = Attempts(watch::Sender::new(0));
    let around = Surroundings {
        clock: Arc::new(SystemClock::default()),
        dice: 7,
        observer: Arc::new(attempts.clone()),
        on_failure: Arc::new(|error| panic!("{error}")),
    };
    let engine = Arc::new(MemoryEngine::new(MemorySettings::default(), 7));
    Setup {
        log: LocalLog::open(engine, &config, around).unwrap(),
        config,
        attempts,
        out: dir.path().join("out"),
        _dir: dir,
    }
}

impl Setup {
    pub fn worker(&self) -> Worker {
        let settings = Settings {
            name: "test".into(),
            concurrency: 32,
            drain_timeout: Duration::from_secs(10),
            routes: Vec::new(),
        };
        let receivers: Vec<Arc<dyn Work>> = vec![Arc::clone(&self.log) as _];
        let clock = Arc::new(SystemClock::default());
        Worker::new(receivers, &self.config, &settings, clock).unwrap()
    }

    pub async fn until_attempts(&self, count: usize) {
        let mut attempts = self.attempts.0.subscribe();
        let waiting = attempts.wait_for(|so_far| *so_far >= count);
        let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        waited.expect("it never came to that").unwrap();
    }

    pub async fn append(&self, bodies: impl Iterator<Item = String>) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        for body in bodies {
            let appended = self.log.append(delivery(body)).await.unwrap();
            ids.insert(appended.id.to_string());
        }
        ids
    }
}

const FILES: &str = "[destinations.archive]\ntype = \"file\"\npath = \"out\"\n\
                     [[routes]]\nsource = \"github\"\ndestination = \"archive\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_appended_arrives_once_with_several_workers() {
    let setup = setup(FILES);
    let shutdown = CancellationToken::new();
    let workers: Vec<_> = (0..3)
        .map(|_| tokio::spawn(setup.worker().run(shutdown.clone())))
        .collect();
    let ids = setup
        .append((0..3000).map(|n| format!("{{\"n\":{n}}}")))
        .await;
    setup.until_attempts(3000).await;
    shutdown.cancel();
    let mut delivered = 0;
    for worker in workers {
        delivered += worker.await.unwrap().delivered;
    }
    assert_eq!(delivered, 3000);
    let arrived = lines::in_dir(&setup.out);
    assert_eq!(arrived.len(), 3000);
    assert_eq!(
        arrived.into_iter().map(|a| a.id).collect::<BTreeSet<_>>(),
        ids
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_arrives_with_a_new_generation_when_it_is_reprocessed() {
    let sink = Sink::start().await;
    let setup = setup(&format!(
        "[destinations.hook]\ntype = \"http\"\nurl = {:?}\nallow = [\"127.0.0.0/8\"]\n\
         [[routes]]\nsource = \"github\"\ndestination = \"hook\"\n",
        sink.url()
    ));
    sink.answer(422, &[], b"no such thing");
    let shutdown = CancellationToken::new();
    let worker = tokio::spawn(setup.worker().run(shutdown.clone()));
    setup.append(std::iter::once("{}".to_owned())).await;
    setup.until_attempts(1).await;
    let dead = setup.log.dead(Find::default()).await.unwrap().items;
    assert_eq!((dead.len(), dead[0].status), (1, Some(422)));
    let kept = setup.log.attempts(dead[0].id).await.unwrap();
    assert_eq!(kept[0].report.response, b"no such thing");

    sink.answer(200, &[], b"");
    let all = Selection {
        all: true,
        ..Selection::default()
    };
    let changed = setup.log.reprocess(all, Actor::default()).await.unwrap();
    assert_eq!(changed.count, 1);
    setup.until_attempts(2).await;
    shutdown.cancel();
    worker.await.unwrap();
    let generations: Vec<String> = sink
        .seen()
        .into_iter()
        .map(|seen| seen.arrived.generation)
        .collect();
    assert_eq!(generations, ["0", "1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stopped_worker_gave_back_is_lent_at_once_as_the_first_attempt() {
    // a destination that never answers: the stop has to give everything back
    let silent = crate::sink::raw(|connection| async move {
        std::future::pending::<()>().await;
        drop(connection);
    })
    .await;
    let setup = setup(&format!(
        "[destinations.hook]\ntype = \"http\"\nurl = {silent:?}\nallow = [\"127.0.0.0/8\"]\n\
         [[routes]]\nsource = \"github\"\ndestination = \"hook\"\n"
    ));
    setup.append((0..200).map(|n| n.to_string())).await;
    let settings = Settings {
        name: "test".into(),
        concurrency: 8,
        drain_timeout: Duration::from_millis(50),
        routes: Vec::new(),
    };
    let receivers: Vec<Arc<dyn Work>> = vec![Arc::clone(&setup.log) as _];
    let clock = Arc::new(SystemClock::default());
    let worker = Worker::new(receivers, &setup.config, &settings, clock).unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));
    while setup.log.routes().await.unwrap()[0].open == 0 {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    let counts = running.await.unwrap();
    assert_eq!((counts.delivered, counts.fenced), (0, 0));
    let request = LeaseRequest {
        request: "next".into(),
        worker: "next".into(),
        wants: vec![Want {
            route: "github-hook".into(),
            max_items: 1000,
            max_bytes: 1 << 20,
        }],
        wait: Duration::ZERO,
    };
    let mut lent = Vec::new();
    for lease in setup.log.lease(request).await.unwrap() {
        lent.extend(lease.items);
    }
    assert_eq!(lent.len(), 200);
    assert!(lent.iter().all(|item| item.attempt == 1));
}

#[test]
fn settings_of_destinations_are_checked_with_the_file() {
    let text =
        "[destinations.a]\ntype = \"fiel\"\n[destinations.b]\ntype = \"file\"\npaht = \"x\"\n";
    let known = Known {
        destinations: Some(&Kinds),
        ..Known::default()
    };
    let problems = config::parse(text, Path::new("creel.toml"), &known).unwrap_err();
    let shown = problems.to_string();
    for said in [
        "did you mean `file`?",
        "did you mean `path`?",
        "destinations.b.path",
    ] {
        assert!(shown.contains(said), "{said} is not in {shown}");
    }
}
