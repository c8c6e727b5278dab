//! Workers that are killed, frozen, or killed by what they were given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{alone, scale};
use crate::harness::{
    Answer, Arrival, Hand, Leased, Load, Marker, Process, Receiver, Role, Sink, Site, Sizes,
    eventually,
};

const ROUTE: &str = "github-sink";

/// A site whose only route ends at `sink`.
fn site(lease: &str, sink: &str) -> Site {
    let log = format!("lease = \"{lease}\"\nlost_max = 3");
    let rest = format!(
        "[destinations.sink]\ntype = \"http\"\nurl = \"{sink}\"\nallow = [\"127.0.0.0/8\"]\n\n\
         [[routes]]\nsource = \"github\"\ndestination = \"sink\"\nbreaker = {{ failures = 0 }}\n\
         retry = {{ initial = \"100ms\" }}\n"
    );
    Site::new(&log, &rest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_worker_held_comes_again_when_its_lease_ends() {
    for round in 0..scale(1, 50) {
        abandon("killed", Signal::KILL, round).await;
    }
    println!("killed worker: PASS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_frozen_worker_held_comes_again_and_its_late_word_counts_nothing() {
    for round in 0..scale(1, 50) {
        abandon("frozen", Signal::STOP, round).await;
    }
    println!("frozen worker: PASS");
}

/// One worker takes everything and never finishes; another has to get it.
async fn abandon(how: &str, signal: Signal, round: usize) {
    const HELD: usize = 6;
    const LEASE: Duration = Duration::from_secs(2);
    // long enough to be frozen or killed before, short enough to be there when thawed
    const ANSWERS_AFTER: Duration = Duration::from_millis(1500);
    const SPARE: Duration = Duration::from_secs(1);
    let _alone = alone().await;
    let seen = Mutex::new(BTreeSet::new());
    let first_is_slow = move |arrival: &Arrival| {
        let id = arrival
            .delivery()
            .expect("every delivery names itself")
            .to_owned();
        if seen.lock().expect("no panic").insert(id) {
            Answer::Late(ANSWERS_AFTER, 200)
        } else {
            Answer::Status(200)
        }
    };
    let sink = Sink::start(first_is_slow).await;
    let site = site("2s", &format!("http://{}/", sink.address()));
    let mut receiver = Receiver::start(&site).await;
    let load = Load::new(4, Sizes::Fixed(500));
    let acked = load.push(receiver.public, HELD as u64).await;

    let mut held = Process::worker(&site, &receiver, "first").await;
    eventually(
        "all at the first worker",
        Duration::from_secs(20),
        async || (sink.arrivals().len() >= HELD).then_some(()),
    )
    .await;
    held.signal(signal);
    let abandoned = Instant::now();
    let mut other = Process::worker(&site, &receiver, "second").await;
    eventually(
        "all at the second worker",
        Duration::from_secs(20),
        async || (sink.arrivals().len() >= 2 * HELD).then_some(()),
    )
    .await;
    let arrivals = sink.arrivals();
    let again: Vec<Duration> = arrivals[HELD..]
        .iter()
        .map(|one| one.at - abandoned)
        .collect();
    let late = again.iter().filter(|&&after| after > LEASE + SPARE).count();
    // a frozen worker's last request for work is still open: what it is answered
    // with is held once more
    let allowed = usize::from(signal == Signal::STOP);
    let took = again[HELD - 1];
    assert!(
        late <= allowed && took <= 2 * (LEASE + SPARE),
        "came again after {again:.1?}"
    );
    held.signal(Signal::CONT);
    if signal == Signal::STOP {
        // it has all its answers by now, and says so before it ends
        let exit = held.terminate(Duration::from_secs(30)).await;
        assert_eq!(exit.code(), Some(0), "the thawed worker stops cleanly");
    }
    let route = settled(&receiver, &site).await;
    assert_eq!(route["delivered"], HELD, "each was settled once: {route}");
    assert_each_came_again(&sink, acked.iter().map(|one| one.id.as_str()), late);
    println!("{how} worker {round}: {HELD} deliveries came again within {took:.0?}");
    other.terminate(Duration::from_secs(20)).await;
    drop(held);
    receiver.terminate(Duration::from_secs(20)).await;
}

/// Once to the first worker, once to the second; `late` of them to the first
/// worker once more, when it was thawed.
fn assert_each_came_again<'a>(sink: &Sink, ids: impl Iterator<Item = &'a str>, late: usize) {
    let mut thrice = 0;
    for id in ids {
        let arrivals = sink.arrivals_of(id);
        assert!(matches!(arrivals.len(), 2 | 3), "{id}: {}", arrivals.len());
        assert!(
            arrivals.iter().all(|one| one.body == arrivals[0].body),
            "{id}"
        );
        thrice += usize::from(arrivals.len() == 3);
    }
    assert!(thrice <= late, "{thrice} came three times");
}

/// Waits until the route has settled everything; what it says of itself then.
async fn settled(receiver: &Receiver, site: &Site) -> serde_json::Value {
    let api = receiver.api(site, Role::Read);
    eventually(
        "a route with nothing left",
        Duration::from_secs(10),
        async || {
            let routes = api.get("/v1/routes").await.json();
            let route = routes.as_array()?.first()?.clone();
            let none = |name: &str| route[name].as_u64() == Some(0);
            let nothing = none("pending") && none("open") && none("waiting") && none("dead");
            nothing.then_some(route)
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_has_ended_settles_nothing() {
    let _alone = alone().await;
    let site = site("1s", "http://127.0.0.1:9/");
    let mut receiver = Receiver::start(&site).await;
    Load::new(1, Sizes::Fixed(200))
        .push(receiver.public, 1)
        .await;
    let hand = Hand::new(receiver.api(&site, Role::Worker));
    let stale = hand
        .lease(ROUTE, 10, Duration::from_secs(5))
        .await
        .expect("one delivery");
    let fresh = hand
        .lease(ROUTE, 10, Duration::from_secs(5))
        .await
        .expect("it comes again");
    assert_eq!(fresh.items[0].id, stale.items[0].id);
    let offset = stale.items[0].offset;
    for outcome in ["delivered", "reject", "retry"] {
        let status = hand.settle(&stale, &[offset], outcome).await;
        assert!(
            matches!(status, 409 | 410),
            "a stale lease was answered {status}"
        );
    }
    assert!(matches!(hand.extend(&stale).await, 409 | 410));
    assert!((200..300).contains(&hand.settle(&fresh, &[offset], "delivered").await));
    assert!(
        (200..300).contains(&hand.settle(&fresh, &[offset], "delivered").await),
        "said twice"
    );
    settled(&receiver, &site).await;
    receiver.terminate(Duration::from_secs(20)).await;
    println!("stale lease: PASS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_got_lost_can_be_asked_for_again() {
    let _alone = alone().await;
    let site = site("60s", "http://127.0.0.1:9/");
    let mut receiver = Receiver::start(&site).await;
    Load::new(1, Sizes::Fixed(200))
        .push(receiver.public, 5)
        .await;
    let hand = Hand::new(receiver.api(&site, Role::Worker));
    let wait = Duration::from_secs(5);
    let lost = hand
        .lease_as("one", ROUTE, 3, wait)
        .await
        .expect("three deliveries");
    let again = hand
        .lease_as("one", ROUTE, 3, wait)
        .await
        .expect("the same lease");
    let offsets = |lease: &Leased| {
        lease
            .items
            .iter()
            .map(|item| item.offset)
            .collect::<Vec<_>>()
    };
    assert_eq!((&again.id, offsets(&again)), (&lost.id, offsets(&lost)));
    let other = hand
        .lease_as("two", ROUTE, 3, wait)
        .await
        .expect("the other two");
    assert_eq!(offsets(&other).len(), 2);
    for _ in 0..2 {
        for lease in [&again, &other] {
            let status = hand.settle(lease, &offsets(lease), "delivered").await;
            assert!((200..300).contains(&status), "settled again: {status}");
        }
    }
    let route = settled(&receiver, &site).await;
    assert_eq!(route["delivered"], 5, "{route}");
    receiver.terminate(Duration::from_secs(20)).await;
    println!("lost replies: PASS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_of_before_a_restart_settles_nothing() {
    let _alone = alone().await;
    let site = site("60s", "http://127.0.0.1:9/");
    let mut receiver = Receiver::start(&site).await;
    Load::new(1, Sizes::Fixed(200))
        .push(receiver.public, 3)
        .await;
    let hand = Hand::new(receiver.api(&site, Role::Worker));
    let stale = hand
        .lease(ROUTE, 10, Duration::from_secs(5))
        .await
        .expect("three deliveries");
    receiver.kill().await;
    let mut receiver = Receiver::start(&site).await;
    let hand = Hand::new(receiver.api(&site, Role::Worker));
    let offsets: Vec<u64> = stale.items.iter().map(|item| item.offset).collect();
    let status = hand.settle(&stale, &offsets, "reject").await;
    assert!(
        matches!(status, 409 | 410),
        "a lease of before the restart was answered {status}"
    );
    let fresh = hand
        .lease(ROUTE, 10, Duration::from_secs(5))
        .await
        .expect("they come again");
    let again: Vec<u64> = fresh.items.iter().map(|item| item.offset).collect();
    assert_eq!(again, offsets, "all of them, at once");
    assert!((200..300).contains(&hand.settle(&fresh, &offsets, "delivered").await));
    settled(&receiver, &site).await;
    receiver.terminate(Duration::from_secs(20)).await;
    println!("lease of before a restart: PASS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_kills_every_worker_dies_alone() {
    let _alone = alone().await;
    const DELIVERIES: u64 = 10;
    let poison = Marker::new(4);
    let site = site("500ms", "http://127.0.0.1:9/");
    let mut receiver = Receiver::start(&site).await;
    let acked = Load::new(1, Sizes::Fixed(300))
        .push(receiver.public, DELIVERIES)
        .await;
    let mut leases_of_poison = Vec::new();
    let mut delivered = BTreeMap::new();
    let started = Instant::now();
    let dead = eventually("a dead letter", Duration::from_secs(30), async || {
        // each turn is a new worker, for the one before may have died
        let hand = Hand::new(receiver.api(&site, Role::Worker));
        if let Some(lease) = hand.lease(ROUTE, 100, Duration::from_millis(100)).await {
            if lease
                .items
                .iter()
                .any(|item| Marker::first_in(&item.body) == Some(poison))
            {
                leases_of_poison.push(lease.items.len());
            } else {
                let offsets: Vec<u64> = lease.items.iter().map(|item| item.offset).collect();
                assert!((200..300).contains(&hand.settle(&lease, &offsets, "delivered").await));
                delivered.extend(lease.items.into_iter().map(|item| (item.id, item.attempt)));
            }
        }
        let dead = receiver.api(&site, Role::Read).get("/v1/dead").await.json();
        dead["items"]
            .as_array()
            .filter(|items| !items.is_empty())
            .cloned()
    })
    .await;
    let id = |marker: Marker| {
        acked
            .iter()
            .find(|one| one.marker == marker)
            .expect("acked")
            .id
            .clone()
    };
    println!(
        "poison: leases of it held {leases_of_poison:?}, dead after {:.1?}",
        started.elapsed()
    );
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert!(
        dead[0].to_string().contains(&id(poison)) || dead[0]["offset"].is_u64(),
        "{dead:?}"
    );
    assert_eq!(leases_of_poison.len(), 3, "lost_max");
    assert!(
        leases_of_poison[1..].iter().all(|&items| items == 1),
        "leased alone after a loss"
    );
    assert_eq!(
        delivered.len() as u64,
        DELIVERIES - 1,
        "the neighbours were delivered"
    );
    assert!(
        delivered.values().all(|&attempt| attempt <= 2),
        "and lost once at most"
    );
    receiver.terminate(Duration::from_secs(20)).await;
    println!("poison: PASS");
}
