//! What any log must do, whatever is underneath it and however far away it is.
//!
//! One list of behaviours, run for the log over each engine and for the log
//! seen over HTTP. Time stands still but for [`Subject::pass`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::attempt::Report;
use crate::config::{self, Config};
use crate::ids::{DeliveryId, Offset};
use crate::log::{
    Actor, Appended, Find, Intake, Lease, LeaseRequest, Operate, RewindTo, Selection, Settled,
    Standing, Want, Work, WorkError, codec,
};
use crate::outcome::{Outcome, Verdict};
use crate::testkit::clock::ManualClock;
use crate::testkit::sample;
use crate::time::Clock;

/// A log to be examined.
#[derive(Clone)]
pub struct Subject {
    /// Takes deliveries in.
    pub intake: Arc<dyn Intake>,
    /// As workers see it.
    pub work: Arc<dyn Work>,
    /// As operators see it.
    pub operate: Arc<dyn Operate>,
    /// Its time.
    pub clock: Arc<ManualClock>,
}

type Opening<'a> = Pin<Box<dyn Future<Output = Subject> + Send + 'a>>;

/// Opens logs: a fresh one, or the last one again, as after a crash.
pub trait Openings: Send {
    /// A log with nothing in it.
    fn fresh(&mut self, config: Config) -> Opening<'_>;
    /// The last log, stopped without warning and opened again with this configuration.
    fn again(&mut self, config: Config) -> Opening<'_>;
}

/// A configuration with a source `s`, a destination `d`, and what is given besides.
///
/// # Panics
/// When it is not valid.
pub fn config(more: &str) -> Config {
    let text = format!(
        "[log]\nengine = \"memory\"\nlease = \"60s\"\nlost_max = 2\nreserve = \"0B\"\n\
         [sources.s]\nprovider = \"none\"\n[sources.other]\nprovider = \"none\"\n\
         [destinations.d]\ntype = \"stdout\"\n{more}"
    );
    config::parse(
        &text,
        std::path::Path::new("creel.toml"),
        &config::Known::default(),
    )
    .unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

const ROUTE: &str = "[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"r\"\n\
                     retry = { max_attempts = 3, initial = \"10s\", max = \"10s\" }\n\
                     breaker = { failures = 0 }\n";

/// Runs every behaviour. One thread is enough.
///
/// # Panics
/// When the log does not behave.
pub async fn log_conformance(openings: &mut dyn Openings) {
    what_is_appended_is_leased_in_order_byte_for_byte(openings).await;
    a_repeat_gets_the_first_id_even_after_a_crash(openings).await;
    two_identical_requests_in_flight_are_one_delivery(openings).await;
    a_known_key_with_another_body_is_stored(openings).await;
    settled_is_settled_after_a_crash_and_the_rest_comes_again(openings).await;
    the_same_lease_request_gets_the_same_lease(openings).await;
    a_stale_lease_changes_nothing(openings).await;
    a_failed_try_waits_and_dies_after_its_attempts(openings).await;
    a_lost_try_is_leased_alone_and_dies(openings).await;
    a_release_uses_up_no_attempt(openings).await;
    a_dead_letter_is_reprocessed_or_discarded(openings).await;
    a_rewound_route_gets_everything_again_with_another_generation(openings).await;
    a_paused_route_lends_nothing_even_after_a_crash(openings).await;
    a_route_takes_what_matches(openings).await;
    one_delivery_goes_to_every_route(openings).await;
    a_new_route_starts_where_it_should(openings).await;
    an_orphaned_route_is_kept_renamed_or_forgotten(openings).await;
    what_is_asked_for_is_found(openings).await;
    attempts_are_kept(openings).await;
    acts_are_recorded(openings).await;
    a_bounded_lease_takes_no_more_than_was_wanted(openings).await;
    nobody_gets_what_is_not_configured(openings).await;
}

impl Subject {
    async fn append(&self, body: impl Into<Bytes>) -> Appended {
        self.intake
            .append(sample::delivery("s", body, self.clock.wall()))
            .await
            .expect("the log takes it")
    }

    async fn append_keyed(&self, key: &str, body: impl Into<Bytes>) -> Appended {
        self.intake
            .append(sample::keyed("s", key, body, self.clock.wall()))
            .await
            .expect("the log takes it")
    }

    /// Leases what there is of a route now.
    pub async fn lease(&self, route: &str) -> Vec<Lease> {
        self.lease_as(&format!("{}", rand::random::<u64>()), route, 100)
            .await
    }

    async fn lease_as(&self, request: &str, route: &str, max_items: u32) -> Vec<Lease> {
        self.work
            .lease(request_for(request, route, max_items))
            .await
            .expect("it lends")
    }

    async fn settle(&self, lease: &Lease, outcome: &Outcome) {
        let settled = lease
            .items
            .iter()
            .map(|item| settled(item.offset, outcome))
            .collect();
        self.work
            .settle(lease.id, settled)
            .await
            .expect("it settles");
    }

    /// Time passes, and the log notices.
    pub async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        // whoever asks is answered as of now: the first question ends leases whose time is over, and
        // what that changes is written before the second is answered
        for _ in 0..2 {
            self.operate.routes().await.expect("it answers");
        }
    }

    async fn standing(&self, id: DeliveryId) -> Standing {
        let found = self.operate.show(id).await.expect("it is there");
        found
            .standings
            .into_iter()
            .find(|(route, _)| route == "r")
            .expect("its route")
            .1
    }

    async fn dead(&self) -> Vec<DeliveryId> {
        let page = self.operate.dead(Find::default()).await.expect("it lists");
        page.items.into_iter().map(|letter| letter.id).collect()
    }
}

fn request_for(request: &str, route: &str, max_items: u32) -> LeaseRequest {
    LeaseRequest {
        request: request.to_owned(),
        worker: "test".to_owned(),
        wants: vec![Want {
            route: route.to_owned(),
            max_items,
            max_bytes: 1 << 20,
        }],
        wait: Duration::ZERO,
    }
}

fn settled(offset: Offset, outcome: &Outcome) -> Settled {
    Settled {
        offset,
        outcome: outcome.clone(),
        report: Report {
            status: Some(500),
            error: Some("it said no".to_owned()),
            ..Report::default()
        },
    }
}

fn offsets(leases: &[Lease]) -> Vec<Offset> {
    leases
        .iter()
        .flat_map(|lease| lease.items.iter().map(|item| item.offset))
        .collect()
}

fn body(record: &Bytes) -> Bytes {
    codec::decode(record).expect("a record").body
}

fn who() -> Actor {
    Actor {
        who: "tester".to_owned(),
        why: Some("because".to_owned()),
    }
}

const RETRY: Outcome = Outcome::Retry { after: None };

async fn what_is_appended_is_leased_in_order_byte_for_byte(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    let bodies: [&[u8]; 4] = [b"{}", b"", b"\x00\xff\xfe not text", &[7; 200_000]];
    let mut ids = Vec::new();
    for body in bodies {
        ids.push(log.append(Bytes::from_static(body)).await.id.offset);
    }
    let leases = log.lease("r").await;
    assert_eq!(offsets(&leases), ids);
    for (item, wanted) in leases[0].items.iter().zip(bodies) {
        assert_eq!(body(&item.record), wanted);
        assert_eq!((item.attempt, item.generation), (1, 0));
    }
    assert!(
        log.lease("r").await.is_empty(),
        "what is leased is not leased again"
    );
    log.settle(&leases[0], &Outcome::Delivered).await;
    assert_eq!(log.operate.routes().await.expect("routes")[0].delivered, 4);
}

async fn a_repeat_gets_the_first_id_even_after_a_crash(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    let first = log.append_keyed("k", "body").await;
    assert!(!first.duplicate);
    let again = log.append_keyed("k", "body").await;
    assert_eq!((again.id, again.duplicate), (first.id, true));
    let log = openings.again(config(ROUTE)).await;
    let again = log.append_keyed("k", "body").await;
    assert_eq!((again.id, again.duplicate), (first.id, true));
    assert_eq!(offsets(&log.lease("r").await), [first.id.offset]);
    let of_another_source = sample::keyed("other", "k", "body", log.clock.wall());
    assert!(
        !log.intake
            .append(of_another_source)
            .await
            .expect("taken")
            .duplicate
    );
    log.pass(Duration::from_secs(73 * 3600)).await;
    assert!(
        !log.append_keyed("k", "body").await.duplicate,
        "the window is over"
    );
}

async fn two_identical_requests_in_flight_are_one_delivery(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    let tries = (0..20).map(|_| log.append_keyed("k", "body"));
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1);
    assert!(answers.iter().all(|answer| answer.id == answers[0].id));
    assert_eq!(offsets(&log.lease("r").await).len(), 1);
}

async fn a_known_key_with_another_body_is_stored(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    let one = log.append_keyed("k", "one").await;
    let two = log.append_keyed("k", "two").await;
    assert!(!two.duplicate && two.id != one.id);
    assert_eq!(log.append_keyed("k", "two").await.id, two.id);
    assert_eq!(log.append_keyed("k", "one").await.id, one.id);
    let log = openings.again(config(ROUTE)).await;
    assert_eq!(log.append_keyed("k", "two").await.id, two.id);
}

async fn settled_is_settled_after_a_crash_and_the_rest_comes_again(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    for n in 0..10u8 {
        log.append(vec![n]).await;
    }
    let leases = log.lease_as("a", "r", 6).await;
    let done = &leases[0].items[1..4];
    let some = done
        .iter()
        .map(|item| settled(item.offset, &Outcome::Delivered))
        .collect();
    log.work
        .settle(leases[0].id, some)
        .await
        .expect("it settles");
    let log = openings.again(config(ROUTE)).await;
    let wanted: Vec<_> = (0..10u8).filter(|n| !(1..4).contains(n)).collect();
    let again = log.lease("r").await;
    let got: Vec<u8> = again[0]
        .items
        .iter()
        .map(|item| body(&item.record)[0])
        .collect();
    assert_eq!(got, wanted);
    assert!(
        again[0].items.iter().all(|item| item.attempt == 1),
        "a restart uses up no attempt"
    );
    let stale = log
        .work
        .settle(
            leases[0].id,
            vec![settled(again[0].items[0].offset, &RETRY)],
        )
        .await;
    assert_eq!(stale, Err(WorkError::Stale(leases[0].id)));
}

async fn the_same_lease_request_gets_the_same_lease(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    log.append("a").await;
    log.append("b").await;
    let first = log.lease_as("q", "r", 1).await;
    let again = log.lease_as("q", "r", 1).await;
    assert_eq!(
        (first[0].id, &first[0].items),
        (again[0].id, &again[0].items)
    );
    let other = log.lease_as("p", "r", 1).await;
    assert_ne!(first[0].id, other[0].id);
    log.settle(&first[0], &Outcome::Delivered).await;
    log.settle(&first[0], &Outcome::Delivered).await;
    assert!(log.lease_as("q", "r", 1).await.is_empty(), "it was settled");
}

async fn a_stale_lease_changes_nothing(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    let id = log.append("a").await.id;
    let lease = log.lease("r").await.remove(0);
    log.pass(Duration::from_secs(59)).await;
    log.work.extend(lease.id).await.expect("it holds on");
    log.pass(Duration::from_secs(59)).await;
    assert!(matches!(
        log.standing(id).await,
        Standing::Open { attempt: 1 }
    ));
    log.pass(Duration::from_secs(2)).await;
    let late = log
        .work
        .settle(lease.id, vec![settled(id.offset, &Outcome::Delivered)])
        .await;
    assert_eq!(late, Err(WorkError::Stale(lease.id)));
    assert_eq!(
        log.work.extend(lease.id).await,
        Err(WorkError::Stale(lease.id))
    );
    assert!(matches!(
        log.standing(id).await,
        Standing::Waiting { attempts: 1, .. }
    ));
    assert_eq!(
        log.work.settle(4711, Vec::new()).await,
        Err(WorkError::Stale(4711))
    );
}

async fn a_failed_try_waits_and_dies_after_its_attempts(openings: &mut dyn Openings) {
    let mut log = openings.fresh(config(ROUTE)).await;
    let id = log.append("a").await.id;
    for attempt in 1..=3 {
        let leases = log.lease("r").await;
        assert_eq!(leases[0].items[0].attempt, attempt);
        log.settle(&leases[0], &RETRY).await;
        if attempt == 2 {
            log = openings.again(config(ROUTE)).await;
        }
        log.pass(Duration::from_secs(11)).await;
    }
    assert!(log.lease("r").await.is_empty());
    let Standing::Dead {
        attempts: 3,
        reason,
        ..
    } = log.standing(id).await
    else {
        panic!("it is dead")
    };
    assert!(reason.contains("it said no"), "{reason}");
    assert_eq!(log.dead().await, [id]);
    let log = openings.again(config(ROUTE)).await;
    assert_eq!(log.dead().await, [id], "death is durable");
    assert!(log.lease("r").await.is_empty());
}

async fn a_lost_try_is_leased_alone_and_dies(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    let killer = log.append("killer").await.id;
    let innocent = log.append("innocent").await.id;
    assert_eq!(offsets(&log.lease("r").await).len(), 2);
    log.pass(Duration::from_secs(61)).await;
    log.pass(Duration::from_secs(11)).await;
    let (one, two) = (log.lease("r").await, log.lease("r").await);
    assert_eq!(
        (offsets(&one).len(), offsets(&two).len()),
        (1, 1),
        "they are leased alone"
    );
    let (dies, lives) = if offsets(&one) == [killer.offset] {
        (one, two)
    } else {
        (two, one)
    };
    assert_eq!(offsets(&dies), [killer.offset]);
    log.settle(&lives[0], &Outcome::Delivered).await;
    log.pass(Duration::from_secs(61)).await;
    let standing = log.standing(killer).await;
    assert!(
        matches!(standing, Standing::Dead { attempts: 2, .. }),
        "{standing:?}"
    );
    assert_eq!(log.standing(innocent).await, Standing::Settled);
}

async fn a_release_uses_up_no_attempt(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    log.append("a").await;
    for _ in 0..5 {
        let leases = log.lease("r").await;
        assert_eq!(leases[0].items[0].attempt, 1);
        log.settle(&leases[0], &Outcome::Released).await;
    }
}

async fn a_dead_letter_is_reprocessed_or_discarded(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    let ids = [
        log.append("a").await.id,
        log.append("b").await.id,
        log.append("c").await.id,
    ];
    log.settle(&log.lease("r").await[0], &Outcome::Reject).await;
    assert_eq!(log.dead().await, ids);
    let nothing = log.operate.reprocess(Selection::default(), who()).await;
    assert!(nothing.is_err(), "everything has to be said");
    let count = Selection {
        all: true,
        dry_run: true,
        ..Selection::default()
    };
    assert_eq!(
        log.operate
            .discard(count, who())
            .await
            .expect("counts")
            .count,
        3
    );
    let first = Selection {
        ids: vec![ids[0]],
        ..Selection::default()
    };
    assert_eq!(
        log.operate
            .reprocess(first.clone(), who())
            .await
            .expect("revives")
            .count,
        1
    );
    assert_eq!(
        log.operate
            .reprocess(first, who())
            .await
            .expect("nothing left")
            .count,
        0
    );
    let by_reason = Selection {
        reason: Some("rejected".to_owned()),
        status: Some(500),
        limit: 1,
        ..Selection::default()
    };
    let changed = log
        .operate
        .discard(by_reason, who())
        .await
        .expect("discards");
    assert_eq!((changed.count, changed.more), (1, true));
    let log = openings.again(config(ROUTE)).await;
    assert_eq!(log.dead().await, [ids[2]]);
    let leases = log.lease("r").await;
    assert_eq!(offsets(&leases), [ids[0].offset]);
    assert_eq!(
        (leases[0].items[0].attempt, leases[0].items[0].generation),
        (1, 1)
    );
    log.settle(&leases[0], &Outcome::Delivered).await;
    assert_eq!(log.standing(ids[1]).await, Standing::Settled);
}

async fn a_rewound_route_gets_everything_again_with_another_generation(
    openings: &mut dyn Openings,
) {
    let log = openings.fresh(config(ROUTE)).await;
    for n in 0..6u8 {
        log.append(vec![n]).await;
    }
    let first = log.lease_as("one", "r", 1).await;
    log.settle(&first[0], &Outcome::Delivered).await;
    let dead = log.lease_as("two", "r", 1).await;
    log.settle(&dead[0], &Outcome::Reject).await;
    let waiting = log.lease_as("three", "r", 1).await;
    log.settle(&waiting[0], &RETRY).await;
    let open = log.lease_as("four", "r", 1).await;
    let back = log
        .operate
        .rewind("r", RewindTo::Beginning, who())
        .await
        .expect("rewinds");
    assert!(back >= 4, "{back}");
    let late = log
        .work
        .settle(
            open[0].id,
            vec![settled(open[0].items[0].offset, &Outcome::Delivered)],
        )
        .await;
    assert!(matches!(late, Err(WorkError::Stale(_))), "leases are void");
    let log = openings.again(config(ROUTE)).await;
    let status = log.operate.routes().await.expect("routes").remove(0);
    assert_eq!(
        (status.waiting, status.dead, status.epoch),
        (0, 0, 1),
        "superseded"
    );
    let all = log.lease("r").await;
    assert_eq!(offsets(&all).len(), 6);
    assert!(all[0].items.iter().all(|item| item.generation == 1));
    log.settle(&all[0], &Outcome::Delivered).await;
    let again = log
        .operate
        .rewind("r", RewindTo::Offset(all[0].items[4].offset), who())
        .await
        .expect("rewinds");
    assert_eq!(again, 2);
    assert_eq!(offsets(&log.lease("r").await).len(), 2);
}

async fn a_paused_route_lends_nothing_even_after_a_crash(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    log.append("a").await;
    log.operate.pause("r", who()).await.expect("pauses");
    assert!(log.lease("r").await.is_empty());
    let log = openings.again(config(ROUTE)).await;
    assert!(log.lease("r").await.is_empty());
    assert!(log.operate.routes().await.expect("routes")[0].paused);
    log.operate.resume("r", who()).await.expect("resumes");
    assert_eq!(offsets(&log.lease("r").await).len(), 1);
}

async fn a_route_takes_what_matches(openings: &mut dyn Openings) {
    let only = format!("{ROUTE}match = {{ event = [\"push\"] }}\n");
    let log = openings.fresh(config(&only)).await;
    let now = log.clock.wall();
    let push = log.append("a").await.id;
    let ping = sample::of_event(sample::delivery("s", "b", now), "ping");
    let ping = log.intake.append(ping).await.expect("taken").id;
    log.intake
        .append(sample::delivery("other", "c", now))
        .await
        .expect("taken");
    assert_eq!(offsets(&log.lease("r").await), [push.offset]);
    assert_eq!(
        log.standing(ping).await,
        Standing::Settled,
        "unmatched is settled"
    );
    assert_eq!(log.operate.routes().await.expect("routes")[0].unmatched, 1);
}

async fn one_delivery_goes_to_every_route(openings: &mut dyn Openings) {
    let both = format!(
        "{ROUTE}[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"t\"\nstart = \"beginning\"\n"
    );
    let log = openings.fresh(config(&both)).await;
    let id = log.append("a").await.id;
    let one = log.lease("r").await;
    log.settle(&one[0], &Outcome::Reject).await;
    let other = log.lease("t").await;
    assert_eq!(offsets(&other), [id.offset]);
    log.settle(&other[0], &Outcome::Filtered).await;
    let standings = log.operate.show(id).await.expect("there").standings;
    assert!(
        matches!(&standings[..], [(r, Standing::Dead { .. }), (t, Standing::Settled)] if r == "r" && t == "t")
    );
}

async fn a_new_route_starts_where_it_should(openings: &mut dyn Openings) {
    let log = openings.fresh(config("")).await;
    log.append("unrouted").await;
    let log = openings.again(config(ROUTE)).await;
    assert_eq!(
        offsets(&log.lease("r").await).len(),
        1,
        "the first route of a source starts at the beginning"
    );
    let second = format!("{ROUTE}[[routes]]\nsource = \"s\"\ndestination = \"d\"\nname = \"t\"\n");
    let log = openings.again(config(&second)).await;
    assert!(log.lease("t").await.is_empty(), "a further one starts now");
    let id = log.append("b").await.id;
    assert_eq!(offsets(&log.lease("t").await), [id.offset]);
}

async fn an_orphaned_route_is_kept_renamed_or_forgotten(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    let ids = [
        log.append("a").await.id,
        log.append("b").await.id,
        log.append("c").await.id,
    ];
    let lease = log.lease_as("x", "r", 1).await;
    log.settle(&lease[0], &Outcome::Reject).await;
    let lease = log.lease_as("y", "r", 1).await;
    log.settle(&lease[0], &RETRY).await;
    assert!(
        log.operate.forget("r", who()).await.is_err(),
        "it is configured"
    );
    let renamed = ROUTE.replace("name = \"r\"", "name = \"new\"");
    let log = openings.again(config(&renamed)).await;
    let orphan = log
        .operate
        .routes()
        .await
        .expect("routes")
        .into_iter()
        .find(|r| r.name == "r")
        .expect("kept");
    assert_eq!(
        (orphan.destination, orphan.waiting, orphan.dead),
        (None, 1, 1)
    );
    log.operate
        .rename("r", "new", who())
        .await
        .expect("renames");
    let log = openings.again(config(&renamed)).await;
    let routes = log.operate.routes().await.expect("routes");
    assert_eq!(routes.len(), 1);
    assert_eq!((routes[0].waiting, routes[0].dead), (1, 1));
    assert_eq!(
        offsets(&log.lease("new").await),
        [ids[2].offset],
        "it goes on where it was"
    );
    let log = openings.again(config("")).await;
    log.operate.forget("new", who()).await.expect("forgets");
    assert!(log.operate.routes().await.expect("routes").is_empty());
    assert!(log.dead().await.is_empty());
}

async fn what_is_asked_for_is_found(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    let mut ids = Vec::new();
    for n in 0..25u8 {
        log.clock.advance(Duration::from_secs(1));
        let one = sample::delivery(
            if n % 5 == 0 { "other" } else { "s" },
            vec![n],
            log.clock.wall(),
        );
        let one = sample::of_event(one, if n % 2 == 0 { "even" } else { "odd" });
        ids.push(log.intake.append(one).await.expect("taken").id);
    }
    let all = |find: Find| {
        let log = log.clone();
        async move {
            let (mut find, mut found) = (find, Vec::new());
            loop {
                let page = log.operate.find(find.clone()).await.expect("finds");
                found.extend(page.items.into_iter().map(|item| item.id));
                match page.next {
                    Some(next) => find.from = Some(next),
                    None => return found,
                }
            }
        }
    };
    let page = Find {
        limit: 7,
        ..Find::default()
    };
    assert_eq!(all(page.clone()).await, ids);
    let newest: Vec<_> = ids.iter().rev().copied().collect();
    assert_eq!(
        all(Find {
            newest: true,
            ..page.clone()
        })
        .await,
        newest
    );
    let others: Vec<_> = ids.iter().copied().step_by(5).collect();
    assert_eq!(
        all(Find {
            source: Some("other".to_owned()),
            ..page.clone()
        })
        .await,
        others
    );
    assert_eq!(
        all(Find {
            event: Some("odd".to_owned()),
            ..page.clone()
        })
        .await
        .len(),
        12
    );
    let late = log.clock.wall();
    assert_eq!(
        all(Find {
            since: Some(late),
            ..page.clone()
        })
        .await,
        [ids[24]]
    );
    assert_eq!(
        all(Find {
            until: Some(late),
            ..page
        })
        .await,
        ids[..24]
    );
    let one = log.operate.show(ids[3]).await.expect("there");
    assert_eq!((&one.delivery.body[..], one.body_bytes), (&[3][..], 1));
    let absent = DeliveryId {
        offset: ids[24].offset + 1,
        ..ids[24]
    };
    assert!(log.operate.show(absent).await.is_err());
    let foreign = DeliveryId {
        log: crate::ids::LogId::from_bits(1),
        ..ids[3]
    };
    assert!(
        log.operate.show(foreign).await.is_err(),
        "an id of another log"
    );
}

async fn attempts_are_kept(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    let id = log.append("a").await.id;
    log.settle(&log.lease("r").await[0], &RETRY).await;
    log.pass(Duration::from_secs(11)).await;
    log.settle(&log.lease("r").await[0], &Outcome::Delivered)
        .await;
    let attempts = log.operate.attempts(id).await.expect("kept");
    let told: Vec<_> = attempts
        .iter()
        .map(|a| (a.number, a.verdict, a.report.status))
        .collect();
    assert_eq!(
        told,
        [
            (1, Verdict::Retry, Some(500)),
            (2, Verdict::Delivered, Some(500))
        ]
    );
}

async fn acts_are_recorded(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    log.operate.pause("r", who()).await.expect("pauses");
    let log = openings.again(config(ROUTE)).await;
    log.operate.resume("r", who()).await.expect("resumes");
    let audit = log.operate.audit(10).await.expect("recorded");
    let told: Vec<_> = audit
        .iter()
        .map(|act| (act.action.as_str(), act.subject.as_str()))
        .collect();
    assert_eq!(told, [("resume", "r"), ("pause", "r")], "newest first");
    assert!(!audit[0].actor.who.is_empty());
}

async fn a_bounded_lease_takes_no_more_than_was_wanted(openings: &mut dyn Openings) {
    let bounded = ROUTE.replace("name = \"r\"", "name = \"r\"\nopen_max = 5");
    let log = openings.fresh(config(&bounded)).await;
    for n in 0..10u8 {
        log.append(vec![n; 1000]).await;
    }
    let mut request = request_for("bytes", "r", 100);
    request.wants[0].max_bytes = 3000;
    let few = log.work.lease(request).await.expect("lends");
    assert_eq!(
        offsets(&few).len(),
        2,
        "two records of a little over 1,000 bytes fit"
    );
    let more = log.lease("r").await;
    assert_eq!(offsets(&more).len(), 3, "open_max");
    let mut one = request_for("one", "r", 100);
    one.wants[0].max_bytes = 1;
    log.settle(&few[0], &Outcome::Delivered).await;
    assert_eq!(
        offsets(&log.work.lease(one).await.expect("lends")).len(),
        1,
        "always at least one"
    );
}

async fn nobody_gets_what_is_not_configured(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    let none = log.work.lease(request_for("q", "nothing", 1)).await;
    assert!(matches!(none, Err(WorkError::NoRoute(route)) if route == "nothing"));
    assert!(log.operate.pause("nothing", who()).await.is_err());
    assert!(
        log.operate
            .rewind("r", RewindTo::Beginning, who())
            .await
            .is_err(),
        "nothing to rewind"
    );
}
