//! The log's own threads, and work that blocks.

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::engine::EngineError;
use crate::log::gate::Gate;

/// Stops the log when the thread that holds it panics: half a log would go on acknowledging, or
/// look ready, while nothing is delivered.
pub(super) struct Guard(
    pub(super) Arc<Gate>,
    pub(super) Arc<dyn Fn(&EngineError) + Send + Sync>,
);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
            (self.1)(&EngineError::Failed(
                "a thread of the log panicked".to_owned(),
            ));
        }
    }
}

pub(super) fn spawn(
    name: &str,
    guard: Guard,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, EngineError> {
    let thread = std::thread::Builder::new().name(format!("creel-{name}"));
    thread
        .spawn(move || {
            let _guard = guard;
            run();
        })
        .map_err(|e| EngineError::Failed(format!("cannot start the {name} thread: {e}")))
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
