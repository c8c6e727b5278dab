//! The receiver killed with SIGKILL under load, again and again.

use std::collections::HashSet;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use super::audit::{Audit, audit};
use super::{alone, scale};
use crate::harness::{Load, Process, Receiver, Seed, Site, Sizes};
use crate::trace::Acked;

const READY_WITHIN: Duration = Duration::from_secs(5);

/// After so many cycles the log is read back, and a new one begins.
const CYCLES_PER_LOG: usize = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let _alone = alone().await;
    let mut rng = Seed::of("kill -9").rng();
    let mut left = scale(10, 200);
    let (mut acked, mut slowest) = (0, Duration::ZERO);
    while left > 0 {
        let cycles = left.min(CYCLES_PER_LOG);
        let (audit, ready_after) = one_log(cycles, &mut rng).await;
        println!("kill -9: {cycles} cycles, slowest start {ready_after:.0?}, {audit}");
        assert!(audit.is_clean(), "{audit}");
        acked += audit.acked;
        slowest = slowest.max(ready_after);
        left -= cycles;
    }
    assert!(
        acked > scale(100, 100_000),
        "hardly any load: {acked} acked"
    );
    assert!(slowest < READY_WITHIN, "ready only after {slowest:?}");
    println!("kill -9: {acked} acked, 0 lost, 0 failed starts, slowest {slowest:.0?}: PASS");
}

/// One log through so many kills; what is in it then, and the slowest start.
async fn one_log(cycles: usize, rng: &mut StdRng) -> (Audit, Duration) {
    // small volumes: kills while they roll over, too
    let site = Site::new("volume = \"4MiB\"", "");
    let load = Load::new(64, Sizes::Between(100, 4096));
    let mut acked = Vec::new();
    let mut slowest = Duration::ZERO;
    for cycle in 0..cycles {
        if cycle % 3 == 2 {
            kill_while_starting(&site, Duration::from_millis(rng.random_range(0..50))).await;
        } else {
            let after = Duration::from_millis(rng.random_range(5..scale(500, 2000)));
            let (ready_after, told) = kill_under_load(&site, &load, after).await;
            slowest = slowest.max(ready_after);
            acked.extend(told);
        }
    }
    (audit(&site, &load, &acked, &HashSet::new()).await, slowest)
}

async fn kill_while_starting(site: &Site, after: Duration) {
    let mut process = Process::start("creel receiver", site.creel(&["receiver"]), false).await;
    tokio::time::sleep(after).await;
    assert!(!process.has_ended(), "a start failed: {}", process.log());
    process.kill().await;
}

async fn kill_under_load(site: &Site, load: &Load, after: Duration) -> (Duration, Vec<Acked>) {
    let mut receiver = Receiver::start(site).await;
    let stop = CancellationToken::new();
    let senders = tokio::spawn({
        let (load, stop, to) = (load.clone(), stop.clone(), receiver.public);
        async move { load.run(to, None, &stop).await }
    });
    tokio::time::sleep(after).await;
    assert!(
        !receiver.has_ended(),
        "the receiver ended by itself: {}",
        receiver.log()
    );
    receiver.kill().await;
    stop.cancel();
    let tally = senders.await.expect("senders do not panic");
    assert!(
        tally.refused.is_empty(),
        "refused under load: {:?}",
        tally.refused
    );
    (receiver.ready_after.expect("it was ready"), tally.acked)
}
