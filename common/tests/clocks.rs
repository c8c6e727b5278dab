//! A wall clock that is set while the log runs: a table of by how much, against everything that goes
//! by time.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use creel_common::attempt::Report;
use creel_common::config::{self, Config, Known};
use creel_common::engine::Engine;
use creel_common::engine::memory::{MemoryEngine, MemorySettings};
use creel_common::engine::sled::{SledEngine, SledSettings};
use creel_common::log::keys::{KeyMark, KeyTable, Runs};
use creel_common::log::local::LocalLog;
use creel_common::log::steady::Steady;
use creel_common::log::{Intake, Lease, Operate, Settled, Standing, Work, WorkError};
use creel_common::outcome::Outcome;
use creel_common::testkit::clock::ManualClock;
use creel_common::testkit::log::{request_for, surroundings};
use creel_common::testkit::sample;
use creel_common::time::{Clock, Timestamp};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// By how much the wall clock is set.
#[derive(Debug, Clone, Copy)]
enum Jump {
    Forward(Duration),
    Back(Duration),
}

const JUMPS: [Jump; 6] = [
    Jump::Forward(HOUR),
    Jump::Forward(DAY),
    Jump::Forward(Duration::from_secs(365 * 24 * 3600)),
    Jump::Back(HOUR),
    Jump::Back(DAY),
    // a leap second, by a kernel that repeats it
    Jump::Back(SECOND),
];

const RETRY: &str = "retry = { max_attempts = 9, initial = \"100s\", max = \"100s\" }\n\
                     breaker = { failures = 0 }\n";

fn config(route: &str) -> Config {
    let text = format!(
        "[log]\nengine = \"memory\"\nlease = \"60s\"\nreserve = \"0B\"\nretention = \"2h\"\n\
         [sources.s]\nprovider = \"none\"\n[sources.s.dedupe]\nwindow = \"72h\"\n\
         [destinations.d]\ntype = \"stdout\"\n\
         [[routes]]\nname = \"r\"\nsource = \"s\"\ndestination = \"d\"\n{route}"
    );
    config::parse(&text, Path::new("creel.toml"), &Known::default()).unwrap()
}

struct Subject {
    log: Arc<LocalLog>,
    clock: Arc<ManualClock>,
}

impl Subject {
    fn open(engine: Arc<dyn Engine>, clock: Arc<ManualClock>, route: &str) -> Self {
        let log = LocalLog::open(engine, &config(route), surroundings(&clock, 7)).unwrap();
        Self { log, clock }
    }

    fn fresh(route: &str) -> Self {
        let settings = MemorySettings {
            // every delivery fills a volume of its own
            volume_bytes: 1,
            ..MemorySettings::default()
        };
        let engine = Arc::new(MemoryEngine::new(settings, 5));
        Self::open(engine, Arc::default(), route)
    }

    /// On disk, to be opened again.
    fn on_disk(directory: &Path, clock: &Arc<ManualClock>) -> Self {
        let settings = SledSettings::new(directory.join("log"));
        let engine = SledEngine::open(settings, 1).unwrap();
        Self::open(Arc::new(engine), clock.clone(), RETRY)
    }

    async fn close(self) {
        self.log.close().await.unwrap();
    }

    async fn append(&self, count: usize) {
        for _ in 0..count {
            let delivery = sample::delivery("s", "body", self.clock.wall());
            self.log.append(delivery).await.unwrap();
        }
    }

    /// The wall clock is set, and the log has looked at its clocks before and after.
    async fn set(&self, jump: Jump) {
        self.log.routes().await.unwrap();
        match jump {
            Jump::Forward(by) => self.clock.jump(by),
            Jump::Back(by) => self.clock.jump_back(by),
        }
        self.log.routes().await.unwrap();
    }

    /// Time passes, and the log looks at its clocks meanwhile.
    async fn pass(&self, time: Duration) {
        let steps = 10;
        for _ in 0..steps {
            self.clock.advance(time / steps);
            self.log.routes().await.unwrap();
        }
    }

    async fn lease(&self, max_items: u32) -> Vec<Lease> {
        let name = rand::random::<u64>().to_string();
        let request = request_for(&name, "r", max_items);
        self.log.lease(request).await.unwrap()
    }

    async fn leased(&self, max_items: u32) -> usize {
        self.lease(max_items)
            .await
            .iter()
            .map(|lease| lease.items.len())
            .sum()
    }

    async fn settle(&self, lease: &Lease, outcome: Outcome) -> Result<(), WorkError> {
        let settled = lease.items.iter().map(|item| Settled {
            offset: item.offset,
            outcome: outcome.clone(),
            report: Report::default(),
        });
        self.log.settle(lease.id, settled.collect()).await
    }

    /// Everything that is lent now, settled so. Answers how much that was.
    async fn settle_all(&self, outcome: Outcome) -> usize {
        let mut settled = 0;
        while let Some(lease) = self.lease(100).await.pop() {
            settled += lease.items.len();
            self.settle(&lease, outcome.clone()).await.unwrap();
        }
        settled
    }

    /// Everything there is fails once, and waits.
    async fn fail_all(&self) -> usize {
        self.settle_all(Outcome::Retry { after: None }).await
    }

    async fn deliver_all(&self) -> usize {
        self.settle_all(Outcome::Delivered).await
    }
}

#[tokio::test]
async fn a_lease_ends_by_the_time_that_passes() {
    for jump in JUMPS {
        let subject = Subject::fresh(RETRY);
        subject.append(1).await;
        let held = subject.lease(1).await.remove(0);
        subject.set(jump).await;
        subject.pass(59 * SECOND).await;
        assert_eq!(subject.leased(1).await, 0, "{jump:?}: not yet");
        assert!(subject.log.extend(held.id).await.is_ok(), "{jump:?}");
        subject.pass(61 * SECOND).await;
        assert_eq!(subject.leased(1).await, 1, "{jump:?}: it comes again");
        let late = subject.settle(&held, Outcome::Delivered).await;
        assert!(matches!(late, Err(WorkError::Stale(_))), "{jump:?}");
    }
}

#[tokio::test]
async fn what_waits_comes_due_neither_at_once_nor_a_day_late() {
    for jump in JUMPS {
        let subject = Subject::fresh(RETRY);
        subject.append(200).await;
        assert_eq!(subject.fail_all().await, 200);
        subject.set(jump).await;
        assert_eq!(subject.deliver_all().await, 0, "{jump:?}: a storm");
        // full jitter over 100 s
        let mut due = 0;
        for _ in 0..10 {
            subject.pass(10 * SECOND).await;
            let now = subject.deliver_all().await;
            assert!(now <= 40, "{jump:?}: {now} of 200 in a tenth of the time");
            due += now;
        }
        subject.pass(12 * SECOND).await;
        due += subject.deliver_all().await;
        assert_eq!(due, 200, "{jump:?}: all of them, a tenth late at most");
    }
}

#[tokio::test]
async fn what_is_said_of_a_waiting_delivery_is_said_in_wall_clock_time() {
    for jump in JUMPS {
        let subject = Subject::fresh(RETRY);
        subject.append(1).await;
        let lease = subject.lease(1).await.remove(0);
        let after = Some(50 * SECOND);
        subject
            .settle(&lease, Outcome::Retry { after })
            .await
            .unwrap();
        subject.set(jump).await;
        let found = subject.log.find(Default::default()).await.unwrap();
        let (_, standing) = &found.items[0].standings[0];
        let Standing::Waiting { due, .. } = standing else {
            panic!("{standing:?}")
        };
        let in_so_long = due.since(subject.clock.wall());
        assert!(
            in_so_long >= 50 * SECOND && in_so_long < 63 * SECOND,
            "{jump:?}: {in_so_long:?}"
        );
    }
}

#[tokio::test]
async fn age_alone_kills_nothing_that_is_not_so_old() {
    for jump in JUMPS {
        let route = RETRY.replace("9,", "9, give_up_after = \"30m\",");
        let subject = Subject::fresh(&route);
        subject.append(1).await;
        subject.set(jump).await;
        // one was received before the clock was set, one after it
        subject.append(1).await;
        assert_eq!(subject.fail_all().await, 2);
        assert_eq!(subject.log.routes().await.unwrap()[0].dead, 0, "{jump:?}");
    }
}

#[tokio::test]
async fn what_is_settled_is_kept_for_the_retention() {
    for jump in JUMPS {
        let subject = Subject::fresh(RETRY);
        subject.append(2).await;
        let settle = async || {
            let lease = subject.lease(10).await.remove(0);
            subject.settle(&lease, Outcome::Delivered).await.unwrap();
        };
        settle().await;
        subject.set(jump).await;
        // longer than removal pauses after a jump, shorter than the retention
        subject.pass(100 * 60 * SECOND).await;
        let volumes = subject.log.facts().volumes.len();
        assert_eq!(volumes, 2, "{jump:?}: history was removed early");
    }
}

#[tokio::test]
async fn a_repeat_is_known_while_the_clock_is_wrong_and_after() {
    for jump in JUMPS {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let open = || Subject::on_disk(directory.path(), &clock);
        let subject = open();
        let keyed = |key: &str| sample::keyed("s", key, "body", clock.wall());
        subject.log.append(keyed("before")).await.unwrap();
        subject.pass(HOUR).await;
        subject.set(jump).await;
        assert!(subject.log.append(keyed("before")).await.unwrap().duplicate);
        subject.log.append(keyed("while")).await.unwrap();
        subject.pass(60 * SECOND).await;
        // somebody notices
        subject
            .set(match jump {
                Jump::Forward(by) => Jump::Back(by),
                Jump::Back(by) => Jump::Forward(by),
            })
            .await;
        for key in ["before", "while"] {
            let repeat = subject.log.append(keyed(key)).await.unwrap();
            assert!(repeat.duplicate, "{jump:?}: {key}");
        }
        subject.close().await;
        let subject = open();
        for key in ["before", "while"] {
            let repeat = subject.log.append(keyed(key)).await.unwrap();
            assert!(repeat.duplicate, "{jump:?}: {key} after a restart");
        }
        subject.close().await;
    }
}

/// Runs of keys are merged, and keys whose window is over dropped for good.
#[test]
fn no_key_is_dropped_by_a_merge_while_the_clock_is_wrong() {
    for jump in JUMPS {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let steady = Steady::new(clock.clone());
        let runs = Runs::open(
            &directory.path().join("keys"),
            &directory.path().join("damaged"),
            1 << 30,
            &[],
        )
        .unwrap();
        let mark = |key: u64| KeyMark::new("s", None, &key.to_string(), b"body");
        let window = 3 * DAY;
        let write = |key: u64| {
            let mut table = KeyTable::default();
            let verdict = table.judge(mark(key), Timestamp(0));
            table.note(mark(key), verdict, key, clock.wall());
            let frozen = table.freeze(key + 1, true).unwrap();
            runs.write(&frozen).unwrap();
            let expired = steady.now().window(window);
            runs.drop_first(expired).unwrap();
            while runs.merge_next(expired, |_| true).unwrap() {}
        };
        (1..=3).for_each(write);
        match jump {
            Jump::Forward(by) => clock.jump(by),
            Jump::Back(by) => clock.jump_back(by),
        }
        // the fourth run makes one of all
        (4..=8).for_each(write);
        for key in 1..=8 {
            assert!(runs.get(mark(key).key).is_some(), "{jump:?}: {key}");
        }
        // and when its time has passed, a key goes
        clock.advance(400 * DAY);
        steady.now();
        (9..=30).for_each(write);
        let gone = runs.get(mark(1).key).is_none();
        assert!(gone, "{jump:?}: kept for ever");
    }
}

#[tokio::test]
async fn an_open_breaker_and_a_rate_go_by_the_time_that_passes() {
    for jump in JUMPS {
        let breaker = "breaker = { failures = 1, pause = \"30s\" }\n\
                       retry = { max_attempts = 9, initial = \"10ms\", max = \"10ms\" }\n";
        let subject = Subject::fresh(breaker);
        subject.append(2).await;
        let lease = subject.lease(1).await.remove(0);
        let retry = Outcome::Retry { after: None };
        subject.settle(&lease, retry).await.unwrap();
        subject.set(jump).await;
        subject.pass(29 * SECOND).await;
        assert_eq!(subject.leased(9).await, 0, "{jump:?}: it stands open");
        subject.pass(SECOND).await;
        assert_eq!(subject.leased(9).await, 1, "{jump:?}: a probe");

        let subject = Subject::fresh("rate = 10\n");
        subject.append(100).await;
        let first = subject.leased(100).await;
        subject.set(jump).await;
        assert_eq!((first, subject.leased(100).await), (1, 0), "{jump:?}");
        subject.pass(SECOND).await;
        assert_eq!(
            subject.leased(100).await,
            1,
            "{jump:?}: a tenth is saved up"
        );
    }
}

#[tokio::test]
async fn after_a_start_the_wall_clock_is_all_there_is() {
    // what was put off in a log that was stopped is due when the wall clock says so
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let open = || Subject::on_disk(directory.path(), &clock);
    let subject = open();
    subject.append(3).await;
    assert_eq!(subject.fail_all().await, 3);
    subject.close().await;
    clock.jump(101 * SECOND);
    let subject = open();
    assert_eq!(subject.leased(10).await, 3);
    subject.close().await;
}
