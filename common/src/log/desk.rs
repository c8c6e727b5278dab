//! The desk: the one thread that owns the lender, its state and its time.
//!
//! Whatever has come in is handled in one go; leases are answered at once, and
//! what changed is written as one batch, after which settlements are answered.
//! A commit that took long is followed by a pause, so that workers take a
//! bounded share of the disk from the deliveries that are coming in. That pause
//! and the gathering of parked requests are about the disk and the processor, so
//! they are measured on the real clock; all else is on the clock handed in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::oneshot;

use crate::engine::{Engine, EngineError};
use crate::ids::Offset;
use crate::log::attempts;
use crate::log::gate::Gate;
use crate::log::lane::Now;
use crate::log::lender::{Effects, Lender};
use crate::log::retention::Retention;
use crate::log::shelf::Shelf;
use crate::log::steady::Steady;
use crate::log::{Lease, LeaseRequest, Observer, Settled, WorkError};

/// A request that found nothing is looked at again at most this often: deliveries gather meanwhile.
const RETRY_PARKED: Duration = Duration::from_millis(2);
/// A commit is followed by a pause of so many times its length.
const REST: u32 = 2;
/// Longest such pause.
const REST_MAX: Duration = Duration::from_millis(20);
/// How often leases are looked through for ended ones.
const EXPIRY: Duration = Duration::from_millis(100);
/// How often cursors that only looked further are written, and volumes removed.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// The same while the disk is nearly full, so that history gives way as fast as deliveries come in,
/// and while volumes are carried over.
const HOUSEKEEPING_PRESSED: Duration = Duration::from_millis(100);
/// Commands handled before changes are written.
const CYCLE_MAX: usize = 1024;

/// Something that is asked of the desk with the lender at hand.
pub type Act = Box<dyn FnOnce(&mut Desk) + Send>;
type After = Box<dyn FnOnce(Result<(), WorkError>) + Send>;

/// What may be asked.
pub enum Command {
    /// Deliveries were committed.
    Bell,
    /// Leases.
    Lease(LeaseRequest, oneshot::Sender<Result<Vec<Lease>, WorkError>>),
    /// More time.
    Extend(u64, oneshot::Sender<Result<Duration, WorkError>>),
    /// What came of deliveries.
    Settle(u64, Vec<Settled>, oneshot::Sender<Result<(), WorkError>>),
    /// Anything else.
    Act(Act),
    /// Write what is to be written, and end.
    Close(oneshot::Sender<()>),
}

struct Parked {
    request: LeaseRequest,
    reply: oneshot::Sender<Result<Vec<Lease>, WorkError>>,
    until: Duration,
}

/// The lender with everything around it.
pub struct Desk {
    /// Routes and leases.
    pub lender: Lender,
    /// The log, for reading.
    pub shelf: Arc<Shelf>,
    /// Storage.
    pub engine: Arc<dyn Engine>,
    /// What the current cycle changes.
    pub effects: Effects,
    /// Removes volumes.
    pub retention: Retention,
    /// Number of the next audit record.
    pub next_audit: u64,
    /// This many lost tries make a dead letter.
    pub lost_max: u32,
    clock: Arc<Steady>,
    dice: StdRng,
    observer: Arc<dyn Observer>,
    gate: Arc<Gate>,
    parked: Vec<Parked>,
    after: Vec<After>,
    /// Something happened since parked requests were last looked at.
    stirred: bool,
    /// Set while parked requests wait for new deliveries.
    listening: Arc<AtomicBool>,
    /// How far the log was when parked requests were last looked at.
    seen: Offset,
    last_try: Instant,
    rested: Instant,
    expired: Duration,
    kept_house: Duration,
}

/// What the desk needs besides its lender.
pub struct Around {
    /// The log, for reading.
    pub shelf: Arc<Shelf>,
    /// Storage.
    pub engine: Arc<dyn Engine>,
    /// All clocks.
    pub clock: Arc<Steady>,
    /// For jitter.
    pub dice: StdRng,
    /// Is told of attempts.
    pub observer: Arc<dyn Observer>,
    /// Space and stop.
    pub gate: Arc<Gate>,
    /// Removes volumes.
    pub retention: Retention,
    /// Number of the next audit record.
    pub next_audit: u64,
    /// This many lost tries make a dead letter.
    pub lost_max: u32,
    /// The [`Bell`]'s ear.
    pub listening: Arc<AtomicBool>,
}

impl Desk {
    /// A desk.
    pub fn new(lender: Lender, around: Around) -> Self {
        Self {
            lender,
            shelf: around.shelf,
            engine: around.engine,
            effects: Effects::default(),
            retention: around.retention,
            next_audit: around.next_audit,
            lost_max: around.lost_max,
            clock: around.clock,
            dice: around.dice,
            observer: around.observer,
            gate: around.gate,
            parked: Vec::new(),
            after: Vec::new(),
            stirred: false,
            listening: around.listening,
            seen: 0,
            last_try: Instant::now(),
            rested: Instant::now(),
            expired: Duration::ZERO,
            kept_house: Duration::ZERO,
        }
    }

    /// Serves until it is closed, everybody has hung up, or the engine fails.
    pub fn run(mut self, inbox: &Receiver<Command>, on_failure: &dyn Fn(&EngineError)) {
        if let Err(error) = self.serve(inbox) {
            self.gate.stop();
            on_failure(&error);
            let stopped = || Err(WorkError::Unavailable("the log has stopped".to_owned()));
            self.after.drain(..).for_each(|after| after(stopped()));
        }
    }

    fn serve(&mut self, inbox: &Receiver<Command>) -> Result<(), EngineError> {
        loop {
            self.listen();
            match inbox.recv_timeout(self.patience()) {
                Ok(Command::Close(done)) => {
                    self.close()?;
                    let _ = done.send(());
                    return Ok(());
                }
                Ok(command) => self.handle(command)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            }
            for command in inbox.try_iter().take(CYCLE_MAX) {
                if let Command::Close(done) = command {
                    self.close()?;
                    let _ = done.send(());
                    return Ok(());
                }
                self.handle(command)?;
            }
            self.expire();
            self.serve_parked()?;
            self.keep_house()?;
            if Instant::now() >= self.rested {
                self.commit(false)?;
            }
        }
    }

    /// All clocks, read together.
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    fn handle(&mut self, command: Command) -> Result<(), EngineError> {
        self.stirred = true;
        match command {
            Command::Bell | Command::Close(_) => {}
            Command::Lease(request, reply) => self.lease(request, reply)?,
            Command::Extend(lease, reply) => {
                let _ = reply.send(self.lender.extend(lease, self.now()));
            }
            Command::Settle(lease, settled, reply) => self.settle(lease, settled, reply),
            Command::Act(act) => {
                // whoever asks is answered as of now; a worker's word that was waiting meanwhile counts
                self.expire();
                // what it reads from the state store must be there
                self.commit(false)?;
                act(self);
            }
        }
        Ok(())
    }

    fn lease(
        &mut self,
        request: LeaseRequest,
        reply: oneshot::Sender<Result<Vec<Lease>, WorkError>>,
    ) -> Result<(), EngineError> {
        let now = self.now();
        match self.lend(&request, now)? {
            Ok(leases) if leases.is_empty() && !request.wait.is_zero() => {
                let until = now.mono + request.wait.min(super::LEASE_WAIT_MAX);
                self.parked.push(Parked {
                    request,
                    reply,
                    until,
                });
            }
            answer => self.answer(answer, reply, now),
        }
        Ok(())
    }

    fn lend(
        &mut self,
        request: &LeaseRequest,
        now: Now,
    ) -> Result<Result<Vec<Lease>, WorkError>, EngineError> {
        let routes = request.wants.iter().map(|want| want.route.as_str());
        if self.lender.reads_store(routes) {
            // entries that are still to be written would be missed, and not be looked for again
            self.commit(false)?;
        }
        Ok(self.lender.lease(request, &self.shelf, now))
    }

    /// A worker that has hung up gets nothing, and what it would have got is lent to another.
    fn answer(
        &mut self,
        answer: Result<Vec<Lease>, WorkError>,
        reply: oneshot::Sender<Result<Vec<Lease>, WorkError>>,
        now: Now,
    ) {
        if let Err(Ok(leases)) = reply.send(answer) {
            for lease in leases {
                let back = lease
                    .items
                    .iter()
                    .map(|item| Settled::released(item.offset))
                    .collect();
                let mut dice = || 0.0;
                let _ = self.lender.settle(
                    lease.id,
                    back,
                    &self.shelf,
                    now,
                    &mut dice,
                    &mut self.effects,
                );
            }
        }
    }

    fn settle(
        &mut self,
        lease: u64,
        settled: Vec<Settled>,
        reply: oneshot::Sender<Result<(), WorkError>>,
    ) {
        let now = self.now();
        let dice = &mut self.dice;
        let mut roll = || dice.random::<f64>();
        let settled = self.lender.settle(
            lease,
            settled,
            &self.shelf,
            now,
            &mut roll,
            &mut self.effects,
        );
        match settled {
            Ok(()) => self
                .after
                .push(Box::new(move |done| drop(reply.send(done)))),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Has something done once all changes so far are durable.
    pub fn after_commit(&mut self, after: impl FnOnce(Result<(), WorkError>) + Send + 'static) {
        self.after.push(Box::new(after));
    }

    fn serve_parked(&mut self) -> Result<(), EngineError> {
        if self.parked.is_empty() || self.last_try.elapsed() < RETRY_PARKED {
            return Ok(());
        }
        let now = self.now();
        self.last_try = Instant::now();
        self.stirred = false;
        self.seen = self.shelf.height();
        for parked in std::mem::take(&mut self.parked) {
            if parked.reply.is_closed() {
                continue;
            }
            match self.lend(&parked.request, now)? {
                Ok(leases) if leases.is_empty() && now.mono < parked.until => {
                    self.parked.push(parked)
                }
                answer => self.answer(answer, parked.reply, now),
            }
        }
        Ok(())
    }

    fn expire(&mut self) {
        let now = self.now();
        if now.mono < self.expired + EXPIRY {
            return;
        }
        self.expired = now.mono;
        let dice = &mut self.dice;
        let mut roll = || dice.random::<f64>();
        self.lender
            .expire(&self.shelf, now, &mut roll, &mut self.effects);
    }

    fn keep_house(&mut self) -> Result<(), EngineError> {
        let now = self.now();
        if now.mono < self.next_housekeeping() {
            return Ok(());
        }
        self.kept_house = now.mono;
        self.lender.forget_ended(now);
        // no volume goes before the cursors that let it go are durable
        self.commit(true)?;
        let short = self.gate.shortage();
        self.retention
            .run(&self.lender, &self.shelf, &*self.engine, now, short)
    }

    fn next_housekeeping(&self) -> Duration {
        let pressed = self.gate.is_short() || self.retention.is_busy();
        self.kept_house
            + if pressed {
                HOUSEKEEPING_PRESSED
            } else {
                HOUSEKEEPING
            }
    }

    /// Writes what has changed; with `all` also cursors that only looked further.
    ///
    /// # Errors
    /// The engine's; final.
    pub fn commit(&mut self, all: bool) -> Result<(), EngineError> {
        let mut effects = std::mem::take(&mut self.effects);
        self.lender.write(all, &mut effects.batch);
        if let Err(error) = attempts::keep(&*self.engine, &effects.attempts) {
            // nothing depends on them
            tracing::error!(%error, "attempts could not be kept");
        }
        if !effects.batch.is_empty() {
            self.retention.note(&effects.batch);
            let began = Instant::now();
            self.engine.commit(&effects.batch)?;
            let took = began.elapsed();
            self.observer.state_committed(effects.batch.0.len(), took);
            self.rested = Instant::now() + (took * REST).min(REST_MAX);
        }
        for attempt in &effects.attempts {
            self.observer.attempted(&attempt.route, attempt.verdict);
        }
        for route in &effects.died {
            self.observer.died(route);
        }
        self.after.drain(..).for_each(|after| after(Ok(())));
        Ok(())
    }

    fn close(&mut self) -> Result<(), EngineError> {
        self.parked.clear();
        self.commit(true)
    }

    /// Before it sleeps: has itself woken by new deliveries if a parked request waits for some.
    fn listen(&mut self) {
        // what has stirred already is looked at when it has gathered, bell or no bell
        let waits = !self.parked.is_empty() && !self.stirred;
        self.listening.store(waits, Ordering::SeqCst);
        // what came before it listened would not have rung
        self.stirred |= waits && self.shelf.height() != self.seen;
    }

    /// How long it may sleep if nobody comes.
    fn patience(&self) -> Duration {
        let now = self.now();
        let until = |wake: Duration| wake.saturating_sub(now.mono);
        let mut patience = until(self.next_housekeeping());
        if self.lender.has_leases() {
            patience = patience.min(until(self.expired + EXPIRY));
        }
        if !self.after.is_empty() || !self.effects.batch.is_empty() {
            patience = patience.min(self.rested.saturating_duration_since(Instant::now()));
        }
        if !self.parked.is_empty() {
            let gathered = RETRY_PARKED.saturating_sub(self.last_try.elapsed());
            patience = patience.min(until(self.wake_for_parked(now)).max(gathered));
        }
        patience
    }

    /// When a parked request may be served though nothing new has come.
    fn wake_for_parked(&self, now: Now) -> Duration {
        if self.stirred {
            return now.mono;
        }
        let given_up = self.parked.iter().map(|parked| parked.until).min();
        let wanted = self.parked.iter().flat_map(|parked| &parked.request.wants);
        let lanes = wanted
            .filter_map(|want| self.lender.lane(&want.route)?.wake(now))
            .min();
        given_up
            .into_iter()
            .chain(lanes)
            .min()
            .unwrap_or(Duration::MAX)
    }
}

/// Tells the desk of new deliveries, as long as somebody waits there for some.
///
/// Nobody waiting is the usual case of a receiver whose workers are busy or down; a commit then
/// wakes no thread. The desk says that it listens before it looks at the log for the last time,
/// and the committer has shown its deliveries before it looks whether the desk listens: one of
/// them sees the other.
#[derive(Clone)]
pub struct Bell {
    desk: Sender<Command>,
    listening: Arc<AtomicBool>,
}

impl Bell {
    /// A bell at a desk.
    pub fn new(desk: Sender<Command>) -> Self {
        Self {
            desk,
            listening: Arc::default(),
        }
    }

    /// What the desk hears it by.
    pub fn ear(&self) -> Arc<AtomicBool> {
        self.listening.clone()
    }

    /// Deliveries were committed.
    pub fn ring(&self) {
        // one ring is enough until the desk listens again
        if self.listening.swap(false, Ordering::SeqCst) {
            let _ = self.desk.try_send(Command::Bell);
        }
    }
}
