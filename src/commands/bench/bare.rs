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
use super::interrupt::Interrupt;
use super::latency::Latencies;

/// What all writers share.
struct Shared {
    log: FileLog,
    size: usize,
    counting: AtomicBool,
    over: AtomicBool,
}

/// Appends records of `size` bytes from `writers` tasks for `measured`.
///
/// # Errors
/// When the file cannot be written, or it is told to stop.
pub fn run(
    path: &Path,
    writers: usize,
    size: usize,
    (warm_up, measured): (Duration, Duration),
    interrupt: &Interrupt,
) -> anyhow::Result<(Latencies, Duration)> {
    let shared = Arc::new(Shared {
        log: FileLog::create(path)?,
        size,
        counting: AtomicBool::new(false),
        over: AtomicBool::new(false),
    });
    let driven = shared.clone();
    let writing = std::thread::Builder::new()
        .name("writers".into())
        .spawn(move || drive(&driven, writers))
        .context("cannot start a thread")?;
    let slept = interrupt.sleep(warm_up);
    let start = Instant::now();
    shared.counting.store(true, Ordering::Relaxed);
    let slept = slept.and_then(|()| interrupt.sleep(measured));
    shared.counting.store(false, Ordering::Relaxed);
    let took = start.elapsed();
    shared.over.store(true, Ordering::Relaxed);
    slept?;
    let latencies = writing
        .join()
        .map_err(|_| anyhow::anyhow!("the writers panicked"))??;
    Ok((latencies, took))
}

fn drive(shared: &Arc<Shared>, writers: usize) -> anyhow::Result<Latencies> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..writers {
            tasks.spawn(write(shared.clone()));
        }
        let mut all = Latencies::default();
        while let Some(part) = tasks.join_next().await {
            all.merge(&part.context("a writer panicked")??);
        }
        Ok(all)
    })
}

async fn write(shared: Arc<Shared>) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    while !shared.over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        shared.log.append(vec![b'x'; shared.size]).await?;
        if shared.counting.load(Ordering::Relaxed) {
            latencies.add(begun.elapsed());
        }
    }
    Ok(latencies)
}
