//! Who gives way, what comes back in which order, and that nothing waits.

use std::time::Duration;

use creel_common::testkit::clock::ManualClock;
use creel_common::time::{SystemClock, Timestamp};

use super::item::tests::item;
use super::store::Left;
use super::*;

const CAPS: Caps = Caps {
    bytes: 8 << 20,
    count: 1_000_000,
    age: Duration::from_secs(80),
};

fn read(store: &Store, which: &Chosen) -> Vec<Item> {
    let files = store.reading(which.source.as_deref());
    let mut walk = Walk::new(files, Wanted::new(which, None)).unwrap();
    std::iter::from_fn(|| walk.next().unwrap())
        .map(|(_, item)| item)
        .collect()
}

fn of_address(address: &str) -> Chosen {
    Chosen {
        address: Some(address.parse().unwrap()),
        ..Chosen::default()
    }
}

fn count(left: &[Left], source: &str) -> u64 {
    let of = left.iter().filter(|left| left.source == source);
    of.map(|left| left.count).sum()
}

/// An address of the documentation networks.
fn address(number: usize) -> String {
    format!("198.51.100.{}", number % 256)
}

#[test]
fn what_was_kept_is_read_in_order_of_arrival_out_of_all_lanes_also_by_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::new(dir.path(), CAPS);
    let arrivals = (0..1000_usize).map(|n| {
        let source = ["gh", "shop"][n % 2];
        item(
            source,
            &address(n * 7),
            1_000 + n as u64 / 3,
            n.to_string().as_bytes(),
        )
    });
    assert!(store.append(arrivals.collect()).is_empty());
    store.sync().unwrap();
    let in_order = |store: &Store| {
        let items = read(store, &Chosen::default());
        assert_eq!(items.len(), 1000);
        assert!(items.is_sorted_by_key(|item| item.id));
        for (n, item) in items.iter().enumerate() {
            assert_eq!(item.body, n.to_string().as_bytes());
        }
        items
    };
    let items = in_order(&store);
    let mut next = Store::new(dir.path(), CAPS);
    next.scan();
    assert_eq!(in_order(&next), items);
    assert_eq!(next.facts(), store.facts());
    assert_eq!(store.facts()["gh"].items[&Reason::NoMatch], 500);
    // ids go on, whatever the clock says
    next.append(vec![item("gh", "192.0.2.1", 5, b"later")]);
    let last = read(&next, &Chosen::default()).pop().unwrap();
    assert!(last.id > items[999].id && last.body == "later");
}

#[test]
fn requests_are_chosen_by_id_source_reason_address_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::new(dir.path(), CAPS);
    let mut stale = item("gh", "192.0.2.1", 20, b"b");
    stale.reason = Reason::Stale;
    let shop = item("shop", "192.0.2.2", 30, b"c");
    store.append(vec![item("gh", "192.0.2.1", 10, b"a"), stale, shop]);
    let bodies = |which: &Chosen| -> Vec<_> {
        read(&store, which)
            .into_iter()
            .map(|item| item.body)
            .collect()
    };
    let all = read(&store, &Chosen::default());
    let by = |change: fn(&mut Chosen)| {
        let mut which = Chosen::default();
        change(&mut which);
        which
    };
    assert_eq!(bodies(&by(|w| w.source = Some("gh".into()))), ["a", "b"]);
    assert_eq!(bodies(&by(|w| w.reason = Some("stale".into()))), ["b"]);
    assert_eq!(bodies(&by(|w| w.since = Some(Timestamp(20)))), ["b", "c"]);
    assert_eq!(bodies(&by(|w| w.until = Some(Timestamp(20)))), ["a"]);
    assert_eq!(bodies(&of_address("192.0.2.2")), ["c"]);
    let ids = Chosen {
        ids: vec![all[2].id, all[0].id],
        ..Chosen::default()
    };
    assert_eq!(bodies(&ids), ["a", "c"]);
}

#[test]
fn a_flood_pushes_out_itself_and_neither_another_sender_nor_another_source() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::new(dir.path(), CAPS);
    // as many senders as it takes to have one in another lane than the flood's
    let quiet: Vec<Item> = (0..64)
        .map(|n| item("gh", &address(n), 1_000, b"genuine"))
        .collect();
    store.append(quiet);
    store.append(vec![item("shop", "192.0.2.1", 1_000, b"genuine")]);
    let mut left = Vec::new();
    for round in 0..100 {
        let flood = (0..20).map(|_| item("gh", "203.0.113.66", 2_000 + round, &[0; 20_000]));
        left.extend(store.append(flood.collect()));
        let (bytes, _) = store.totals();
        assert!(bytes <= CAPS.bytes, "{bytes}");
    }
    assert!(count(&left, "gh") > 1000);
    assert_eq!(count(&left, "shop"), 0);
    assert_eq!(read(&store, &of_address("192.0.2.1")).len(), 1);
    let here = read(&store, &Chosen::default());
    let genuine = here.iter().filter(|item| item.body == "genuine").count();
    // those whose addresses fall together with the flood's may be gone: a sixteenth of them
    assert!(genuine > 64 / 2, "{genuine}");
}

#[test]
fn a_source_below_an_even_share_loses_nothing_to_a_flood_of_many_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::new(dir.path(), CAPS);
    let own = (0..100).map(|n| item("shop", "192.0.2.1", 1_000 + n, &[1; 30_000]));
    store.append(own.collect());
    let mut left = Vec::new();
    for n in 0..2000 {
        left.extend(store.append(vec![item("gh", &address(n), 2_000, &[0; 20_000])]));
    }
    assert_eq!((count(&left, "shop"), count(&left, "gh") > 1000), (0, true));
    assert_eq!(store.facts()["shop"].items[&Reason::NoMatch], 100);
}

#[test]
fn what_has_no_signature_takes_a_sixteenth_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::new(dir.path(), CAPS);
    for n in 0..500 {
        let mut unsigned = item("gh", &address(n), 1_000, &[0; 10_000]);
        unsigned.reason = Reason::MissingSignature;
        store.append(vec![unsigned]);
    }
    store.append(vec![item("gh", "192.0.2.1", 1_001, b"signed")]);
    let bytes = store.facts()["gh"].bytes;
    assert!(bytes <= CAPS.bytes / 16 + CAPS.bytes / 64, "{bytes}");
}

#[test]
fn the_number_is_bounded_too_and_what_is_old_goes() {
    let dir = tempfile::tempdir().unwrap();
    let caps = Caps {
        count: 2500,
        ..CAPS
    };
    let mut store = Store::new(dir.path(), caps);
    for n in 0..5000_u64 {
        store.append(vec![item("gh", "192.0.2.1", n * 10, &[0; 100])]);
        store.expire(Timestamp(n * 10));
        assert!(store.totals().1 <= 2500);
    }
    let left = store.expire(Timestamp(200_000));
    assert_eq!(store.totals(), (0, 0));
    assert!(left.iter().all(|left| left.why == "age"));
    assert_eq!(std::fs::read_dir(dir.path().join("gh")).unwrap().count(), 1);
}

#[test]
fn what_is_taken_out_stays_out_and_empty_files_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::new(dir.path(), CAPS);
    store.append(
        (0..10)
            .map(|n| item("gh", &address(n), n as u64, b"x"))
            .collect(),
    );
    let mut walk = Walk::new(store.reading(None), Wanted::default()).unwrap();
    let mut places = Vec::new();
    while let Some((place, _)) = walk.next().unwrap() {
        places.push(place);
    }
    assert_eq!(store.remove_items(&places[..4]).unwrap(), 4);
    let mut next = Store::new(dir.path(), CAPS);
    next.scan();
    for store in [&store, &next] {
        assert_eq!(read(store, &Chosen::default()).len(), 6);
    }
    assert_eq!(next.remove_items(&places).unwrap(), 6);
    assert_eq!(next.totals(), (0, 0));
}

/// A quarantine with its thread, below `dir`.
fn open(dir: &std::path::Path, max_bytes: u64) -> (Arc<Quarantine>, Arc<Metrics>) {
    let known = creel_common::config::Known::default();
    let path = dir.join("creel.toml");
    let mut config =
        creel_common::config::parse("[log]\nreserve = \"0B\"\n", &path, &known).unwrap();
    config.quarantine.max_bytes = max_bytes;
    config.quarantine.per_address = 50.0;
    let metrics = Arc::new(Metrics::new("test"));
    let clock = Arc::new(SystemClock::default());
    let opened = Quarantine::open(&config, clock, metrics.clone()).unwrap();
    (opened, metrics)
}

fn offer(quarantine: &Quarantine, item: Item) {
    let (source, remote) = (item.head.source.clone(), item.head.remote);
    quarantine.offer(&source, item.reason, remote, Duration::ZERO, || item);
}

#[test]
fn what_was_refused_at_the_same_time_is_put_in_order_and_what_is_too_much_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (quarantine, metrics) = open(dir.path(), 8 << 20);
    for n in (0..80_u64).rev() {
        offer(&quarantine, item("gh", "192.0.2.1", n, b"x"));
    }
    for _ in 0..50 {
        offer(&quarantine, item("gh", "192.0.2.1", 100, b"x"));
    }
    offer(&quarantine, item("gh", "192.0.2.9", 100, &vec![0; 2 << 20]));
    let mut handshake = item("gh", "192.0.2.9", 100, b"x");
    handshake.reason = Reason::HandshakeToken;
    offer(&quarantine, handshake);
    quarantine.close();
    let mut store = Store::new(&dir.path().join("quarantine"), CAPS);
    store.scan();
    let items = read(&store, &Chosen::default());
    // twice the rate is a burst
    assert_eq!(items.len(), 100);
    assert!(items.is_sorted_by_key(|item| (item.received_at, item.id)));
    let text = metrics.text(crate::metrics::tests::NOW);
    for line in [
        "creel_quarantine_dropped_total{source=\"gh\",reason=\"rate\"} 30",
        "creel_quarantine_dropped_total{source=\"gh\",reason=\"too_large\"} 1",
    ] {
        assert!(text.contains(line), "{text}");
    }
    // after the close nothing is lost without being counted
    offer(&quarantine, item("gh", "192.0.2.7", 100, b"x"));
    let text = metrics.text(crate::metrics::tests::NOW);
    assert!(text.contains("creel_quarantine_dropped_total{source=\"gh\",reason=\"queue\"} 1"));
}

#[test]
fn a_second_receiver_keeps_its_hands_off_and_a_disk_that_fails_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = open(dir.path(), 8 << 20);
    offer(&first, item("gh", "192.0.2.1", 1, b"x"));
    let lock = dir.path().join("quarantine").join("lock");
    while !lock.exists() {
        std::thread::yield_now();
    }
    let (second, metrics) = open(dir.path(), 8 << 20);
    offer(&second, item("gh", "192.0.2.1", 2, b"x"));
    second.close();
    let text = metrics.text(crate::metrics::tests::NOW);
    assert!(text.contains("creel_quarantine_dropped_total{source=\"gh\",reason=\"disk\"} 1"));
    first.close();

    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("quarantine"), "no directory").unwrap();
    let (quarantine, metrics) = open(other.path(), 8 << 20);
    offer(&quarantine, item("gh", "192.0.2.1", 1, b"x"));
    quarantine.close();
    let text = metrics.text(crate::metrics::tests::NOW);
    assert!(text.contains("creel_quarantine_dropped_total{source=\"gh\",reason=\"disk\"} 1"));
}

#[test]
fn a_wall_clock_that_is_set_makes_nothing_old() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let known = creel_common::config::Known::default();
    let path = dir.path().join("creel.toml");
    let mut config =
        creel_common::config::parse("[log]\nreserve = \"0B\"\n", &path, &known).unwrap();
    config.quarantine.max_age = Duration::from_secs(60);
    let metrics = Arc::new(Metrics::new("test"));
    let quarantine = Quarantine::open(&config, clock.clone(), metrics).unwrap();
    offer(
        &quarantine,
        item("gh", "192.0.2.1", clock.wall().millis(), b"x"),
    );
    clock.jump(Duration::from_secs(30 * 24 * 3600));
    let kept = || {
        quarantine
            .facts()
            .get("gh")
            .map_or(0, |facts| facts.items.len())
    };
    while kept() == 0 {
        std::thread::yield_now();
    }
    quarantine.close();
    assert_eq!(kept(), 1);
}
