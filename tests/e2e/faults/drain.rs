//! SIGTERM under load: what was stored was answered, and nothing else was; what was delivered is not
//! delivered again.

use std::collections::HashSet;
use std::time::Duration;

use rand::RngExt;
use tokio_util::sync::CancellationToken;

use super::audit::audit;
use super::{alone, scale};
use crate::harness::{Answer, Load, Receiver, Seed, Sink, Site, Sizes, Up, eventually};
use crate::trace::Acked;

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

/// Everything together, 200 requests a second on their way through it: workers first, then the
/// receiver.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_up_under_load_delivers_everything_once() {
    let _alone = alone().await;
    let mut rng = Seed::of("drain of up").rng();
    let rounds = scale(3, 50);
    let late = Duration::from_millis(20);
    let sink = Sink::start(move |_| Answer::Late(late, 200)).await;
    let route = "[[routes]]\nsource = \"github\"\ndestination = \"sink\"\n";
    let site = Site::new("", &format!("{}{route}", sink.destination()));
    let load = Load::new(16, Sizes::Between(200, 4000)).at_rate(200);
    let (mut acked, mut slowest) = (Vec::new(), Duration::ZERO);
    for _ in 0..rounds {
        let for_a_while = Duration::from_millis(rng.random_range(100..1000));
        let (told, took) = up_for(&site, &load, &sink, for_a_while).await;
        acked.extend(told);
        slowest = slowest.max(took);
    }
    let audit = audit(&site, &load, &acked, &HashSet::new()).await;
    assert!(audit.is_clean(), "{audit}");
    assert_eq!(audit.kept, acked.len(), "stored and not answered: {audit}");
    // the rest is delivered by the last one
    let mut up = Up::start(&site).await;
    eventually("all deliveries", Duration::from_secs(60), async || {
        (sink.count() >= acked.len()).then_some(())
    })
    .await;
    assert_eq!(up.process.terminate(ENDS_WITHIN).await.code(), Some(0));
    let times = sink.times();
    let twice = acked
        .iter()
        .filter(|one| times.get(&one.id) != Some(&1))
        .count();
    println!(
        "drain of up: {rounds} stops, slowest {slowest:.0?}, {} acked, {twice} not exactly once",
        acked.len()
    );
    assert_eq!((twice, sink.count()), (0, acked.len()));
    println!("drain of up: PASS");
}

/// One life of `creel up` under load, told to stop after `a_while` of deliveries.
async fn up_for(
    site: &Site,
    load: &Load,
    sink: &Sink,
    a_while: Duration,
) -> (Vec<Acked>, Duration) {
    let mut up = Up::start(site).await;
    let stop = CancellationToken::new();
    let arrived = sink.count();
    let senders = tokio::spawn({
        let (load, stop, to) = (load.clone(), stop.clone(), up.public);
        async move { load.run(to, None, &stop).await }
    });
    eventually("deliveries", Duration::from_secs(30), async || {
        (sink.count() > arrived + 10).then_some(())
    })
    .await;
    tokio::time::sleep(a_while).await;
    let exit = up.process.terminate(ENDS_WITHIN).await;
    stop.cancel();
    let tally = senders.await.expect("senders do not panic");
    assert_eq!(exit.code(), Some(0), "a clean stop: {}", exit.stderr);
    assert!(
        tally.refused.keys().all(|&status| status == 503),
        "{:?}",
        tally.refused
    );
    (tally.acked, exit.took)
}
