//! Routes: what one takes, where it starts, goes back to and ends.

use super::{Openings, RETRY, ROUTE, config, offsets, settled, who};
use crate::log::{RewindTo, Standing, WorkError};
use crate::outcome::Outcome;
use crate::testkit::sample;
use crate::time::Clock;

pub(super) async fn a_rewound_route_gets_everything_again_with_another_generation(
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

pub(super) async fn a_paused_route_lends_nothing_even_after_a_crash(openings: &mut dyn Openings) {
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

pub(super) async fn a_route_takes_what_matches(openings: &mut dyn Openings) {
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

pub(super) async fn one_delivery_goes_to_every_route(openings: &mut dyn Openings) {
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

pub(super) async fn a_new_route_starts_where_it_should(openings: &mut dyn Openings) {
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

pub(super) async fn an_orphaned_route_is_kept_renamed_or_forgotten(openings: &mut dyn Openings) {
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
