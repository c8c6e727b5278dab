//! The disk alone: bare appends with a sync before each answer, no HTTP.
//!
//! As many writers as there would be connections hand records to one thread, which writes what is
//! waiting, syncs once, and answers all: a group commit like any log's.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::file_log::FileLog;
use super::latency::Latencies;

/// Appends records of `size` bytes from `writers` tasks for `measured`.
///
/// # Errors
/// When the file cannot be written.
pub fn run(
    path: &Path,
    writers: usize,
    size: usize,
    warm_up: Duration,
    measured: Duration,
) -> anyhow::Result<(Latencies, Duration)> {
    let log = Arc::new(FileLog::create(path)?);
    let counting = Arc::new(AtomicBool::new(false));
    let over = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..writers {
            let (log, counting, over) = (log.clone(), counting.clone(), over.clone());
            tasks.spawn(async move {
                let mut latencies = Latencies::default();
                while !over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    log.append(vec![b'x'; size]).await?;
                    if counting.load(Ordering::Relaxed) {
                        latencies.add(begun.elapsed());
                    }
                }
                anyhow::Ok(latencies)
            });
        }
        tokio::time::sleep(warm_up).await;
        let start = Instant::now();
        counting.store(true, Ordering::Relaxed);
        tokio::time::sleep(measured).await;
        counting.store(false, Ordering::Relaxed);
        let took = start.elapsed();
        over.store(true, Ordering::Relaxed);
        let mut all = Latencies::default();
        while let Some(part) = tasks.join_next().await {
            all.merge(&part.context("a writer panicked")??);
        }
        Ok((all, took))
    })
}
