//! The log in the process that owns it.

mod backup;
mod configure;
mod intake;
mod operate;
mod threads;
mod work;

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use parking_lot::{Mutex, RwLock};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{oneshot, watch};

use self::backup::Backups;
use self::intake::SourceRules;
use self::threads::{Guard, blocking, spawn};
use crate::config::Config;
use crate::engine::{Engine, EngineError, Space, VolumeInfo};
use crate::ids::{LogId, Offset};
use crate::log::account::Account;
use crate::log::bounds::{Bound, Bounds, Reached};
use crate::log::carry::{self, Carrier, Carrying};
use crate::log::committer::{Committer, Pending};
use crate::log::desk::{Around, Bell, Command, Desk};
use crate::log::gate::Gate;
use crate::log::keeper::{Charge, Keeper};
use crate::log::keys::{Dedupe, Horizon, Runs, Tender};
use crate::log::lender::Lender;
use crate::log::losses::{Loss, Losses};
use crate::log::opening::{next_audit, open_lanes, open_runs, recover, remembered, routed_floors};
use crate::log::retention::Retention;
use crate::log::shelf::Shelf;
use crate::log::steady::Steady;
use crate::log::{AppendError, Observer, OperateError};
use crate::time::Clock;

/// Deliveries that may wait for the committer; intake bounds their bytes far more tightly, and their
/// number by `receiver.waiting_max`, which is this at most.
const INTAKE_QUEUE: usize = 65_536;
/// Commands that may wait for the desk.
const DESK_QUEUE: usize = 16_384;
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
    /// Names of the sources of which deliveries are or were there.
    pub sources: Vec<Arc<str>>,
    /// Volumes, oldest first.
    pub volumes: Vec<VolumeInfo>,
    /// Numbers of those that are being removed: nothing in them counts as there any more.
    pub going: Vec<u64>,
    /// What was lost in the log's whole life.
    pub lost: Vec<Loss>,
    /// What it takes, part by part.
    pub parts: Vec<(&'static str, u64)>,
    /// Room on its disk.
    pub space: Option<Space>,
    /// Why nothing is taken, if so.
    pub refusing: Option<AppendError>,
    /// Bounds of its room, with their bytes.
    pub bounds: Vec<(Bound, u64)>,
    /// Those that are reached: of the log, and of sources.
    pub reached: Vec<Reached>,
    /// What is kept of each source, in all and in each volume.
    pub account: Arc<Account>,
    /// Idempotency keys on disk, and for how long they last; `None` without a disk.
    pub dedupe: Option<Dedupe>,
}

/// The log in the process that owns it: [`Intake`](super::Intake), [`Work`](super::Work) and
/// [`Operate`](super::Operate) over an engine.
pub struct LocalLog {
    clock: Arc<Steady>,
    engine: Arc<dyn Engine>,
    shelf: Arc<Shelf>,
    runs: Option<Arc<Runs>>,
    horizon: Arc<Horizon>,
    losses: Arc<Losses>,
    gate: Arc<Gate>,
    observer: Arc<dyn Observer>,
    sources: RwLock<SourceRules>,
    intake: Mutex<Option<Sender<Pending>>>,
    desk: Sender<Command>,
    /// Changes whenever the committer comes round.
    turns: watch::Receiver<()>,
    reserve_bytes: u64,
    backups: Backups,
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
        let clock = Arc::new(Steady::new(around.clock.clone()));
        let runs = open_runs(&*engine, config.dedupe.keys_max)?;
        let height = engine.raise_next(remembered(&*engine, runs.as_ref())?)?;
        if let Some(runs) = &runs {
            runs.set_lost(&engine.gaps());
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
        let gate = Arc::new(Gate::new(
            engine.clone(),
            Bounds::from(config),
            Arc::new(recovered.account),
        ));
        let keys_covered = runs.as_ref().map_or(Offset::MAX, |runs| runs.end());
        let (keeper, keep) = Keeper::new(keys_covered);
        let (carrier, carry) = Carrier::new();
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
            Carrying::new(carrier, config.log.volume_bytes),
        );
        let desk_state = Desk::new(
            lender,
            Around {
                shelf: shelf.clone(),
                engine: engine.clone(),
                clock: clock.clone(),
                dice,
                observer: around.observer.clone(),
                gate: gate.clone(),
                retention,
                next_audit: next_audit(&*engine)?,
                lost_max: config.log.lost_max,
                listening: bell.ear(),
            },
        );
        let (turn, turns) = watch::channel(());
        let sources = SourceRules::of(config);
        let horizon = Arc::new(Horizon::new(config.dedupe.keys_max, sources.window_max()));
        let committer = Committer {
            engine: engine.clone(),
            shelf: shelf.clone(),
            table: recovered.keys,
            runs: runs.clone(),
            horizon: horizon.clone(),
            keeper,
            gate: gate.clone(),
            observer: around.observer.clone(),
            turns: turn,
            bell: Box::new(move || bell.ring()),
            on_failure: around.on_failure.clone(),
        };
        let losses = Arc::new(Losses::open(&*engine));
        losses.look(&*engine, around.clock.wall());
        let tender = runs.clone().map(|runs| Tender {
            runs,
            losses: losses.clone(),
            engine: engine.clone(),
            reserve_bytes: config.log.reserve_bytes,
            horizon: horizon.clone(),
            clock: clock.clone(),
        });
        let charge = Charge {
            engine: engine.clone(),
            runs: runs.clone(),
            gate: gate.clone(),
        };
        let carries = carry::Charge {
            engine: engine.clone(),
            shelf: shelf.clone(),
            gate: gate.clone(),
        };
        let on_failure = around.on_failure;
        let failed = on_failure.clone();
        let guard = || Guard(gate.clone(), on_failure.clone());
        let mut threads = vec![
            spawn("committer", guard(), move || committer.run(&intake_inbox))?,
            spawn("desk", guard(), move || {
                desk_state.run(&desk_inbox, &*failed);
            })?,
            spawn("keeper", guard(), move || keep(charge))?,
            spawn("carrier", guard(), move || carry(carries))?,
        ];
        if let Some(tender) = tender {
            threads.push(spawn("keys", guard(), move || tender.run())?);
        }
        let log = Arc::new(Self {
            engine,
            shelf,
            runs,
            horizon,
            losses,
            gate,
            observer: around.observer,
            sources: RwLock::new(sources),
            intake: Mutex::new(Some(intake)),
            desk,
            turns,
            clock,
            reserve_bytes: config.log.reserve_bytes,
            backups: Backups::default(),
            threads: Mutex::new(threads),
        });
        if let Some(dedupe) = log.dedupe() {
            dedupe.tell();
        }
        Ok(log)
    }

    /// The log's name.
    pub fn id(&self) -> LogId {
        self.engine.opened().log
    }

    /// Storage, for what reads it at a start.
    pub(super) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// Whether it can acknowledge right now.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), AppendError> {
        self.gate.pass()
    }

    /// Returns when both threads that decide have shown life: the desk has answered, after a commit
    /// of what it had changed, and the committer has come round.
    ///
    /// # Errors
    /// The log has stopped.
    pub async fn alive(&self) -> Result<(), OperateError> {
        let mut turns = self.turns.clone();
        turns.mark_unchanged();
        self.ask(|_| ()).await?;
        let stopped = |_| OperateError::Unavailable("the log has stopped".to_owned());
        turns.changed().await.map_err(stopped)
    }

    /// Facts for status pages and metrics. Blocks; call it off the async threads.
    pub fn facts(&self) -> LogFacts {
        let volumes = self.engine.volumes();
        let (first, deliveries, going) = {
            let spans = self.shelf.spans();
            let is_going = |v: &&VolumeInfo| v.sealed && spans.count_in(v.first, v.end) == 0;
            (
                spans.first().unwrap_or(self.shelf.height()),
                spans.deliveries(),
                volumes.iter().filter(is_going).map(|v| v.number).collect(),
            )
        };
        LogFacts {
            log: self.id(),
            first,
            next: self.shelf.height(),
            deliveries,
            sources: self.shelf.sources(),
            volumes,
            going,
            lost: self.losses.look(&*self.engine, self.clock.now().wall),
            parts: self.engine.parts(),
            space: self.engine.space(),
            refusing: self.gate.pass().err(),
            bounds: self.gate.bounds(),
            reached: self.gate.reached(),
            account: self.gate.account().clone(),
            dedupe: self.dedupe(),
        }
    }

    fn dedupe(&self) -> Option<Dedupe> {
        let stock = self.runs.as_ref()?.stock();
        let now = self.clock.now();
        Some(self.horizon.look(stock, now.wall, now.mono))
    }

    /// Takes nothing more, writes what is to be written, and marks the shutdown clean.
    ///
    /// # Errors
    /// The engine's.
    pub async fn close(self: Arc<Self>) -> Result<(), EngineError> {
        self.gate.stop();
        self.backups.stop().await;
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
            // keeper and carrier end once committer and desk have dropped their handles
            for thread in threads {
                let _ = thread.join();
            }
            engine.close()
        })
        .await
    }
}
