//! The log in the process that owns it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use crossbeam_channel::{Sender, TrySendError};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;

use crate::attempt::Attempt;
use crate::config::{self, Config};
use crate::delivery::Delivery;
use crate::engine::{Engine, EngineError, Gap, Space, VolumeInfo};
use crate::ids::{DeliveryId, LogId, Offset};
use crate::log::block::Entry;
use crate::log::committer::{ASK_RUNS, Committer, Pending};
use crate::log::desk::{Around, Bell, Command, Desk};
use crate::log::gate::Gate;
use crate::log::keeper::{Charge, Keeper};
use crate::log::keys::{KeyMark, Runs, Verdict};
use crate::log::lane::Lane;
use crate::log::lender::Lender;
use crate::log::opening::{next_audit, open_lanes, open_runs, recover, remembered, routed_floors};
use crate::log::retention::Retention;
use crate::log::shelf::Shelf;
use crate::log::state;
use crate::log::{
    Actor, AppendError, Appended, Audit, Changed, DeadLetter, Find, Found, Intake, Lease,
    LeaseRequest, Observer, Operate, OperateError, Page, RewindTo, RouteStatus, Selection, Settled,
    Work, WorkError, attempts, codec, query,
};
use crate::time::{Clock, Timestamp};

/// Deliveries that may wait for the committer; intake bounds their bytes far more tightly.
const INTAKE_QUEUE: usize = 65_536;
/// Commands that may wait for the desk.
const DESK_QUEUE: usize = 16_384;
/// Attempts shown of one delivery.
const ATTEMPTS_SHOWN: usize = 1000;
/// Window of a source that is not configured.
const WINDOW_DEFAULT: Duration = Duration::from_secs(72 * 3600);

/// What the log is told about its surroundings.
pub struct Surroundings {
    /// Both clocks.
    pub clock: Arc<dyn Clock>,
    /// Seed of the jitter and of lease ids.
    pub dice: u64,
    /// Is told what happens.
    pub observer: Arc<dyn Observer>,
    /// Called once, from the log's own thread, when the engine failed: nothing more is acknowledged,
    /// and the process should end with exit code 74.
    pub on_failure: Arc<dyn Fn(&EngineError) + Send + Sync>,
}

/// Facts about the log, for status pages and metrics.
#[derive(Debug, Clone)]
pub struct LogFacts {
    /// Its name.
    pub log: LogId,
    /// The oldest offset that is there; equal to `next` when nothing is.
    pub first: Offset,
    /// The offset the next delivery gets.
    pub next: Offset,
    /// Deliveries that are there.
    pub deliveries: u64,
    /// Volumes, oldest first.
    pub volumes: Vec<VolumeInfo>,
    /// What was lost in the log's whole life.
    pub lost: Vec<Gap>,
    /// Room on its disk.
    pub space: Option<Space>,
    /// Why nothing is taken, if so.
    pub refusing: Option<AppendError>,
    /// Idempotency keys on disk.
    pub keys: u64,
}

struct SourceRule {
    name: Arc<str>,
    window: Duration,
}

/// The log in the process that owns it: [`Intake`], [`Work`] and [`Operate`] over an engine.
pub struct LocalLog {
    engine: Arc<dyn Engine>,
    shelf: Arc<Shelf>,
    runs: Option<Arc<Runs>>,
    gate: Arc<Gate>,
    observer: Arc<dyn Observer>,
    sources: HashMap<String, SourceRule>,
    intake: Mutex<Option<Sender<Pending>>>,
    desk: Sender<Command>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl LocalLog {
    /// Opens the log over an engine, with the routes and sources of a configuration.
    ///
    /// Routes that are new get their cursor now; routes that left the configuration keep theirs.
    ///
    /// # Errors
    /// The engine's; a state store that cannot be read.
    pub fn open(
        engine: Arc<dyn Engine>,
        config: &Config,
        around: Surroundings,
    ) -> Result<Arc<Self>, EngineError> {
        let mut runs = open_runs(&*engine)?;
        let height = engine.raise_next(remembered(&*engine, runs.as_ref())?)?;
        if let Some(runs) = &mut runs {
            runs.set_lost(engine.gaps());
        }
        let runs = runs.map(Arc::new);
        let recovered = recover(&*engine, runs.as_deref())?;
        let recent_bytes = usize::try_from(config.log.cache_bytes).unwrap_or(usize::MAX);
        let shelf = Arc::new(Shelf::new(
            engine.clone(),
            height,
            recovered.spans,
            recovered.sources,
            recent_bytes,
        ));
        let gate = Arc::new(Gate::new(engine.clone(), config.log.reserve_bytes));
        let keys_covered = runs.as_ref().map_or(Offset::MAX, |runs| runs.end());
        let (keeper, keep) = Keeper::new(keys_covered);
        let lanes = open_lanes(&*engine, &shelf, config, around.clock.mono())?;
        let (desk, desk_inbox) = crossbeam_channel::bounded(DESK_QUEUE);
        let bell = Bell::new(desk.clone());
        let (intake, intake_inbox) = crossbeam_channel::bounded(INTAKE_QUEUE);
        let mut dice = StdRng::seed_from_u64(around.dice);
        let lender = Lender::new(lanes, config.log.lease, dice.random());
        let retention = Retention::new(
            config.log.retention,
            keeper.clone(),
            routed_floors(&*engine)?,
        );
        let desk_state = Desk::new(
            lender,
            Around {
                shelf: shelf.clone(),
                engine: engine.clone(),
                clock: around.clock.clone(),
                dice,
                observer: around.observer.clone(),
                gate: gate.clone(),
                retention,
                next_audit: next_audit(&*engine)?,
                lost_max: config.log.lost_max,
                listening: bell.ear(),
            },
        );
        let committer = Committer {
            engine: engine.clone(),
            shelf: shelf.clone(),
            table: recovered.keys,
            runs: runs.clone(),
            keeper,
            gate: gate.clone(),
            observer: around.observer.clone(),
            bell: Box::new(move || bell.ring()),
            on_failure: around.on_failure.clone(),
        };
        let sources = config.sources.values().map(rule).collect::<HashMap<_, _>>();
        let charge = Charge {
            engine: engine.clone(),
            runs: runs.clone(),
            gate: gate.clone(),
            window_max: sources
                .values()
                .map(|rule| rule.window)
                .max()
                .unwrap_or(WINDOW_DEFAULT),
            clock: around.clock,
        };
        let on_failure = around.on_failure;
        let failed = on_failure.clone();
        let guard = || Guard(gate.clone(), on_failure.clone());
        let threads = vec![
            spawn("committer", guard(), move || committer.run(&intake_inbox))?,
            spawn("desk", guard(), move || {
                desk_state.run(&desk_inbox, &*failed);
            })?,
            spawn("keeper", guard(), move || keep(charge))?,
        ];
        Ok(Arc::new(Self {
            engine,
            shelf,
            runs,
            gate,
            observer: around.observer,
            sources,
            intake: Mutex::new(Some(intake)),
            desk,
            threads: Mutex::new(threads),
        }))
    }

    /// The log's name.
    pub fn id(&self) -> LogId {
        self.engine.opened().log
    }

    /// Whether it can acknowledge right now.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), AppendError> {
        self.gate.pass()
    }

    /// Facts for status pages and metrics. Blocks; call it off the async threads.
    pub fn facts(&self) -> LogFacts {
        let (first, deliveries) = {
            let spans = self.shelf.spans();
            (
                spans.first().unwrap_or(self.shelf.height()),
                spans.deliveries(),
            )
        };
        LogFacts {
            log: self.id(),
            first,
            next: self.shelf.height(),
            deliveries,
            volumes: self.engine.volumes(),
            lost: self.engine.gaps(),
            space: self.engine.space(),
            refusing: self.gate.pass().err(),
            keys: self.runs.as_ref().map_or(0, |runs| runs.keys()),
        }
    }

    /// Sources that are in the log and have no route, not even one that left the configuration.
    ///
    /// # Errors
    /// [`OperateError::Unavailable`].
    pub async fn unrouted(&self) -> Result<Vec<String>, OperateError> {
        self.ask(|desk| {
            let routed: BTreeSet<&str> = desk
                .lender
                .lanes()
                .map(|lane| lane.record().source.as_str())
                .collect();
            let sources = desk.shelf.sources();
            sources
                .iter()
                .filter(|s| !routed.contains(&***s))
                .map(|s| s.to_string())
                .collect()
        })
        .await
    }

    /// Takes nothing more, writes what is to be written, and marks the shutdown clean.
    ///
    /// # Errors
    /// The engine's.
    pub async fn close(self: Arc<Self>) -> Result<(), EngineError> {
        self.gate.stop();
        let (done, closed) = oneshot::channel();
        let desk = self.desk.clone();
        let hang_up = self.intake.lock().take();
        drop(hang_up);
        blocking(move || drop(desk.send(Command::Close(done)))).await;
        // a desk that failed has said so already
        let _ = closed.await;
        let threads = std::mem::take(&mut *self.threads.lock());
        let engine = self.engine.clone();
        blocking(move || {
            // the keeper ends once committer and desk have dropped their handles
            for thread in threads {
                let _ = thread.join();
            }
            engine.close()
        })
        .await
    }

    fn entry(&self, new: &Delivery) -> Result<(Entry, Timestamp), AppendError> {
        let rule = self.sources.get(&new.envelope.source);
        let window = rule.map_or(WINDOW_DEFAULT, |rule| rule.window);
        let name = rule.map_or_else(
            || Arc::from(new.envelope.source.as_str()),
            |rule| rule.name.clone(),
        );
        let mark = |key: &crate::delivery::IdempotencyKey| {
            KeyMark::new(
                &new.envelope.source,
                new.envelope.event_type.as_deref(),
                &key.0,
                &new.body,
            )
        };
        let key = new
            .head
            .key
            .as_ref()
            .filter(|_| !window.is_zero())
            .map(mark);
        // heads are bounded by the listener far below what can be encoded
        let record = codec::encode(new).map_err(|e| AppendError::Full(e.to_string()))?;
        let received_at = new.envelope.received_at;
        let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let since = Timestamp(received_at.millis().saturating_sub(millis));
        Ok((
            Entry {
                record,
                source: name,
                received_at,
                key,
            },
            since,
        ))
    }

    /// Asks the keys on disk; memory is asked by the committer.
    fn known(&self, entry: &Entry, since: Timestamp) -> (u64, Option<Offset>) {
        let (Some(runs), Some(mark)) = (&self.runs, entry.key) else {
            return (0, None);
        };
        let asked = runs.written();
        match runs.judge(mark, since) {
            Verdict::Repeat(offset) => (asked, Some(offset)),
            // another body under this key may be in memory: the committer looks at both together
            Verdict::Conflict => (ASK_RUNS, None),
            Verdict::New => (asked, None),
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<T, OperateError> {
        let (reply, answer) = oneshot::channel();
        let act = Command::Act(Box::new(move |desk| drop(reply.send(act(desk)))));
        self.send(act)
            .map_err(|e| OperateError::Unavailable(e.to_string()))?;
        answer
            .await
            .map_err(|_| OperateError::Unavailable("the log has stopped".to_owned()))
    }

    /// Has something changed and waits until it is durable.
    async fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Desk) -> Result<T, OperateError> + Send + 'static,
    ) -> Result<T, OperateError> {
        let (reply, answer) = oneshot::channel();
        let act = Command::Act(Box::new(move |desk: &mut Desk| {
            let done = act(desk);
            desk.after_commit(move |committed| {
                let failed = |e: WorkError| OperateError::Unavailable(e.to_string());
                drop(reply.send(committed.map_err(failed).and(done)));
            });
        }));
        self.send(act)
            .map_err(|e| OperateError::Unavailable(e.to_string()))?;
        answer
            .await
            .map_err(|_| OperateError::Unavailable("the log has stopped".to_owned()))?
    }

    fn send(&self, command: Command) -> Result<(), WorkError> {
        self.desk.try_send(command).map_err(|error| {
            let why = match error {
                TrySendError::Full(_) => "too much is being asked of the log",
                TrySendError::Disconnected(_) => "the log has stopped",
            };
            WorkError::Unavailable(why.to_owned())
        })
    }

    /// Decodes records and asks, all at once, where they stand.
    async fn found(
        &self,
        records: Vec<(Offset, bytes::Bytes)>,
        bodies: bool,
    ) -> Result<Vec<Found>, OperateError> {
        let log = self.id();
        let decode = |(offset, record): (Offset, bytes::Bytes)| {
            let (delivery, body_bytes) = query::delivery(&record, bodies)?;
            Ok(Found {
                id: DeliveryId { log, offset },
                delivery,
                body_bytes,
                standings: Vec::new(),
            })
        };
        let found: Result<Vec<Found>, EngineError> = records.into_iter().map(decode).collect();
        let mut found = found.map_err(|e| OperateError::Unavailable(e.to_string()))?;
        let asked: Vec<(String, Offset)> = found
            .iter()
            .map(|found| (found.delivery.envelope.source.clone(), found.id.offset))
            .collect();
        let standings = self
            .ask(move |desk| {
                let stand = |(source, offset): &(String, Offset)| desk.standings(source, *offset);
                asked.iter().map(stand).collect::<Result<Vec<_>, _>>()
            })
            .await??;
        for (found, standings) in found.iter_mut().zip(standings) {
            found.standings = standings;
        }
        Ok(found)
    }

    fn own(&self, id: DeliveryId) -> Result<Offset, OperateError> {
        if id.log == self.id() {
            return Ok(id.offset);
        }
        Err(OperateError::NotFound(format!(
            "delivery {id} is of another log; this one is {}",
            self.id()
        )))
    }

    async fn route_names(&self, only: Option<String>) -> Result<Vec<String>, OperateError> {
        let names: Vec<String> = self
            .ask(|desk| {
                desk.lender
                    .lanes()
                    .map(|lane| lane.name().to_owned())
                    .collect()
            })
            .await?;
        match only {
            Some(only) if !names.contains(&only) => {
                Err(OperateError::NotFound(format!("no route `{only}`")))
            }
            Some(only) => Ok(vec![only]),
            None => Ok(names),
        }
    }

    async fn change_dead(
        &self,
        which: Selection,
        revive: bool,
        actor: Actor,
    ) -> Result<Changed, OperateError> {
        let anything = which.all
            || !which.ids.is_empty()
            || [&which.route, &which.source, &which.event, &which.reason]
                .iter()
                .any(|part| part.is_some())
            || which.since.is_some()
            || which.until.is_some()
            || which.status.is_some();
        if !anything {
            return Err(OperateError::Invalid(
                "say which dead letters: ids, a filter, or all".to_owned(),
            ));
        }
        for id in &which.ids {
            self.own(*id)?;
        }
        let routes = self.route_names(which.route.clone()).await?;
        let engine = self.engine.clone();
        let (dry_run, subject) = (which.dry_run, describe(&which));
        let (chosen, more) = blocking(move || query::select(&*engine, &routes, &which))
            .await
            .map_err(|e| OperateError::Unavailable(e.to_string()))?;
        if dry_run {
            return Ok(Changed {
                count: chosen.len() as u64,
                more,
            });
        }
        let count = self
            .change(move |desk| desk.change_dead(&chosen, revive, &actor, &subject))
            .await?;
        Ok(Changed { count, more })
    }
}

fn describe(which: &Selection) -> String {
    let mut parts = Vec::new();
    let texts = [
        ("route", &which.route),
        ("source", &which.source),
        ("event", &which.event),
        ("reason", &which.reason),
    ];
    parts.extend(
        texts
            .iter()
            .filter_map(|(name, text)| Some(format!("{name}={}", text.as_ref()?))),
    );
    parts.extend(which.status.map(|status| format!("status={status}")));
    parts.extend(which.since.map(|since| format!("since={since}")));
    parts.extend(which.until.map(|until| format!("until={until}")));
    match which.ids.as_slice() {
        [] => {}
        [id] => parts.push(id.to_string()),
        ids => parts.push(format!("{} and {} more", ids[0], ids.len() - 1)),
    }
    if parts.is_empty() {
        "all".to_owned()
    } else {
        parts.join(" ")
    }
}

fn rule(source: &config::Source) -> (String, SourceRule) {
    (
        source.name.clone(),
        SourceRule {
            name: Arc::from(source.name.as_str()),
            window: source.dedupe_window,
        },
    )
}

/// Stops the log when the thread that holds it panics: half a log would go on acknowledging, or
/// look ready, while nothing is delivered.
struct Guard(Arc<Gate>, Arc<dyn Fn(&EngineError) + Send + Sync>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
            (self.1)(&EngineError::Failed(
                "a thread of the log panicked".to_owned(),
            ));
        }
    }
}

fn spawn(
    name: &str,
    guard: Guard,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, EngineError> {
    let thread = std::thread::Builder::new().name(format!("creel-{name}"));
    thread
        .spawn(move || {
            let _guard = guard;
            run();
        })
        .map_err(|e| EngineError::Failed(format!("cannot start the {name} thread: {e}")))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[async_trait]
impl Intake for LocalLog {
    async fn append(&self, new: Delivery) -> Result<Appended, AppendError> {
        self.gate.pass()?;
        let (entry, since) = self.entry(&new)?;
        let (runs_asked, known) = self.known(&entry, since);
        if let Some(offset) = known {
            self.observer.duplicate(&entry.source);
            return Ok(Appended {
                id: DeliveryId {
                    log: self.id(),
                    offset,
                },
                duplicate: true,
            });
        }
        let (reply, answer) = oneshot::channel();
        let pending = Pending {
            entry,
            since,
            runs_asked,
            reply,
        };
        let sent = match &*self.intake.lock() {
            Some(intake) => intake.try_send(pending),
            None => return Err(AppendError::Stopped),
        };
        match sent {
            Ok(()) => answer.await.unwrap_or(Err(AppendError::Stopped)),
            Err(TrySendError::Full(_)) => Err(AppendError::Full(
                "too many deliveries wait for the disk".to_owned(),
            )),
            Err(TrySendError::Disconnected(_)) => Err(AppendError::Stopped),
        }
    }
}

#[async_trait]
impl Work for LocalLog {
    async fn log_id(&self) -> Result<LogId, WorkError> {
        Ok(self.id())
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, WorkError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Lease(request, reply))?;
        answer
            .await
            .map_err(|_| WorkError::Unavailable("the log has stopped".to_owned()))?
    }

    async fn extend(&self, lease: u64) -> Result<Duration, WorkError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Extend(lease, reply))?;
        answer
            .await
            .map_err(|_| WorkError::Unavailable("the log has stopped".to_owned()))?
    }

    async fn settle(&self, lease: u64, settled: Vec<Settled>) -> Result<(), WorkError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Settle(lease, settled, reply))?;
        answer
            .await
            .map_err(|_| WorkError::Unavailable("the log has stopped".to_owned()))?
    }
}

#[async_trait]
impl Operate for LocalLog {
    async fn find(&self, find: Find) -> Result<Page<Found>, OperateError> {
        let (shelf, asked) = (self.shelf.clone(), find.clone());
        let page = blocking(move || query::records(&shelf, &asked))
            .await
            .map_err(|e| OperateError::Unavailable(e.to_string()))?;
        let mut items = self.found(page.items, find.bodies).await?;
        if let Some(only) = &find.route {
            items.retain(|found| found.standings.iter().any(|(route, _)| route == only));
        }
        Ok(Page {
            items,
            next: page.next,
        })
    }

    async fn show(&self, id: DeliveryId) -> Result<Found, OperateError> {
        let offset = self.own(id)?;
        let shelf = self.shelf.clone();
        let record = blocking(move || shelf.record(offset))
            .await
            .map_err(|e| OperateError::Unavailable(e.to_string()))?
            .ok_or_else(|| OperateError::NotFound(format!("no delivery {id}")))?;
        let found = self.found(vec![(offset, record)], true).await?.pop();
        found.ok_or_else(|| OperateError::NotFound(format!("no delivery {id}")))
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, OperateError> {
        let offset = self.own(id)?;
        let engine = self.engine.clone();
        blocking(move || attempts::of(&*engine, offset, ATTEMPTS_SHOWN))
            .await
            .map_err(|e| OperateError::Unavailable(e.to_string()))
    }

    async fn dead(&self, find: Find) -> Result<Page<DeadLetter>, OperateError> {
        let routes = self.route_names(find.route.clone()).await?;
        let (engine, log) = (self.engine.clone(), self.id());
        blocking(move || query::dead(&*engine, log, &routes, &find))
            .await
            .map_err(|e| OperateError::Unavailable(e.to_string()))
    }

    async fn reprocess(&self, which: Selection, actor: Actor) -> Result<Changed, OperateError> {
        self.change_dead(which, true, actor).await
    }

    async fn discard(&self, which: Selection, actor: Actor) -> Result<Changed, OperateError> {
        self.change_dead(which, false, actor).await
    }

    async fn routes(&self) -> Result<Vec<RouteStatus>, OperateError> {
        self.ask(|desk| {
            desk.lender
                .lanes()
                .map(|lane| status(lane, &desk.shelf, &*desk.engine))
                .collect()
        })
        .await
    }

    async fn pause(&self, route: &str, actor: Actor) -> Result<(), OperateError> {
        let route = route.to_owned();
        self.change(move |desk| desk.set_paused(&route, true, &actor))
            .await
    }

    async fn resume(&self, route: &str, actor: Actor) -> Result<(), OperateError> {
        let route = route.to_owned();
        self.change(move |desk| desk.set_paused(&route, false, &actor))
            .await
    }

    async fn rewind(&self, route: &str, to: RewindTo, actor: Actor) -> Result<u64, OperateError> {
        let route = route.to_owned();
        self.change(move |desk| {
            let offset = match to {
                RewindTo::Beginning => 0,
                RewindTo::Offset(offset) => offset,
                RewindTo::Time(time) => desk
                    .shelf
                    .spans()
                    .first_since(time)
                    .unwrap_or(desk.shelf.height()),
            };
            desk.rewind(&route, offset, &actor)
        })
        .await
    }

    async fn rename(&self, from: &str, to: &str, actor: Actor) -> Result<(), OperateError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.change(move |desk| desk.rename(&from, &to, &actor))
            .await
    }

    async fn forget(&self, route: &str, actor: Actor) -> Result<(), OperateError> {
        let route = route.to_owned();
        self.change(move |desk| desk.forget(&route, &actor)).await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<Audit>, OperateError> {
        let engine = self.engine.clone();
        let limit = limit.clamp(1, super::PAGE_MAX) as usize;
        let entries = blocking(move || engine.scan(b"a", &state::end_of(b'a'), limit))
            .await
            .map_err(|e| OperateError::Unavailable(e.to_string()))?;
        let read = |(_, value): (Vec<u8>, Vec<u8>)| {
            codec::from_slice(&value).map_err(|e| OperateError::Unavailable(e.to_string()))
        };
        entries.into_iter().map(read).collect()
    }
}

fn status(lane: &Lane, shelf: &Shelf, engine: &dyn Engine) -> RouteStatus {
    let counts = lane.counts();
    let cursor = lane.cursor();
    let (pending, mut oldest) = {
        // let go before the state store is asked: the committer needs it
        let spans = shelf.spans();
        let pending = spans.count_from(cursor.next(), lane.bit()) + counts.returned;
        let unsettled = pending + counts.open > 0;
        let oldest = unsettled
            .then(|| spans.received_from(cursor.floor(), lane.bit()))
            .flatten();
        (pending, oldest)
    };
    if counts.waiting > 0
        && let Ok(first) = state::waiting(engine, lane.name(), 1)
        && let Some((_, _, entry)) = first.first()
    {
        oldest = Some(oldest.map_or(entry.received_at, |oldest| oldest.min(entry.received_at)));
    }
    RouteStatus {
        name: lane.name().to_owned(),
        source: lane.record().source.clone(),
        destination: lane.config().map(|config| config.destination.clone()),
        paused: lane.record().paused,
        floor: cursor.floor(),
        pending,
        open: counts.open,
        waiting: counts.waiting,
        dead: counts.dead,
        oldest,
        breaker: lane.breaker().to_owned(),
        delivered: counts.delivered,
        unmatched: counts.unmatched,
        epoch: lane.record().epoch,
    }
}
