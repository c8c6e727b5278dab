//! A disk that fails a sync: nothing more is acknowledged, and the process ends with 74.

use std::collections::HashSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::audit::audit;
use super::{alone, scale};
use crate::harness::{Load, Receiver, Site, Sizes, Strace, eventually, strace_or_left_out};
use crate::trace::{Acked, History, Snapshot, acks_are_covered};

const DISK_FAILED: i32 = 74;
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Strace counts the syncs of each thread: the first fifty or so fail the start,
/// the later ones fail commits under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_nothing_is_acknowledged_and_the_exit_code_is_74() {
    if !strace_or_left_out("after_a_failed_sync_nothing_is_acknowledged") {
        return;
    }
    let _alone = alone().await;
    let sweep: Vec<u32> = scale(vec![1, 7, 20, 60, 75, 100], (1..=130).collect());
    let (mut acked, mut never) = (0, 0);
    for &nth in &sweep {
        match fail_nth(nth).await {
            Some(acks) => acked += acks,
            None => never += 1,
        }
    }
    println!(
        "failed sync: {} runs, {never} without an n-th sync, {acked} acked, 0 lost",
        sweep.len()
    );
    assert!(acked > 0, "no run came as far as an acknowledgement");
    assert!(
        never * 2 < sweep.len(),
        "the fault was hardly ever injected"
    );
    println!("failed sync: PASS");
}

/// How many deliveries were acknowledged before the `nth` sync failed; `None`
/// if no thread ever came to its `nth` sync.
async fn fail_nth(nth: u32) -> Option<usize> {
    let site = Site::new("", "");
    let trace = site.path("trace");
    let what = format!("fsync,fdatasync:error=EIO:when={nth}");
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
                "sync {nth}: {}",
                failed.0.stderr
            );
            Vec::new()
        }
        Ok(mut receiver) => {
            receiver.allow_errors("");
            load_until_the_end(&mut receiver, &load, nth).await?
        }
    };
    let history = History::of_file(&trace, site.disk(), site.root(), Snapshot::empty()).unwrap();
    let coverage = acks_are_covered(&history, &acked);
    if coverage.broken().next().is_some() {
        site.keep();
        panic!("sync {nth}: {coverage}; kept in {}", site.root().display());
    }
    assert!(
        history.failed_syncs() > 0,
        "sync {nth}: ended without a failed sync"
    );
    let after = restart(&site, &load, &acked).await;
    println!(
        "failed sync {nth}: {} acked, then exit 74; {after}",
        acked.len()
    );
    Some(acked.len())
}

async fn load_until_the_end(receiver: &mut Receiver, load: &Load, nth: u32) -> Option<Vec<Acked>> {
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
    assert_eq!(
        exit.code(),
        Some(DISK_FAILED),
        "sync {nth}: {}",
        exit.stderr
    );
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
