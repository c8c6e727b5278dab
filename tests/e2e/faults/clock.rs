//! The wall clock of receiver and workers is set by an hour and by a day, under load.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::alone;
use super::audit::audit;
use crate::harness::{
    Answer, Arrival, Load, Marker, Sink, Site, Sizes, Up, eventually, wall_or_left_out,
};

const SOON: Duration = Duration::from_secs(30);
/// So many deliveries fail once, and wait up to [`PAUSE`].
const FAIL: u64 = 400;
const PAUSE: Duration = Duration::from_secs(40);
/// How long each setting of the clock is looked at.
const LOOK: Duration = Duration::from_secs(3);

/// Refuses each of the first [`FAIL`] deliveries once.
fn refuses_once() -> impl Fn(&Arrival) -> Answer + Send + Sync + 'static {
    let seen = Mutex::new(HashSet::new());
    move |arrival| {
        let marker = Marker::first_in(&arrival.body).expect("a body of the load");
        let again = !seen.lock().expect("no panic").insert(marker);
        match again || marker.number() >= FAIL {
            true => Answer::Status(200),
            false => Answer::Status(503),
        }
    }
}

/// How often each delivery came.
fn tally(sink: &Sink) -> BTreeMap<Marker, usize> {
    let mut times = BTreeMap::new();
    for arrival in sink.arrivals() {
        let marker = Marker::first_in(&arrival.body).expect("a body of the load");
        *times.entry(marker).or_default() += 1;
    }
    times
}

/// Deliveries that were tried again.
fn again(sink: &Sink) -> usize {
    tally(sink).values().filter(|&&times| times > 1).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_is_set_by_a_day_makes_no_storm_and_loses_nothing() {
    let _alone = alone().await;
    let sink = Sink::start(refuses_once()).await;
    let pause = PAUSE.as_secs();
    let site = Site::new(
        "volume = \"4MiB\"\nretention = \"1h\"\nlease = \"5s\"",
        &format!(
            "{}[[routes]]\nsource = \"github\"\ndestination = \"sink\"\n\
             breaker = {{ failures = 0 }}\n\
             retry = {{ initial = \"{pause}s\", max = \"{pause}s\" }}\n",
            sink.destination()
        ),
    );
    let Some(wall) = wall_or_left_out("a wall clock that is set", &site) else {
        return;
    };
    let mut command = site.creel(&["up", "--workers", "2"]);
    wall.over(&mut command);
    let mut up = Up::run(&site, command).await;
    let public = up.public;
    let load = Load::new(8, Sizes::Between(20_000, 40_000));
    let mut acked = load.push(public, FAIL).await;
    eventually("all first tries", SOON, async || {
        (sink.count() as u64 >= FAIL).then_some(())
    })
    .await;

    let stop = CancellationToken::new();
    let steady = load.clone().at_rate(50);
    let senders = tokio::spawn({
        let (steady, stop) = (steady.clone(), stop.clone());
        async move { steady.run(public, None, &stop).await }
    });
    // full jitter: evenly spread over the pause
    let expected = FAIL as usize * LOOK.as_secs() as usize / PAUSE.as_secs() as usize;
    for set in ["+1h", "+0", "-1h", "+1d", "-1d", "+0"] {
        let (before, came) = (again(&sink), sink.count());
        wall.set(set).expect("a file in our own directory");
        tokio::time::sleep(LOOK).await;
        let tried = again(&sink) - before;
        println!("clock {set}: {tried} of {FAIL} tried again in {LOOK:?}, {expected} expected");
        assert!(tried <= 2 * expected + 10, "{set}: a storm of {tried}");
        assert!(tried > 0, "{set}: nothing that waits came due");
        assert!(
            sink.count() - came >= tried + 50,
            "{set}: new ones are put off"
        );
    }
    stop.cancel();
    let told = senders.await.expect("senders do not panic");
    assert!(
        told.refused.is_empty() && told.unanswered + told.unconnected == 0,
        "{told:?}"
    );
    acked.extend(told.acked);

    eventually("everything delivered", 2 * PAUSE, async || {
        (sink.count() as u64 >= acked.len() as u64 + FAIL).then_some(())
    })
    .await;
    // no lease was lost, so nothing came more often than it failed
    let times = tally(&sink);
    assert_eq!(times.len(), acked.len());
    let wrong: Vec<_> = times
        .iter()
        .filter(|(marker, times)| **times != 1 + usize::from(marker.number() < FAIL))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let exit = up.process.terminate(SOON).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("the wall clock was set"),
        "{}",
        exit.stderr
    );
    // retention is an hour, and the test has not taken one
    let audit = audit(&site, &load, &acked, &HashSet::new()).await;
    assert!(audit.is_clean(), "{audit}");
    println!("clock: {audit}, each delivered as often as it should: PASS");
}
