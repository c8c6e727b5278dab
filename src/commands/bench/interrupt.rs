//! Being told to stop in the middle of a measurement, so that gigabytes are not left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::failure::said;
use crate::stop::Signals;

/// Between two looks at whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Set by SIGINT and SIGTERM.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on, on a thread of its own.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let told = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let mut signals = runtime.block_on(async { Signals::listen() })?;
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                runtime.block_on(signals.told());
                told.0.store(true, Ordering::Relaxed);
            })
            .context("cannot start a thread")?;
        Ok(interrupt)
    }

    /// Sleeps, unless it is told to stop.
    ///
    /// # Errors
    /// When it was.
    pub fn sleep(&self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        loop {
            if self.0.load(Ordering::Relaxed) {
                return Err(said());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }
}
