//! A route's breaker: when a destination is down, only probes are sent.
//!
//! ```text
//!           failures in a row
//!  closed ───────────────────► open ──pause──► probing ──failed──► open (pause doubled)
//!    ▲                                            │
//!    └────────── ramp: 1, 2, 4 … at once ◄────────┘ delivered
//! ```

use std::time::Duration;

use crate::config;

/// A route's breaker, on monotonic time.
#[derive(Debug, Clone)]
pub struct Breaker {
    settings: config::Breaker,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Duration, pause: Duration },
    Probing { pause: Duration },
    Ramp { at_once: u32 },
}

/// From this many at once on, a ramp is over.
const RAMP_END: u32 = 1024;

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: config::Breaker) -> Self {
        Self {
            settings,
            state: State::Closed { failures: 0 },
        }
    }

    /// How many may be leased in all at this time, given how many are.
    pub fn limit(&mut self, now: Duration) -> usize {
        if let State::Open { until, pause } = self.state
            && now >= until
        {
            self.state = State::Probing { pause };
        }
        self.limit_now()
    }

    /// The same as it stood when it was last asked.
    pub fn limit_now(&self) -> usize {
        match self.state {
            State::Closed { .. } => usize::MAX,
            State::Open { .. } => 0,
            State::Probing { .. } => 1,
            State::Ramp { at_once } => at_once as usize,
        }
    }

    /// Whether a lease made now is a probe: its failure uses up no attempt.
    pub fn probing(&self) -> bool {
        matches!(self.state, State::Probing { .. })
    }

    /// Whether it stands open at all (open or probing).
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. } | State::Probing { .. })
    }

    /// When an open breaker lets a probe through.
    pub fn probe_at(&self) -> Option<Duration> {
        match self.state {
            State::Open { until, .. } => Some(until),
            _ => None,
        }
    }

    /// The destination answered (delivered, filtered or refused for good: it is up).
    pub fn answered(&mut self) {
        self.state = match self.state {
            State::Closed { .. } => State::Closed { failures: 0 },
            State::Open { .. } | State::Probing { .. } => State::Ramp { at_once: 1 },
            State::Ramp { at_once } if at_once >= RAMP_END => State::Closed { failures: 0 },
            State::Ramp { at_once } => State::Ramp {
                at_once: at_once + 1,
            },
        };
    }

    /// A try failed. `probe` says that it was leased as one.
    pub fn failed(&mut self, now: Duration, probe: bool) {
        if self.settings.failures == 0 {
            return;
        }
        self.state = match self.state {
            State::Closed { failures } if failures + 1 < self.settings.failures => State::Closed {
                failures: failures + 1,
            },
            State::Closed { .. } | State::Ramp { .. } => self.open(now, self.settings.pause),
            State::Probing { pause } if probe => {
                self.open(now, (pause * 2).min(self.settings.pause_max))
            }
            // a try from before it opened says nothing new
            state @ (State::Open { .. } | State::Probing { .. }) => state,
        };
    }

    fn open(&self, now: Duration, pause: Duration) -> State {
        State::Open {
            until: now + pause,
            pause,
        }
    }

    /// The word for status pages: `closed`, `open`, `probing`, `ramp`.
    pub fn word(&self) -> &'static str {
        match self.state {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::Probing { .. } => "probing",
            State::Ramp { .. } => "ramp",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(config::Breaker {
            failures: 3,
            pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(3),
        })
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn failures_in_a_row_open_it_and_others_do_not() {
        let mut b = breaker();
        b.failed(secs(0), false);
        b.failed(secs(0), false);
        b.answered();
        b.failed(secs(0), false);
        b.failed(secs(0), false);
        assert_eq!(b.limit(secs(0)), usize::MAX);
        b.failed(secs(0), false);
        assert_eq!(b.limit(secs(0)), 0);
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_up_to_its_bound() {
        let mut b = breaker();
        (0..3).for_each(|_| b.failed(secs(0), false));
        assert_eq!(b.limit(secs(1)), 1);
        assert!(b.probing());
        b.failed(secs(1), true);
        assert_eq!(b.probe_at(), Some(secs(3)));
        assert_eq!(b.limit(secs(3)), 1);
        b.failed(secs(3), true);
        assert_eq!(b.probe_at(), Some(secs(6)));
    }

    #[test]
    fn a_straggler_from_before_does_not_lengthen_the_pause() {
        let mut b = breaker();
        (0..3).for_each(|_| b.failed(secs(0), false));
        b.failed(secs(0), false);
        assert_eq!(b.probe_at(), Some(secs(1)));
        assert_eq!(b.limit(secs(1)), 1);
        b.failed(secs(1), false);
        assert!(b.probing());
    }

    #[test]
    fn back_up_it_ramps_instead_of_stampeding() {
        let mut b = breaker();
        (0..3).for_each(|_| b.failed(secs(0), false));
        b.limit(secs(1));
        b.answered();
        assert_eq!(b.limit(secs(1)), 1);
        b.answered();
        assert_eq!(b.limit(secs(1)), 2);
        (0..RAMP_END).for_each(|_| b.answered());
        assert_eq!(b.limit(secs(1)), usize::MAX);
    }

    #[test]
    fn zero_failures_switch_it_off() {
        let mut b = Breaker::new(config::Breaker {
            failures: 0,
            ..config::Breaker::default()
        });
        (0..100).for_each(|_| b.failed(secs(0), false));
        assert_eq!(b.limit(secs(0)), usize::MAX);
    }
}
