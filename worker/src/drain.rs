//! Draining one receiver: what to ask for, when, and handing leases to their lanes.
//!
//! Every lane with room is in exactly one outstanding long poll. While all is
//! quiet that is one poll for all lanes. A lane that was full when the poll was
//! sent gets a poll of its own as soon as it has room again, so that it never
//! waits for the quiet ones, and no poll is ever given up half-way (its reply
//! may hold a lease). Polls end on a common beat, so that lanes meet again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use creel_common::ids::LogId;
use creel_common::log::wire::WANTS_MAX;
use creel_common::log::{
    LEASE_BYTES_MAX, LEASE_ITEMS_MAX, Lease, LeaseRequest, Want, Work, WorkError,
};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::hold::Holder;
use crate::lane::{Arrival, Lane, Stop};
use crate::pause::Pauses;
use crate::tally::Tally;

/// Polls that find nothing end on this beat. Below [`creel_common::log::LEASE_WAIT_MAX`].
const BEAT: Duration = Duration::from_secs(20);

/// No poll is shorter than this because of the beat.
const WAIT_MIN: Duration = Duration::from_secs(2);

/// How long a lane waits after an empty poll for the others of the same beat.
const MEET: Duration = Duration::from_millis(20);

/// The same after an empty poll that did not wait: a receiver that is stopping, perhaps.
const MEET_EARLY: Duration = Duration::from_millis(100);

/// Shortest time between two polls of a lane that got little: so that a steady trickle of single
/// deliveries is leased by the handful.
const GATHER: Duration = Duration::from_millis(2);

/// The reply to a poll should be here this long after its wait.
const REPLY_MAX: Duration = Duration::from_secs(30);

/// A route that the receiver does not know is asked for again after this long.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(30);

/// How long a stop waits to learn what the last polls were lent.
const COLLECT_MAX: Duration = Duration::from_secs(3);

const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(10);

/// One receiver and the lanes from it.
pub(crate) struct Drain {
    pub(crate) work: Arc<dyn Work>,
    pub(crate) name: Arc<str>,
    /// Unique among all workers that there ever are; request ids begin with it.
    pub(crate) unique: Arc<str>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) freed: Arc<Notify>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: Stop,
}

/// What all polls of one receiver share.
struct Receiver {
    work: Arc<dyn Work>,
    tally: Arc<Tally>,
    tasks: TaskTracker,
    stop: Stop,
    lanes: HashMap<String, (Lane, mpsc::Sender<Arrival>)>,
    /// Its log; `None` while it is not known, or may have changed.
    log: Mutex<Option<LogId>>,
}

/// What a poll was answered with, and the log that it is from.
struct Lent {
    log: LogId,
    leases: Vec<Lease>,
}

/// How a poll ended: when each of its lanes may be asked for again.
struct Ended {
    lanes: Vec<(usize, Instant)>,
}

/// A lane as the polls see it.
enum Turn {
    /// In a poll that is under way.
    Polled,
    /// Free to be asked for from then on.
    From(Instant),
}

impl Drain {
    /// Runs until the stop, and then until every lease that was got is in its lane.
    pub(crate) async fn run(self) {
        let began = Instant::now();
        let receiver = Arc::new(self.receiver());
        let mut turns: Vec<Turn> = self.lanes.iter().map(|_| Turn::From(began)).collect();
        let mut polls: JoinSet<Ended> = JoinSet::new();
        let mut sent = 0_u64;
        while !self.stop.soon.is_cancelled() {
            let looked_at = loop {
                let now = Instant::now();
                let asked = self.wants(&turns, now);
                if asked.is_empty() {
                    break now;
                }
                sent += 1;
                for (at, _) in &asked {
                    turns[*at] = Turn::Polled;
                }
                let request = self.request(sent, began, &asked);
                let lanes = asked.into_iter().map(|(at, _)| at).collect();
                polls.spawn(poll(Arc::clone(&receiver), request, lanes));
            };
            tokio::select! {
                () = self.stop.soon.cancelled() => break,
                () = self.freed.notified() => {}
                () = sleep_until(next_turn(&turns, looked_at)) => {}
                Some(ended) = polls.join_next() => take_turns(&mut turns, ended),
            }
        }
        while polls.join_next().await.is_some() {}
    }

    /// Starts the lanes.
    fn receiver(&self) -> Receiver {
        let mut lanes = HashMap::new();
        for lane in &self.lanes {
            // no more leases than deliveries fit, so that no poll ever waits for a full lane while
            // others wait for the poll
            let (arrive, arrivals) = mpsc::channel(lane.room.items_max() + 1);
            self.tasks.spawn(lane.clone().run(arrivals));
            lanes.insert(lane.route.to_string(), (lane.clone(), arrive));
        }
        Receiver {
            work: Arc::clone(&self.work),
            tally: Arc::clone(&self.tally),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
            lanes,
            log: Mutex::new(None),
        }
    }

    /// The lanes that have room and whose turn it is; no more than one request may name.
    fn wants(&self, turns: &[Turn], now: Instant) -> Vec<(usize, Want)> {
        let ready = |turn: &Turn| matches!(turn, Turn::From(from) if *from <= now);
        let mut wants = Vec::new();
        for (at, lane) in self.lanes.iter().enumerate() {
            if wants.len() == WANTS_MAX {
                break;
            }
            if !ready(&turns[at]) {
                continue;
            }
            if let Some(free) = lane.room.wanted() {
                let items = u32::try_from(free.items).unwrap_or(u32::MAX);
                wants.push((
                    at,
                    Want {
                        route: lane.route.to_string(),
                        max_items: items.min(LEASE_ITEMS_MAX),
                        max_bytes: (free.bytes as u64).min(LEASE_BYTES_MAX),
                    },
                ));
            }
        }
        wants
    }

    /// The first does not wait: its answer shows that this worker leases.
    fn request(&self, number: u64, began: Instant, asked: &[(usize, Want)]) -> LeaseRequest {
        let wait = match number {
            1 => Duration::ZERO,
            _ => until_beat(began.elapsed()),
        };
        LeaseRequest {
            request: format!("{}-{number}", self.unique),
            worker: self.name.to_string(),
            wants: asked.iter().map(|(_, want)| want.clone()).collect(),
            wait,
        }
    }
}

/// How long a poll sent now waits to end on the beat.
fn until_beat(elapsed: Duration) -> Duration {
    let into = Duration::from_millis(
        u64::try_from(elapsed.as_millis() % BEAT.as_millis()).unwrap_or_default(),
    );
    (BEAT - into).max(WAIT_MIN)
}

/// The first turn that had not come when [`Drain::wants`] looked at `now`: one that came since then is
/// not to be missed.
fn next_turn(turns: &[Turn], now: Instant) -> Option<Instant> {
    turns
        .iter()
        .filter_map(|turn| match turn {
            Turn::From(from) if *from > now => Some(*from),
            _ => None,
        })
        .min()
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn take_turns(turns: &mut [Turn], ended: Result<Ended, tokio::task::JoinError>) {
    match ended {
        Ok(ended) => {
            for (at, from) in ended.lanes {
                turns[at] = Turn::From(from);
            }
        }
        Err(error) => {
            // its lanes would never be asked for again
            tracing::error!(%error, "a poll ended badly");
            for turn in turns.iter_mut() {
                *turn = Turn::From(Instant::now() + PAUSE_LONGEST);
            }
        }
    }
}

/// Asks until there is an answer, and hands what came to the lanes.
async fn poll(receiver: Arc<Receiver>, request: LeaseRequest, lanes: Vec<usize>) -> Ended {
    let started = Instant::now();
    let answer = tokio::select! {
        biased;
        () = receiver.stop.soon.cancelled() => receiver.collect(&request).await,
        answer = receiver.ask(&request) => answer,
    };
    let (next, unknown) = match answer {
        Ok(lent) => {
            let next = next_poll(started, &request, &lent);
            receiver.hand_out(lent).await;
            (next, None)
        }
        Err(WorkError::NoRoute(route)) => {
            tracing::warn!(%route, "the receiver does not know this route");
            (started, Some(route))
        }
        Err(WorkError::Unavailable(why)) => {
            tracing::warn!(%why, "stopping without knowing what the last poll was lent");
            (Instant::now(), None)
        }
        Err(error) => {
            tracing::error!(%error, "the receiver does not take our request for leases");
            (Instant::now() + PAUSE_LONGEST, None)
        }
    };
    let from = |want: &Want| match &unknown {
        Some(route) if want.route == *route => Instant::now() + UNKNOWN_PAUSE,
        _ => next,
    };
    let lanes = lanes.into_iter().zip(request.wants.iter().map(from));
    Ended {
        lanes: lanes.collect(),
    }
}

/// When the lanes of an answered poll may be asked for again.
fn next_poll(started: Instant, request: &LeaseRequest, lent: &Lent) -> Instant {
    let wanted: usize = request
        .wants
        .iter()
        .map(|want| want.max_items as usize)
        .sum();
    let got: usize = lent.leases.iter().map(|lease| lease.items.len()).sum();
    match got {
        0 if started.elapsed() < request.wait / 2 => Instant::now() + MEET_EARLY,
        0 => Instant::now() + MEET,
        _ if got * 4 < wanted => started + GATHER,
        _ => started,
    }
}

impl Receiver {
    /// Makes one and the same request until it is answered: the reply that was lost may have held
    /// a lease, and repeating the request gets it back.
    async fn ask(&self, request: &LeaseRequest) -> Result<Lent, WorkError> {
        let mut pauses = Pauses::new(PAUSE_FIRST, PAUSE_LONGEST);
        loop {
            match self.ask_once(request).await {
                Err(WorkError::Unavailable(why)) => {
                    *self.log.lock().await = None;
                    tracing::warn!(%why, "cannot reach the receiver");
                    pauses.wait().await;
                }
                answer => return answer,
            }
        }
    }

    async fn ask_once(&self, request: &LeaseRequest) -> Result<Lent, WorkError> {
        let log = self.log_id().await?;
        self.tally.polled();
        let asking = self.work.lease(request.clone());
        let leases = tokio::time::timeout(request.wait + REPLY_MAX, asking)
            .await
            .unwrap_or_else(|_| Err(WorkError::Unavailable("no answer in time".to_owned())))?;
        self.tally.answered();
        if leases.is_empty() {
            // quiet: time to look whether it is still the same log
            *self.log.lock().await = None;
        }
        Ok(Lent { log, leases })
    }

    /// The last word of a poll that a stop cut short: what it was lent, or is lent now, so that it
    /// is given back and not lost until the lease ends.
    async fn collect(&self, request: &LeaseRequest) -> Result<Lent, WorkError> {
        let last = LeaseRequest {
            wait: Duration::ZERO,
            ..request.clone()
        };
        tokio::time::timeout(COLLECT_MAX, self.ask_once(&last))
            .await
            .unwrap_or_else(|_| Err(WorkError::Unavailable("no answer in time".to_owned())))
    }

    async fn log_id(&self) -> Result<LogId, WorkError> {
        let mut known = self.log.lock().await;
        if let Some(log) = *known {
            return Ok(log);
        }
        let log = tokio::time::timeout(REPLY_MAX, self.work.log_id())
            .await
            .unwrap_or_else(|_| Err(WorkError::Unavailable("no answer in time".to_owned())))?;
        *known = Some(log);
        Ok(log)
    }

    async fn hand_out(&self, lent: Lent) {
        for lease in lent.leases {
            let Some((lane, arrive)) = self.lanes.get(&lease.route) else {
                tracing::error!(route = %lease.route, "got a lease of a route that was not asked for");
                continue;
            };
            if lease.items.is_empty() {
                continue;
            }
            self.tally.leased();
            let holder = Holder {
                work: Arc::clone(&self.work),
                tally: Arc::clone(&self.tally),
                route: Arc::clone(&lane.route),
                lease: lease.id,
                expires_in: lease.expires_in,
                open: lease.items.len(),
            };
            let (held, holding) = holder.hold();
            self.tasks.spawn(holding);
            let bytes = lease.items.iter().map(|item| item.record.len()).sum();
            let arrival = Arrival {
                log: lent.log,
                portion: lane.room.take(lease.items.len(), bytes),
                items: lease.items,
                held,
            };
            // a lane takes arrivals for as long as there is somebody to send them
            let _ = arrive.send(arrival).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use creel_common::log::Leased;

    use super::*;

    /// When a lane that wanted 100 deliveries and got so many is asked for again, in milliseconds
    /// after its poll was sent.
    async fn again_after(got: u64) -> u128 {
        let want = Want {
            route: "r".to_owned(),
            max_items: 100,
            max_bytes: 1,
        };
        let request = LeaseRequest {
            request: String::new(),
            worker: String::new(),
            wants: vec![want],
            wait: BEAT,
        };
        let items = (1..=got).map(|offset| Leased {
            offset,
            attempt: 1,
            generation: 0,
            record: Bytes::new(),
        });
        let lent = Lent {
            log: LogId::from_bits(1),
            leases: vec![Lease {
                id: 1,
                route: "r".to_owned(),
                expires_in: BEAT,
                items: items.collect(),
            }],
        };
        let started = Instant::now();
        (next_poll(started, &request, &lent) - started).as_millis()
    }

    #[tokio::test]
    async fn the_less_a_poll_got_the_later_is_the_next() {
        assert_eq!(again_after(100).await, 0);
        assert_eq!(again_after(25).await, 0);
        assert_eq!(again_after(24).await, GATHER.as_millis());
        assert!(again_after(0).await >= MEET_EARLY.as_millis());
    }

    #[test]
    fn every_turn_that_was_too_late_when_it_was_looked_at_is_waited_for() {
        let looked_at = Instant::now();
        let after = |nanos| looked_at + Duration::from_nanos(nanos);
        let first = |turns: &[Turn]| next_turn(turns, looked_at);
        assert_eq!(first(&[Turn::Polled, Turn::From(looked_at)]), None);
        // has come by now, and was asked for by nobody
        let turns = [Turn::From(after(7)), Turn::From(after(1)), Turn::Polled];
        assert_eq!(first(&turns), Some(after(1)));
    }

    #[test]
    fn polls_end_on_the_beat_and_are_never_short() {
        let secs = |elapsed| until_beat(Duration::from_secs(elapsed)).as_secs();
        assert_eq!(
            (secs(0), secs(5), secs(19), secs(20), secs(33)),
            (20, 15, 2, 20, 7)
        );
    }
}
