//! SIGTERM under load: what was stored was answered, and nothing else was.

use std::collections::HashSet;
use std::time::Duration;

use rand::RngExt;
use tokio_util::sync::CancellationToken;

use super::audit::audit;
use super::{alone, scale};
use crate::harness::{Load, Receiver, Seed, Site, Sizes};

const ENDS_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_answers_everything_it_has_taken() {
    let _alone = alone().await;
    let mut rng = Seed::of("drain").rng();
    let rounds = scale(3, 50);
    let (mut acked, mut refused, mut slowest) = (0, 0, Duration::ZERO);
    for _ in 0..rounds {
        let site = Site::new("", "");
        let load = Load::new(32, Sizes::Between(200, 4000));
        let mut receiver = Receiver::start(&site).await;
        let stop = CancellationToken::new();
        let senders = tokio::spawn({
            let (load, stop, to) = (load.clone(), stop.clone(), receiver.public);
            async move { load.run(to, None, &stop).await }
        });
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..400))).await;
        let exit = receiver.terminate(ENDS_WITHIN).await;
        stop.cancel();
        let tally = senders.await.expect("senders do not panic");
        assert_eq!(exit.code(), Some(0), "a clean stop: {}", exit.stderr);
        assert!(
            tally.refused.keys().all(|&status| status == 503),
            "{:?}",
            tally.refused
        );
        let audit = audit(&site, &load, &tally.acked, &HashSet::new()).await;
        assert!(audit.is_clean(), "{audit}");
        assert_eq!(
            audit.kept,
            tally.acked.len(),
            "stored and not answered: {audit}"
        );
        acked += audit.acked;
        refused += tally.refused.values().sum::<u64>();
        slowest = slowest.max(exit.took);
    }
    println!(
        "drain: {rounds} stops, slowest {slowest:.0?}, {acked} acked, {refused} refused, 0 lost"
    );
    assert!(acked > 0, "no load");
    println!("drain: PASS");
}
