//! The receiver killed with SIGKILL under load, again and again.

use std::collections::HashSet;
use std::time::Duration;

use rand::RngExt;
use tokio_util::sync::CancellationToken;

use super::audit::audit;
use super::{alone, scale};
use crate::harness::{Load, Process, Receiver, Seed, Site, Sizes};
use crate::trace::Acked;

const READY_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let _alone = alone().await;
    let seed = Seed::of("kill -9");
    let mut rng = seed.rng();
    let cycles = scale(10, 200);
    let longest = scale(500, 2000);
    // small volumes: kills while they roll over, too
    let site = Site::new("volume = \"4MiB\"", "");
    let load = Load::new(64, Sizes::Between(100, 4096));
    let mut acked = Vec::new();
    let mut slowest = Duration::ZERO;
    for cycle in 0..cycles {
        if cycle % 3 == 2 {
            kill_while_starting(&site, Duration::from_millis(rng.random_range(0..50))).await;
        } else {
            let after = Duration::from_millis(rng.random_range(5..longest));
            let (ready_after, told) = kill_under_load(&site, &load, after).await;
            slowest = slowest.max(ready_after);
            acked.extend(told);
        }
    }
    let audit = audit(&site, &load, &acked, &HashSet::new()).await;
    println!("kill -9: {cycles} cycles, slowest start {slowest:.0?}, {audit}");
    assert!(audit.is_clean(), "{audit}");
    assert!(audit.acked > cycles * 10, "hardly any load: {audit}");
    assert!(slowest < READY_WITHIN, "ready only after {slowest:?}");
    println!("kill -9: PASS");
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
