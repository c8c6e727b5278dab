//! Keeps a receiver and workers running until told to stop, or until it makes no sense any more.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use creel_common::retry::RetryPolicy;
use rustix::process::Signal;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Sockets;
use super::child::{Child, Launch};
use super::reloading::{Reloading, Step};
use super::rolling::Rolling;
use crate::failure::{DISK, FAILED, Failure, USAGE};
use crate::lifeline::{self, Word};
use crate::notices::Notices;
use crate::rundir::{Processes, RunDir};
use crate::standing::BEAT;
use crate::stop::{Hangup, Hangups, Signals};

/// A child that ran this long was fine: the next pause is the first one again.
const FINE_AFTER: Duration = Duration::from_secs(30);

/// What a child may take to end beyond its own drain timeout.
const SLACK: Duration = Duration::from_secs(15);

/// A receiver that has not said for so many beats that it lives, hangs.
const BEATS_MISSED_MAX: u32 = 3;

/// What is to run.
pub struct Plan {
    /// The executable of every child.
    pub executable: PathBuf,
    /// Arguments every child gets.
    pub shared: Vec<OsString>,
    /// Log lines are JSON objects.
    pub json: bool,
    /// Receivers the workers lease from.
    pub receivers: Vec<String>,
    /// How many workers.
    pub workers: usize,
    /// What a worker may take to finish.
    pub worker_drain: Duration,
    /// What a receiver may take to finish.
    pub receiver_drain: Duration,
    /// The listening sockets.
    pub sockets: Sockets,
    /// Where processes find each other.
    pub run: RunDir,
    /// Whoever started this has gone.
    pub gone: CancellationToken,
    /// Whether the configuration, as it is now, may be used.
    pub check: Box<dyn Fn() -> anyhow::Result<()> + Send + Sync>,
}

/// Which child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    Receiver,
    Worker(usize),
}

impl Seat {
    fn name(self) -> String {
        match self {
            Self::Receiver => "receiver".into(),
            Self::Worker(number) => format!("worker-{number}"),
        }
    }
}

/// What a seat tells the supervisor.
enum Event {
    Started(Seat, u32),
    Says(Seat, Word),
    /// A worker has ended because it is to be started again.
    Restarts(usize),
    Ended(Seat, ExitStatus),
    Failed(Seat, anyhow::Error),
}

/// Runs until SIGTERM or SIGINT, or until the receiver says that going on makes no sense.
///
/// # Errors
/// [`Failure::Disk`] when the receiver ended with 74, and its like for 2. A receiver that was
/// never ready and ends is not started again: what is wrong then is wrong next time too.
pub async fn run(plan: Plan, mut notices: Option<Notices>) -> anyhow::Result<()> {
    let mut stop = Signals::listen()?;
    let mut hangups = Hangups::listen()?;
    let (tell, mut events) = mpsc::channel(64);
    let plan = Arc::new(plan);
    let (stop_workers, workers_told) = watch::channel(false);
    let (stop_receiver, receiver_told) = watch::channel(false);
    let mut processes = Processes {
        up: std::process::id(),
        ..Processes::default()
    };
    note(&plan.run, &processes);
    let reload: Arc<Notify> = Arc::default();
    let receiver = seat(
        &plan,
        Seat::Receiver,
        &tell,
        Orders {
            stop: receiver_told,
            restart: Arc::default(),
            reload: reload.clone(),
        },
    );
    let restarts: Vec<Arc<Notify>> = (0..plan.workers).map(|_| Arc::default()).collect();
    let workers: Vec<JoinHandle<()>> = (1..)
        .zip(&restarts)
        .map(|(number, restart)| {
            let orders = Orders {
                stop: workers_told.clone(),
                restart: restart.clone(),
                reload: Arc::default(),
            };
            seat(&plan, Seat::Worker(number), &tell, orders)
        })
        .collect();
    drop(tell);

    let mut table = Table::new(plan.workers);
    let mut beat = tokio::time::interval(notices.as_ref().map_or(BEAT, Notices::beat));
    let ending = loop {
        tokio::select! {
            signal = stop.told() => {
                tracing::info!(signal, "stopping: workers first, then the receiver");
                break Ok(());
            }
            () = plan.gone.cancelled() => break Ok(()),
            hangup = hangups.heard() => match hangup {
                Hangup::TerminalGone => break Ok(()),
                Hangup::Asked => table.reload.ask(&plan),
            },
            _ = beat.tick() => {}
            event = events.recv() => {
                let Some(event) = event else { bail!("every child is gone") };
                if let Some(ending) = table.note(event, &mut processes) {
                    break Err(ending);
                }
                note(&plan.run, &processes);
            }
        }
        match table.reload.next() {
            Some(Step::Receiver) => reload.notify_one(),
            Some(Step::Workers) => roll(&plan, &mut table.rolling),
            None => {}
        }
        if let Some(number) = table.rolling.next() {
            restarts[number - 1].notify_one();
        }
        if let Some(notices) = &mut notices {
            table.report(notices);
        }
    };
    if let Some(notices) = &mut notices {
        notices.stopping("stopping workers, then the receiver");
    }
    // the rest of the events are only drained, so that no seat waits for us
    let drain = tokio::spawn(async move { while events.recv().await.is_some() {} });
    stop_workers.send_replace(true);
    if ending.is_err() {
        // there is no receiver that workers could still need
        stop_receiver.send_replace(true);
    }
    for worker in workers {
        let _ = worker.await;
    }
    stop_receiver.send_replace(true);
    let _ = receiver.await;
    drain.abort();
    plan.run.clear();
    if ending.is_ok() {
        tracing::info!("stopped");
    }
    ending
}

/// Begins to restart the workers, if that would not end everything.
fn roll(plan: &Plan, rolling: &mut Rolling) {
    match (plan.check)() {
        Ok(()) => {
            tracing::info!("restarting the workers, one after the other");
            rolling.begin(plan.workers);
        }
        Err(error) => {
            tracing::error!("no worker is restarted, for the configuration has problems: {error:#}")
        }
    }
}

/// Writes down who runs. That this cannot be done, say on a full disk, stops nobody.
fn note(run: &RunDir, processes: &Processes) {
    if let Err(error) = run.write_processes(processes) {
        tracing::warn!(%error, "cannot write down which processes run");
    }
}

/// Who sits where, and how they stand.
struct Table {
    receiver: Option<u32>,
    workers: Vec<Option<u32>>,
    /// Workers that lease.
    leasing: Vec<bool>,
    was_ready: bool,
    /// What the receiver said last of whether it takes deliveries, and when; nothing while it starts.
    taking: Option<(bool, Instant)>,
    rolling: Rolling,
    reload: Reloading,
}

impl Table {
    fn new(workers: usize) -> Self {
        Self {
            receiver: None,
            workers: vec![None; workers],
            leasing: vec![false; workers],
            was_ready: false,
            taking: None,
            rolling: Rolling::default(),
            reload: Reloading::default(),
        }
    }

    /// Tells the service manager how things stand. A receiver that hangs is not said to live.
    fn report(&self, notices: &mut Notices) {
        let (lives, takes) = match self.taking {
            None => (true, false),
            Some((takes, at)) => (at.elapsed() < BEAT * BEATS_MISSED_MAX, takes),
        };
        let mut status = match (self.taking, lives) {
            (None, _) => "the receiver starts".to_owned(),
            (_, false) => "the receiver does not answer".to_owned(),
            (Some((true, _)), _) => "taking deliveries".to_owned(),
            (Some((false, _)), _) => "not taking deliveries".to_owned(),
        };
        let leasing = self.leasing.iter().filter(|&&leases| leases).count();
        status += &format!("; {leasing} of {} workers lease", self.workers.len());
        match self.rolling.left() {
            0 => {}
            left => status += &format!("; {left} to be restarted"),
        }
        if lives {
            notices.alive(takes, &status);
        } else {
            notices.status(&status);
        }
    }

    /// Notes what happened; answers how it all ends, if it does.
    fn note(&mut self, event: Event, processes: &mut Processes) -> Option<anyhow::Error> {
        let mut ending = None;
        match event {
            Event::Started(Seat::Receiver, pid) => {
                tracing::info!(pid, "receiver started");
                if self.was_ready {
                    processes.receiver_restarts += 1;
                }
                self.receiver = Some(pid);
            }
            Event::Started(Seat::Worker(number), pid) => {
                tracing::info!(pid, number, "worker started");
                self.workers[number - 1] = Some(pid);
            }
            Event::Says(Seat::Receiver, Word::Ready) => {
                self.was_ready = true;
                tracing::info!("receiver ready");
            }
            Event::Says(Seat::Receiver, Word::Reloaded) => self.reload.answered(true),
            Event::Says(Seat::Receiver, Word::Kept) => self.reload.answered(false),
            Event::Says(Seat::Receiver, word) => {
                self.taking = Some((word == Word::Taking, Instant::now()));
            }
            Event::Says(Seat::Worker(number), _) => {
                tracing::info!(number, "worker leases");
                self.leasing[number - 1] = true;
                self.rolling.leases(number);
            }
            Event::Restarts(number) => {
                self.leave(Seat::Worker(number));
                self.rolling.ended(number);
            }
            Event::Ended(seat, status) => {
                self.leave(seat);
                if seat == Seat::Receiver {
                    self.reload.receiver_ended();
                }
                tracing::warn!(%status, "{} ended", seat.name());
                ending = self.verdict(seat, status);
            }
            Event::Failed(seat, error) => {
                ending = Some(error.context(format!("cannot run {}", seat.name())));
            }
        }
        processes.receiver = self.receiver;
        processes.workers = self.workers.iter().flatten().copied().collect();
        ending
    }

    fn leave(&mut self, seat: Seat) {
        match seat {
            Seat::Receiver => (self.receiver, self.taking) = (None, None),
            Seat::Worker(number) => {
                self.workers[number - 1] = None;
                self.leasing[number - 1] = false;
            }
        }
    }

    fn verdict(&self, seat: Seat, status: ExitStatus) -> Option<anyhow::Error> {
        let name = seat.name();
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        match (code, seat) {
            (Some(DISK), Seat::Receiver) => Some(
                Failure::Disk("the disk failed; see the receiver's last lines above".into()).into(),
            ),
            (Some(USAGE), _) => Some(
                Failure::Usage(format!(
                    "{name} ended: wrong usage or configuration, see above"
                ))
                .into(),
            ),
            (Some(FAILED), Seat::Receiver) if !self.was_ready => Some(anyhow::anyhow!(
                "the receiver could not start; see its last lines above"
            )),
            _ => None,
        }
    }
}

/// What a seat is told.
struct Orders {
    stop: watch::Receiver<bool>,
    restart: Arc<Notify>,
    /// A receiver is to read its configuration again.
    reload: Arc<Notify>,
}

/// How a child came to its end.
enum End {
    OfItself(ExitStatus),
    Stopped,
    Restarts,
}

fn seat(
    plan: &Arc<Plan>,
    seat: Seat,
    tell: &mpsc::Sender<Event>,
    orders: Orders,
) -> JoinHandle<()> {
    let (plan, tell) = (plan.clone(), tell.clone());
    tokio::spawn(async move {
        if let Err(error) = keep(&plan, seat, &tell, orders).await {
            let _ = tell.send(Event::Failed(seat, error)).await;
        }
    })
}

/// Keeps one seat taken until told to stop.
async fn keep(
    plan: &Plan,
    seat: Seat,
    tell: &mpsc::Sender<Event>,
    mut orders: Orders,
) -> anyhow::Result<()> {
    let pauses = RetryPolicy {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(10),
        ..RetryPolicy::default()
    };
    let mut failed = 0;
    while !*orders.stop.borrow() {
        let began = Instant::now();
        let (mut child, socket) = start(plan, seat)?;
        tell.send(Event::Started(seat, child.pid())).await?;
        let ended = tokio::select! {
            status = run_child(&mut child, &socket, seat, tell, &orders.reload) => End::OfItself(status?),
            _ = orders.stop.wait_for(|stop| *stop) => End::Stopped,
            () = orders.restart.notified() => End::Restarts,
        };
        let status = match ended {
            End::OfItself(status) => status,
            End::Stopped => return end(plan, seat, &mut child).await,
            End::Restarts => {
                end(plan, seat, &mut child).await?;
                restarts(seat, tell).await?;
                failed = 0;
                continue;
            }
        };
        tell.send(Event::Ended(seat, status)).await?;
        failed = if began.elapsed() >= FINE_AFTER {
            1
        } else {
            failed + 1
        };
        let asked = tokio::select! {
            () = tokio::time::sleep(pauses.ceiling(failed)) => false,
            _ = orders.stop.wait_for(|stop| *stop) => false,
            () = orders.restart.notified() => true,
        };
        if asked {
            restarts(seat, tell).await?;
        }
    }
    Ok(())
}

async fn restarts(seat: Seat, tell: &mpsc::Sender<Event>) -> anyhow::Result<()> {
    if let Seat::Worker(number) = seat {
        tell.send(Event::Restarts(number)).await?;
    }
    Ok(())
}

async fn run_child(
    child: &mut Child,
    socket: &tokio::net::UnixStream,
    seat: Seat,
    tell: &mpsc::Sender<Event>,
    reload: &Notify,
) -> anyhow::Result<ExitStatus> {
    let mut is_ready = false;
    loop {
        tokio::select! {
            status = child.ended() => return status,
            word = lifeline::heard(socket) => match word {
                Some(word) => {
                    is_ready |= word == Word::Ready;
                    tell.send(Event::Says(seat, word)).await?;
                }
                None => return child.ended().await,
            },
            // one that does not listen for it yet would be ended by it
            () = reload.notified(), if is_ready => child.signal(Signal::HUP),
        }
    }
}

fn start(plan: &Plan, seat: Seat) -> anyhow::Result<(Child, tokio::net::UnixStream)> {
    let (ours, theirs) = lifeline::pair()?;
    let mut arguments: Vec<OsString> = Vec::new();
    match seat {
        Seat::Receiver => arguments.push("receiver".into()),
        Seat::Worker(_) => {
            arguments.extend(["worker".into(), "--name".into(), seat.name().into()]);
            for url in &plan.receivers {
                arguments.extend(["--receiver".into(), url.into()]);
            }
        }
    }
    arguments.push("--supervised".into());
    arguments.extend(plan.shared.iter().cloned());
    let child = Child::start(Launch {
        executable: &plan.executable,
        arguments,
        lifeline: theirs,
        name: seat.name(),
        json: plan.json,
    })?;
    if seat == Seat::Receiver {
        let listeners = &plan.sockets.listeners;
        lifeline::hand_over(&ours, &listeners.public, &listeners.private)?;
    }
    ours.set_nonblocking(true)?;
    let ours = tokio::net::UnixStream::from_std(ours).context("cannot watch a child")?;
    Ok((child, ours))
}

/// Asks a child to end, waits, and ends it when it takes too long.
async fn end(plan: &Plan, seat: Seat, child: &mut Child) -> anyhow::Result<()> {
    child.signal(Signal::TERM);
    let patience = SLACK
        + match seat {
            Seat::Receiver => plan.receiver_drain,
            Seat::Worker(_) => plan.worker_drain,
        };
    match tokio::time::timeout(patience, child.ended()).await {
        Ok(status) => {
            let status = status?;
            if !status.success() {
                tracing::warn!(%status, "{} ended", seat.name());
            }
        }
        Err(_) => {
            tracing::error!("{} does not end; killing it", seat.name());
            child.signal(Signal::KILL);
            child.ended().await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::failure::code;

    const WORKER: Seat = Seat::Worker(1);

    fn ends(seat: Seat, status: i32, was_ready: bool) -> Option<u8> {
        let mut table = Table {
            receiver: Some(7),
            workers: vec![Some(8)],
            was_ready,
            ..Table::new(1)
        };
        let mut processes = Processes::default();
        let event = Event::Ended(seat, ExitStatus::from_raw(status));
        let ending = table.note(event, &mut processes);
        assert_eq!(processes.receiver.is_none(), seat == Seat::Receiver);
        ending.map(|error| code(&error))
    }

    fn exited(code: u8) -> i32 {
        i32::from(code) << 8
    }

    #[test]
    fn what_a_restart_cannot_mend_ends_everything_with_its_code() {
        assert_eq!(ends(Seat::Receiver, exited(74), true), Some(74));
        assert_eq!(ends(Seat::Receiver, exited(2), true), Some(2));
        assert_eq!(ends(WORKER, exited(2), true), Some(2));
        assert_eq!(ends(Seat::Receiver, exited(1), false), Some(1));
    }

    #[test]
    fn everything_else_is_started_again() {
        let killed = 9;
        for status in [killed, exited(0), exited(1), exited(101)] {
            assert_eq!(ends(Seat::Receiver, status, true), None, "{status}");
            assert_eq!(ends(WORKER, status, false), None, "{status}");
        }
        assert_eq!(ends(Seat::Receiver, killed, false), None);
        assert_eq!(ends(WORKER, exited(74), true), None);
    }
}
