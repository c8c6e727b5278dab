//! A lease in our hands: kept alive, and settled as its deliveries are done.

use std::sync::Arc;
use std::time::Duration;

use creel_common::log::{Settled, Work, WorkError};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::pause::Pauses;
use crate::room::Portion;
use crate::tally::Tally;

/// How long results are gathered while others of the same lease are still under way: so that a
/// thousand deliveries a second cost few requests, and nobody notices the wait.
const GATHER: Duration = Duration::from_millis(4);

/// One request may take this long before it counts as lost and is made again.
const REQUEST_MAX: Duration = Duration::from_secs(10);

const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(2);

/// What came of a part of a lease, and the room that it took.
pub(crate) struct Done {
    pub(crate) settled: Vec<Settled>,
    pub(crate) portion: Portion,
}

/// A lease, as far as those who deliver its items need to know.
#[derive(Clone)]
pub(crate) struct Held {
    /// Cancelled when the lease has ended: nothing more of it should be begun.
    pub(crate) over: CancellationToken,
    done: mpsc::UnboundedSender<Done>,
}

impl Held {
    /// Reports a part. After the lease's end nobody listens, and that is fine.
    pub(crate) fn report(&self, done: Done) {
        let _ = self.done.send(done);
    }
}

/// Keeps one lease until all of it is settled or it has ended.
pub(crate) struct Holder {
    pub(crate) work: Arc<dyn Work>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) route: Arc<str>,
    pub(crate) lease: u64,
    pub(crate) expires_in: Duration,
    /// Deliveries that are not settled yet.
    pub(crate) open: usize,
}

impl Holder {
    /// The handle for those who deliver, and the task to run beside them.
    pub(crate) fn hold(self) -> (Held, impl Future<Output = ()> + Send) {
        // bounded by the lease: every item is reported at most once
        let (done, reports) = mpsc::unbounded_channel();
        let over = CancellationToken::new();
        let held = Held {
            over: over.clone(),
            done,
        };
        (held, self.run(reports, over))
    }

    async fn run(mut self, reports: mpsc::UnboundedReceiver<Done>, over: CancellationToken) {
        let work = Arc::clone(&self.work);
        let ended = tokio::select! {
            why = keep(&*work, self.lease, self.expires_in) => Some(why),
            end = self.settle_all(reports) => end,
        };
        over.cancel();
        if let Some(why) = ended {
            self.tally.fenced();
            tracing::warn!(
                route = &*self.route, lease = self.lease, open = self.open, %why,
                "lost a lease; what is not settled comes again"
            );
        }
    }

    /// Settles everything; `Some` when the lease turned out to have ended before.
    async fn settle_all(
        &mut self,
        mut reports: mpsc::UnboundedReceiver<Done>,
    ) -> Option<WorkError> {
        while self.open > 0 {
            let (settled, portions) = gather(&mut reports, self.open).await?;
            let count = settled.len();
            if let Err(why) = settle(&*self.work, self.lease, settled).await {
                return Some(why);
            }
            self.tally.settled();
            self.open -= count.min(self.open);
            drop(portions);
        }
        None
    }
}

/// What has been done since the last time: at once when it is all that is open, else with what
/// follows within [`GATHER`]. `None` when nothing more will come.
async fn gather(
    reports: &mut mpsc::UnboundedReceiver<Done>,
    open: usize,
) -> Option<(Vec<Settled>, Vec<Portion>)> {
    let first = reports.recv().await?;
    let (mut settled, mut portions) = (first.settled, vec![first.portion]);
    let until = Instant::now() + GATHER;
    while settled.len() < open {
        match tokio::time::timeout_at(until, reports.recv()).await {
            Ok(Some(more)) => {
                settled.extend(more.settled);
                portions.push(more.portion);
            }
            Ok(None) | Err(_) => break,
        }
    }
    Some((settled, portions))
}

/// Settles until an answer comes that is one. The caller ends it when the lease is over.
async fn settle(work: &dyn Work, lease: u64, settled: Vec<Settled>) -> Result<(), WorkError> {
    let mut pauses = Pauses::new(PAUSE_FIRST, PAUSE_LONGEST);
    loop {
        match in_time(work.settle(lease, settled.clone())).await {
            Err(WorkError::Unavailable(why)) => {
                tracing::debug!(lease, %why, "cannot settle yet");
                pauses.wait().await;
            }
            answer => return answer,
        }
    }
}

/// Extends the lease at half of its time for as long as this runs; returns when it has ended.
async fn keep(work: &dyn Work, lease: u64, expires_in: Duration) -> WorkError {
    let mut ends = Instant::now() + expires_in;
    let mut wait = expires_in / 2;
    loop {
        tokio::time::sleep(wait).await;
        match extend_before(work, lease, ends).await {
            Ok((asked, again)) => {
                ends = asked + again;
                wait = ends.saturating_duration_since(Instant::now()) / 2;
            }
            Err(why) => return why,
        }
    }
}

/// Extends until an answer comes, at most until the lease ends by our own clock.
async fn extend_before(
    work: &dyn Work,
    lease: u64,
    ends: Instant,
) -> Result<(Instant, Duration), WorkError> {
    let mut pauses = Pauses::new(PAUSE_FIRST, PAUSE_LONGEST);
    let extending = async {
        loop {
            let asked = Instant::now();
            match in_time(work.extend(lease)).await {
                Ok(again) => return Ok((asked, again)),
                Err(WorkError::Unavailable(why)) => {
                    tracing::debug!(lease, %why, "cannot extend yet");
                    pauses.wait().await;
                }
                Err(why) => return Err(why),
            }
        }
    };
    tokio::time::timeout_at(ends, extending)
        .await
        .unwrap_or(Err(WorkError::Stale(lease)))
}

/// An answer, or [`WorkError::Unavailable`] when none came in time.
async fn in_time<T>(asking: impl Future<Output = Result<T, WorkError>>) -> Result<T, WorkError> {
    tokio::time::timeout(REQUEST_MAX, asking)
        .await
        .unwrap_or_else(|_| Err(WorkError::Unavailable("no answer in time".to_owned())))
}
