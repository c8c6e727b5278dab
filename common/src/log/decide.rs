//! What follows from one try: the one place that decides it.

use std::time::Duration;

use crate::outcome::Outcome;
use crate::retry::RetryPolicy;
use crate::time::Timestamp;

/// How a try ended, lost ones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The worker said so.
    Said(Outcome),
    /// Its lease ended without a word.
    Lost,
}

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// Tries that were used up before this one.
    pub attempts: u32,
    /// How many of them were lost.
    pub lost: u32,
    /// How long ago the delivery was received.
    pub age: Duration,
    /// It was leased as a probe of an open breaker.
    pub probe: bool,
}

/// A route's rules.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Retries.
    pub retry: &'a RetryPolicy,
    /// This many lost tries make a dead letter.
    pub lost_max: u32,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing more to do.
    Settled,
    /// As if it had not been tried.
    Untouched,
    /// To be tried again.
    Wait {
        /// When.
        due: Timestamp,
        /// Tries used up.
        attempts: u32,
        /// Of these, lost.
        lost: u32,
    },
    /// Not tried again unless a person says so.
    Dead {
        /// Tries used up.
        attempts: u32,
        /// Why, where the worker's report does not say it.
        reason: &'static str,
    },
}

/// Decides what follows from one try. `dice` is uniform in `0.0..1.0`.
pub fn decide(tried: Tried, ended: &Ended, rules: Rules<'_>, now: Timestamp, dice: f64) -> Next {
    let attempts = tried.attempts.saturating_add(1);
    match ended {
        Ended::Said(Outcome::Delivered | Outcome::Filtered) => Next::Settled,
        Ended::Said(Outcome::Released) => Next::Untouched,
        Ended::Said(Outcome::Reject) => Next::Dead {
            attempts,
            reason: "rejected",
        },
        Ended::Said(Outcome::Retry { after }) => {
            retry(Tried { attempts, ..tried }, *after, rules, now, dice)
        }
        Ended::Lost => lost(
            Tried {
                attempts,
                lost: tried.lost + 1,
                ..tried
            },
            rules,
            now,
            dice,
        ),
    }
}

fn retry(
    tried: Tried,
    after: Option<Duration>,
    rules: Rules<'_>,
    now: Timestamp,
    dice: f64,
) -> Next {
    let given_up = rules
        .retry
        .give_up_after
        .is_some_and(|patience| tried.age >= patience);
    if given_up {
        return Next::Dead {
            attempts: tried.attempts,
            reason: "gave up: too old",
        };
    }
    if tried.probe {
        return Next::Untouched;
    }
    if tried.attempts >= rules.retry.max_attempts {
        return Next::Dead {
            attempts: tried.attempts,
            reason: "no attempts left",
        };
    }
    let due = now.plus(rules.retry.pause(tried.attempts, after, dice));
    Next::Wait {
        due,
        attempts: tried.attempts,
        lost: tried.lost,
    }
}

fn lost(tried: Tried, rules: Rules<'_>, now: Timestamp, dice: f64) -> Next {
    if tried.lost >= rules.lost_max {
        return Next::Dead {
            attempts: tried.attempts,
            reason: "its workers died or fell silent",
        };
    }
    // a probe that killed its worker says nothing of the destination, but much of the body
    let untried = Tried {
        probe: false,
        ..tried
    };
    match retry(untried, None, rules, now, dice) {
        // the lease was pause enough, and nobody has refused it
        Next::Wait { attempts, lost, .. } => Next::Wait {
            due: now,
            attempts,
            lost,
        },
        next => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn tried(attempts: u32) -> Tried {
        Tried {
            attempts,
            lost: 0,
            age: NOW.since(Timestamp(0)),
            probe: false,
        }
    }

    fn after(tried: Tried, ended: Ended) -> Next {
        let retry = RetryPolicy {
            max_attempts: 3,
            ..RetryPolicy::default()
        };
        decide(
            tried,
            &ended,
            Rules {
                retry: &retry,
                lost_max: 2,
            },
            NOW,
            0.5,
        )
    }

    const RETRY: Ended = Ended::Said(Outcome::Retry { after: None });

    #[test]
    fn it_dies_after_exactly_max_attempts() {
        assert!(matches!(
            after(tried(0), RETRY),
            Next::Wait { attempts: 1, .. }
        ));
        assert!(matches!(
            after(tried(1), RETRY),
            Next::Wait { attempts: 2, .. }
        ));
        assert!(matches!(
            after(tried(2), RETRY),
            Next::Dead { attempts: 3, .. }
        ));
    }

    #[test]
    fn a_rejected_one_is_dead_at_once() {
        assert!(matches!(
            after(tried(0), Ended::Said(Outcome::Reject)),
            Next::Dead { attempts: 1, .. }
        ));
    }

    #[test]
    fn a_release_and_a_failed_probe_use_up_nothing() {
        assert_eq!(
            after(tried(2), Ended::Said(Outcome::Released)),
            Next::Untouched
        );
        assert_eq!(
            after(
                Tried {
                    probe: true,
                    ..tried(2)
                },
                RETRY
            ),
            Next::Untouched
        );
    }

    #[test]
    fn what_a_dead_worker_held_is_tried_again_at_once() {
        assert!(matches!(
            after(tried(0), Ended::Lost),
            Next::Wait { due: NOW, .. }
        ));
    }

    #[test]
    fn a_body_that_kills_its_workers_dies() {
        let first = after(tried(0), Ended::Lost);
        assert!(matches!(
            first,
            Next::Wait {
                attempts: 1,
                lost: 1,
                ..
            }
        ));
        let second = after(
            Tried {
                lost: 1,
                ..tried(1)
            },
            Ended::Lost,
        );
        assert!(matches!(second, Next::Dead { attempts: 2, .. }));
    }

    #[test]
    fn it_gives_up_by_age_even_with_attempts_left_and_even_as_a_probe() {
        let retry = RetryPolicy {
            give_up_after: Some(Duration::from_secs(1)),
            ..RetryPolicy::default()
        };
        for probe in [false, true] {
            let next = decide(
                Tried { probe, ..tried(0) },
                &RETRY,
                Rules {
                    retry: &retry,
                    lost_max: 3,
                },
                NOW,
                0.5,
            );
            assert!(matches!(next, Next::Dead { attempts: 1, .. }));
        }
    }

    proptest! {
        #[test]
        fn attempts_never_go_back_and_nothing_is_due_in_the_past(
            attempts in 0u32..100, lost in 0u32..3, dice in 0.0f64..1.0, is_lost: bool, asked in proptest::option::of(0u64..1 << 40),
        ) {
            let retry = RetryPolicy::default();
            let ended = if is_lost { Ended::Lost } else { Ended::Said(Outcome::Retry { after: asked.map(Duration::from_millis) }) };
            let before = Tried { attempts, lost, age: Duration::ZERO, probe: false };
            match decide(before, &ended, Rules { retry: &retry, lost_max: 3 }, NOW, dice) {
                Next::Wait { due, attempts: used, lost: now_lost } => {
                    prop_assert!(due >= NOW && used == attempts + 1 && used < retry.max_attempts && now_lost >= lost && now_lost < 3);
                }
                Next::Dead { attempts: used, .. } => prop_assert!(used == attempts + 1),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
