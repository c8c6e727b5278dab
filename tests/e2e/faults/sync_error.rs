//! A disk that fails a sync: nothing more is acknowledged, and the process ends with 74.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::audit::audit;
use super::{alone, scale};
use crate::harness::{Load, Receiver, Site, Sizes, Strace, eventually, strace_or_left_out};
use crate::trace::{Acked, History, Snapshot, acks_are_covered};

const DISK_FAILED: i32 = 74;
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Strace counts the calls of each thread: the first fifty or so syncs fail the
/// start, the later ones fail commits under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_nothing_is_acknowledged_and_the_exit_code_is_74() {
    let sweep = scale(vec![1, 7, 20, 60, 75, 100], (1..=130).collect());
    fail_each("failed sync", "fsync,fdatasync", sweep).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_write_nothing_is_acknowledged_and_the_exit_code_is_74() {
    let sweep = scale(vec![1, 12, 60], (1..=130).collect());
    fail_each("failed write", "pwrite64", sweep).await;
}

async fn fail_each(name: &str, calls: &str, sweep: Vec<u32>) {
    if !strace_or_left_out(name) {
        return;
    }
    let _alone = alone().await;
    let (mut acked, mut never) = (0, 0);
    for &nth in &sweep {
        match fail_nth(name, calls, nth).await {
            Some(acks) => acked += acks,
            None => never += 1,
        }
    }
    let runs = sweep.len();
    println!("{name}: {runs} runs, {never} without an n-th call, {acked} acked, 0 lost");
    assert!(acked > 0, "no run came as far as an acknowledgement");
    assert!(never * 2 < runs, "the fault was hardly ever injected");
    println!("{name}: PASS");
}

/// How many deliveries were acknowledged before the `nth` of `calls` failed;
/// `None` if no thread ever came to its `nth`.
async fn fail_nth(name: &str, calls: &str, nth: u32) -> Option<usize> {
    let site = Site::new("", "");
    let trace = site.path("trace");
    let what = format!("{calls}:error=EIO:when={nth}");
    let strace = Strace::Inject {
        what,
        into: trace.clone(),
    };
    let load = Load::new(16, Sizes::Between(200, 2000));
    let acked = match Receiver::bind(&site, Some(&strace)).await {
        Err(failed) => {
            assert_eq!(
                failed.0.code(),
                Some(DISK_FAILED),
                "{name} {nth}: {}",
                failed.0.stderr
            );
            Vec::new()
        }
        Ok(mut receiver) => {
            receiver.allow_errors("");
            load_until_the_end(&mut receiver, &load).await?
        }
    };
    let took = from_fault_to_end(&trace);
    assert!(
        took < ENDS_WITHIN,
        "{name} {nth}: ended only {took:.1?} after it"
    );
    let history = History::of_file(&trace, site.disk(), site.root(), Snapshot::empty()).unwrap();
    let coverage = acks_are_covered(&history, &acked);
    if coverage.broken().next().is_some() {
        site.keep();
        panic!(
            "{name} {nth}: {coverage}; kept in {}",
            site.root().display()
        );
    }
    let after = restart(&site, &load, &acked).await;
    println!("{name} {nth}: {} acked, then exit 74; {after}", acked.len());
    Some(acked.len())
}

/// The time between the injected error and the last line of the trace.
fn from_fault_to_end(trace: &Path) -> Duration {
    let text = fs::read(trace).expect("a trace");
    let time = |line: &[u8]| -> f64 {
        let words = std::str::from_utf8(&line[..line.len().min(40)]).expect("ASCII");
        words
            .split_whitespace()
            .nth(1)
            .and_then(|time| time.parse().ok())
            .expect("a time")
    };
    let mut lines = text
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty());
    let fault = lines
        .find(|line| line.ends_with(b"(INJECTED)"))
        .expect("an injected error");
    let end = lines.next_back().map_or_else(|| time(fault), time);
    Duration::from_secs_f64((end - time(fault)).max(0.0))
}

async fn load_until_the_end(receiver: &mut Receiver, load: &Load) -> Option<Vec<Acked>> {
    let stop = CancellationToken::new();
    let senders = tokio::spawn({
        let (load, stop, to) = (load.clone(), stop.clone(), receiver.public);
        async move { load.run(to, Some(20_000), &stop).await }
    });
    let ended = eventually(
        "the end of the senders or the receiver",
        Duration::from_secs(60),
        async || (receiver.has_ended() || senders.is_finished()).then(|| receiver.has_ended()),
    )
    .await;
    stop.cancel();
    let tally = senders.await.expect("senders do not panic");
    if !ended {
        receiver.kill().await;
        return None;
    }
    let exit = receiver.exit_within(ENDS_WITHIN).await;
    assert_eq!(exit.code(), Some(DISK_FAILED), "{}", exit.stderr);
    Some(tally.acked)
}

/// The same directory on a disk that works again.
async fn restart(site: &Site, load: &Load, acked: &[Acked]) -> String {
    let mut receiver = Receiver::start(site).await;
    let more = load.push(receiver.public, 20).await;
    receiver.terminate(Duration::from_secs(20)).await;
    let all: Vec<Acked> = acked.iter().cloned().chain(more).collect();
    let audit = audit(site, load, &all, &HashSet::new()).await;
    assert!(audit.is_clean(), "{audit}");
    audit.to_string()
}
