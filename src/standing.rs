//! How a receiver stands, said to whoever watches over it: `creel up`, or a service manager.
//!
//! It is said to live only when the threads that decide have answered, and to be ready only when a
//! delivery would be acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use creel_common::log::local::LocalLog;
use tokio_util::sync::CancellationToken;

use crate::lifeline::{Lifeline, Word};
use crate::notices::Notices;

/// How often it looks whether deliveries are taken.
const LOOK: Duration = Duration::from_secs(1);
/// How often `creel up` is told that all is as before.
pub const BEAT: Duration = Duration::from_secs(10);

const TAKING: &str = "taking deliveries";

/// Whoever watches over a receiver.
pub enum Watcher {
    /// `creel up`.
    Up(Lifeline),
    /// A service manager, if there is one.
    Manager(Notices),
}

impl Watcher {
    fn beat(&self) -> Duration {
        match self {
            Self::Up(_) => BEAT,
            Self::Manager(notices) => notices.beat(),
        }
    }

    fn alive(&mut self, refusing: Option<&str>) {
        match self {
            Self::Up(lifeline) => lifeline.say(match refusing {
                None => Word::Taking,
                Some(_) => Word::Refusing,
            }),
            Self::Manager(notices) => match refusing {
                None => notices.alive(true, TAKING),
                Some(why) => notices.alive(false, &format!("not taking deliveries: {why}")),
            },
        }
    }

    fn stopping(&mut self) {
        if let Self::Manager(notices) = self {
            notices.stopping("finishing what was begun");
        }
    }
}

/// Says how the log stands, now and whenever that changes, and that it lives, until the stop.
pub async fn report(log: Arc<LocalLog>, mut watcher: Watcher, stop: CancellationToken) {
    stop.run_until_cancelled(look(&log, &mut watcher)).await;
    watcher.stopping();
}

async fn look(log: &LocalLog, watcher: &mut Watcher) {
    let mut told: Option<(Option<String>, Instant)> = None;
    loop {
        let refusing = log.ready().err().map(|why| why.to_string());
        let due = told.as_ref().is_none_or(|(before, at)| {
            *before != refusing || at.elapsed() + LOOK / 2 >= watcher.beat()
        });
        // what does not answer is not said to live
        if due && log.alive().await.is_ok() {
            watcher.alive(refusing.as_deref());
            told = Some((refusing, Instant::now()));
        }
        tokio::time::sleep(LOOK.min(watcher.beat())).await;
    }
}
