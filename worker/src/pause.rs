//! Pauses before something is asked again: they double, and are jittered.

use std::time::Duration;

/// Pauses of one series of failures.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    /// A series from `first` to `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            next: first,
            longest,
        }
    }

    /// Waits for the next pause: between half of it and all of it, so that workers that failed
    /// together do not come back together, and none ever spins.
    pub(crate) async fn wait(&mut self) {
        let pause = self.next.mul_f64(rand::random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.longest);
        tokio::time::sleep(pause).await;
    }
}
