//! What runs beside the log: a thread that keeps house, and one that watches syncs that hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::durable;

/// Where a sync is watched.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lane {
    /// An append, or the close.
    Append,
    /// A commit of state.
    State,
}

/// Notices a flush that does not return: sled can sleep for ever after an error.
#[derive(Debug)]
pub(super) struct Watch {
    started: Instant,
    limit: Duration,
    /// Milliseconds after `started` at which each lane's flush began; 0 when none is under way.
    begun: [AtomicU64; 2],
}

/// A flush under way.
pub(super) struct Watched<'a>(&'a AtomicU64);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

impl Watch {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            started: Instant::now(),
            limit,
            begun: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + 1
    }

    /// Watches from now until the answer is dropped.
    pub(super) fn begin(&self, lane: Lane) -> Watched<'_> {
        let begun = &self.begun[lane as usize];
        begun.store(self.now_ms(), Ordering::Release);
        Watched(begun)
    }

    /// The longest time that a flush has been under way, if it is beyond the limit.
    pub(super) fn overdue(&self) -> Option<Duration> {
        let now = self.now_ms();
        let begun = self.begun.iter().map(|b| b.load(Ordering::Acquire));
        let longest = begun
            .filter(|b| *b > 0)
            .map(|b| now.saturating_sub(b))
            .max();
        longest
            .map(Duration::from_millis)
            .filter(|taken| *taken > self.limit)
    }

    /// Ends the process when a flush is overdue.
    pub(super) fn check(&self) {
        if let Some(taken) = self.overdue() {
            durable::end(&format!(
                "a sync of the log has not returned for {} s; nothing more is acknowledged",
                taken.as_secs()
            ));
        }
    }
}

/// A thread that does something every so often until it is stopped.
#[derive(Debug)]
pub(super) struct Ticker {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Signal {
    state: Mutex<Called>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Called {
    stop: bool,
    now: bool,
}

/// Calls a ticker's thread before its time.
#[derive(Debug, Clone)]
pub(super) struct Call(Arc<Signal>);

impl Call {
    /// For a ticker that [`Ticker::start`] will make of it.
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// Makes the thread tick now.
    pub(super) fn now(&self) {
        self.0.state.lock().now = true;
        self.0.changed.notify_all();
    }
}

impl Ticker {
    /// Starts a thread called `name`.
    pub(super) fn start(
        name: &str,
        every: Duration,
        call: &Call,
        tick: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let signal = call.0.clone();
        let heard = signal.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while heard.wait(every) {
                    tick();
                }
            })?;
        Ok(Self {
            signal,
            thread: Some(thread),
        })
    }

    /// Stops the thread and waits for it. Its tick under way is finished.
    pub(super) fn stop(&mut self) {
        self.signal.state.lock().stop = true;
        self.signal.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // a panic of it has been printed already
            let _ = thread.join();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Signal {
    /// Waits for the next tick; `false` when there is none any more.
    fn wait(&self, every: Duration) -> bool {
        let mut called = self.state.lock();
        if !called.now && !called.stop {
            self.changed.wait_for(&mut called, every);
        }
        called.now = false;
        !called.stop
    }
}

/// Ends the process when one of sled's own threads panics: what it was about to write is lost
/// for this process, and waiting for it would hang.
pub(super) fn end_on_panics_of_sled() {
    static INSTALLED: std::sync::Once = std::sync::Once::new();
    INSTALLED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            before(info);
            let thread = std::thread::current();
            if is_sleds(thread.name().unwrap_or_default()) {
                durable::end(
                    "a thread of the log's storage panicked; nothing more is acknowledged",
                );
            }
        }));
    });
}

/// Names that sled gives its threads.
fn is_sleds(thread: &str) -> bool {
    thread == "log flusher" || thread.starts_with("sled-io-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_overdue_only_while_it_is_under_way_for_too_long() {
        let watch = Watch::new(Duration::from_millis(5));
        assert_eq!(watch.overdue(), None);
        let flush = watch.begin(Lane::State);
        watch.begun[Lane::State as usize].store(1, Ordering::Release);
        while watch.now_ms() < 10 {
            std::hint::spin_loop();
        }
        assert!(watch.overdue().is_some());
        drop(flush);
        assert_eq!(watch.overdue(), None);
    }

    #[test]
    fn a_called_ticker_ticks_before_its_time_and_stops() {
        let (ticked, ticks) = std::sync::mpsc::channel();
        let call = Call::new();
        let hour = Duration::from_secs(3600);
        let mut ticker = Ticker::start("test", hour, &call, move || {
            let _ = ticked.send(());
        })
        .unwrap();
        call.now();
        ticks.recv().unwrap();
        ticker.stop();
        assert!(ticks.recv().is_err());
    }
}
