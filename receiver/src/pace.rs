//! Where a connection stands and since when, and which one gives way when there are too many.
//!
//! ```text
//!            first byte              head whole              answered
//!  silent ───────────────► head ───────────────► busy ───────────────► idle ──► head …
//!    │ first_byte_timeout    │ header_timeout       the handler's own      │ idle_timeout
//!    ▼ closed                ▼ 408, closed          limits                 ▼ closed
//! ```
//!
//! Over HTTP/2 several requests are under way at once: it is busy while there is any, and there is no
//! `head`, for frames belong to no request until a head is whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::server::Limits;

/// A head has this long before its connection gives way: from far away, with a handshake, and on a
/// busy machine. So connections come and go at most at `connections_max` a second.
const SLOW: Duration = Duration::from_secs(1);
/// A body may be on its way for this long before its connection gives way to another.
const SLOW_BODY: Duration = Duration::from_secs(5);

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nothing of a request has come yet. The TLS handshake is a part of it.
    Silent,
    /// A part of a request's head is there.
    Head,
    /// A request is under way.
    Busy,
    /// Between requests.
    Idle,
}

impl Phase {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Silent,
            1 => Self::Head,
            2 => Self::Busy,
            _ => Self::Idle,
        }
    }
}

/// In what order connections give way: the first of these first, and the longest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Patience {
    /// No head within a second: no honest sender takes that long.
    Slow,
    /// Between requests.
    Idle,
    /// All its requests wait for bodies that do not come.
    SlowBody,
}

/// Where one connection stands and since when.
#[derive(Debug)]
pub struct Pace {
    phase: AtomicU8,
    since_ms: AtomicU64,
    opened: Instant,
    /// Requests under way.
    requests: AtomicU32,
    /// Those of them whose body is on its way.
    bodies: AtomicU32,
    unread: AtomicBool,
    doubtful: AtomicBool,
    gives_way: Notify,
}

/// One request under way; ends when dropped.
pub struct Underway(Arc<Pace>);

/// A request's body is on its way; ends when dropped.
pub struct Awaited(Arc<Pace>);

impl Pace {
    /// Of a connection that was just accepted.
    pub fn new() -> Self {
        Self {
            phase: AtomicU8::new(Phase::Silent as u8),
            since_ms: AtomicU64::new(0),
            opened: Instant::now(),
            requests: AtomicU32::new(0),
            bodies: AtomicU32::new(0),
            unread: AtomicBool::new(false),
            doubtful: AtomicBool::new(false),
            gives_way: Notify::new(),
        }
    }

    /// It stands there from now on.
    pub fn enter(&self, phase: Phase) {
        let since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(since, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        // over HTTP/2 one request may end while another begins
        if self.requests.load(Ordering::Relaxed) > 0 {
            return Phase::Busy;
        }
        Phase::of(self.phase.load(Ordering::Relaxed))
    }

    fn since(&self) -> Instant {
        self.opened + Duration::from_millis(self.since_ms.load(Ordering::Relaxed))
    }

    /// A request begins.
    pub fn begin(self: &Arc<Self>) -> Underway {
        if self.requests.fetch_add(1, Ordering::Relaxed) == 0 {
            self.enter(Phase::Busy);
        }
        Underway(self.clone())
    }

    /// Its body is waited for.
    pub fn await_body(self: &Arc<Self>) -> Awaited {
        self.bodies.fetch_add(1, Ordering::Relaxed);
        Awaited(self.clone())
    }

    /// The request's head can be read in two ways, and a proxy before us may have read it in the
    /// other one. hyper chooses without a word.
    pub fn note_doubtful(&self) {
        self.doubtful.store(true, Ordering::Relaxed);
    }

    /// Whether it can.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Relaxed)
    }

    /// The answer leaves a part of the request's body unread.
    pub fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// A sender that is still writing would get a reset instead of its answer.
    pub fn must_linger(&self) -> bool {
        self.unread.load(Ordering::Relaxed) || self.phase() == Phase::Head
    }

    /// When its time is over, as things stand; `None` while its handler has limits of its own.
    fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let since = self.since();
        match self.phase() {
            Phase::Silent => Some(since + limits.first_byte_timeout),
            Phase::Head => Some(since + limits.header_timeout),
            Phase::Idle => Some(since + limits.idle_timeout),
            Phase::Busy => None,
        }
    }

    /// Returns when the connection has been silent, idle, or its head on the way, for too long.
    pub async fn overdue(&self, limits: &Limits) {
        // another phase may begin while this sleeps: wake up in time for the end of any
        let shortest = limits
            .header_timeout
            .min(limits.idle_timeout)
            .min(limits.first_byte_timeout);
        loop {
            let soonest = Instant::now() + shortest;
            let until = match self.deadline(limits) {
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => deadline.min(soonest),
                None => soonest,
            };
            tokio::time::sleep_until(until).await;
        }
    }

    /// How it stands when there are too many connections, and since when; `None` while it works, or has
    /// just come.
    pub fn patience(&self, now: Instant) -> Option<(Patience, Instant)> {
        let since = self.since();
        let age = now.saturating_duration_since(since);
        let patience = match self.phase() {
            Phase::Silent | Phase::Head if age >= SLOW => Patience::Slow,
            Phase::Silent | Phase::Head => return None,
            Phase::Idle => Patience::Idle,
            Phase::Busy => {
                let waits = self.bodies.load(Ordering::Relaxed);
                let all = waits == self.requests.load(Ordering::Relaxed);
                if !all || age < SLOW_BODY {
                    return None;
                }
                Patience::SlowBody
            }
        };
        Some((patience, since))
    }

    /// Asks the connection to give way.
    pub fn give_way(&self) {
        self.gives_way.notify_one();
    }

    /// Returns when the connection was asked to give way and may.
    pub async fn must_give_way(&self) {
        loop {
            self.gives_way.notified().await;
            // a request may have begun meanwhile
            if self.patience(Instant::now()).is_some() {
                return;
            }
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.enter(Phase::Idle);
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(pace: &Pace, after: Duration) -> Option<Patience> {
        let at = pace.opened + after;
        pace.patience(at).map(|(patience, _)| patience)
    }

    #[test]
    fn who_works_stays_and_who_is_slow_goes_before_who_is_idle() {
        let pace = Arc::new(Pace::new());
        assert_eq!(patience(&pace, Duration::ZERO), None, "it just came");
        assert_eq!(patience(&pace, SLOW), Some(Patience::Slow));
        let request = pace.begin();
        let hour = Duration::from_secs(3600);
        assert_eq!(patience(&pace, hour), None, "it works");
        let body = pace.await_body();
        assert_eq!(patience(&pace, Duration::ZERO), None, "its body may come");
        assert_eq!(patience(&pace, hour), Some(Patience::SlowBody));
        let other = pace.begin();
        assert_eq!(patience(&pace, hour), None, "another one works");
        drop((body, request));
        assert_eq!(pace.phase(), Phase::Busy);
        drop(other);
        assert_eq!(pace.phase(), Phase::Idle);
        assert_eq!(patience(&pace, hour), Some(Patience::Idle));
        assert!(Patience::Slow < Patience::Idle && Patience::Idle < Patience::SlowBody);
    }
}
