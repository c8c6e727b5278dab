//! What a service manager is told of this process, as sd_notify(3) describes: that it is ready, how
//! it stands, that it lives, that it stops. Without a service manager all of it is nothing.

use std::time::Duration;

use sd_notify::NotifyState as State;

/// Somebody who is waiting for us to be ready waits this much longer from each time we say why not.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// A word at least this often, whatever the watchdog's time.
const BEAT_MAX: Duration = Duration::from_secs(10);

/// Speaks for this process.
#[derive(Debug)]
pub struct Notices {
    watchdog: Option<Duration>,
    ready: bool,
    status: String,
}

impl Notices {
    /// To the service manager that the environment names, if any.
    pub fn of_this_process() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled(),
            ready: false,
            status: String::new(),
        }
    }

    /// How often a sign of life is due.
    pub fn beat(&self) -> Duration {
        self.watchdog
            .map_or(BEAT_MAX, |within| (within / 3).min(BEAT_MAX))
    }

    /// It lives, and stands so: `ready` says that it does its work. Once it was ready it stays so for
    /// the manager, and the status says what is wrong.
    pub fn alive(&mut self, ready: bool, status: &str) {
        let mut states = vec![State::Status(status)];
        if ready && !self.ready {
            states.push(State::Ready);
        }
        self.ready |= ready;
        if !self.ready {
            let patience = u32::try_from(START_PATIENCE.as_micros()).unwrap_or(u32::MAX);
            states.push(State::ExtendTimeoutUsec(patience));
        }
        if self.watchdog.is_some() {
            states.push(State::Watchdog);
        }
        status.clone_into(&mut self.status);
        tell(&states);
    }

    /// The same when it has not been looked whether it lives, and only if its status is another.
    pub fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            tell(&[State::Status(status)]);
        }
    }

    /// It stops now, of its own accord or because it was told to.
    pub fn stopping(&mut self, status: &str) {
        status.clone_into(&mut self.status);
        tell(&[State::Stopping, State::Status(status)]);
    }
}

fn tell(states: &[State<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told how this process stands");
    }
}
