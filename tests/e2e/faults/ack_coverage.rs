//! Every acknowledgement after the sync of its own bytes, as strace sees it.

use super::alone;
use crate::harness::{Load, Receiver, Site, Sizes, Strace, strace_or_left_out};
use crate::trace::{Disk, History, Snapshot, Trust, acks_are_covered, differences};

use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_ack_is_sent_before_the_sync_that_covers_it() {
    if !strace_or_left_out("no_ack_is_sent_before_the_sync_that_covers_it") {
        return;
    }
    let _alone = alone().await;
    let site = Site::new("", "");
    let trace = site.path("trace");
    let mut receiver = Receiver::start_under(&site, &Strace::Record(trace.clone())).await;
    let many = Load::new(64, Sizes::Fixed(1024));
    let mut acked = many.push(receiver.public, 900).await;
    acked.extend(many.over(1).push(receiver.public, 100).await);
    let exit = receiver.terminate(Duration::from_secs(20)).await;
    assert_eq!(exit.code(), Some(0), "a clean stop");
    let history = History::of_file(&trace, site.disk(), site.root(), Snapshot::empty()).unwrap();
    let coverage = acks_are_covered(&history, &acked);
    println!("ack coverage: {coverage}");
    assert!(
        coverage.uncovered.is_empty() && coverage.acks == 1000,
        "{coverage}"
    );
    assert_the_trace_is_whole(&site, &history);
    println!("ack coverage: PASS");
}

/// What the trace says is on the disk is what is on the disk.
fn assert_the_trace_is_whole(site: &Site, history: &History) {
    let rebuilt = site.path("rebuilt");
    Disk::new(history, Trust::AllSyncs)
        .uncut(history.end(), &rebuilt)
        .unwrap();
    assert_eq!(differences(&rebuilt, site.disk()), [""; 0]);
}
