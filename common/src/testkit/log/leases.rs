//! Leases: who holds what, and what becomes of an attempt.

use std::time::Duration;

use super::{Openings, RETRY, ROUTE, body, config, offsets, request_for, settled, who};
use crate::log::{RewindTo, Standing, WorkError};
use crate::outcome::Outcome;

pub(super) async fn settled_is_settled_after_a_crash_and_the_rest_comes_again(
    openings: &mut dyn Openings,
) {
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

pub(super) async fn the_same_lease_request_gets_the_same_lease(openings: &mut dyn Openings) {
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

pub(super) async fn a_stale_lease_changes_nothing(openings: &mut dyn Openings) {
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

pub(super) async fn a_failed_try_waits_and_dies_after_its_attempts(openings: &mut dyn Openings) {
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

pub(super) async fn a_lost_try_is_leased_alone_and_dies(openings: &mut dyn Openings) {
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

pub(super) async fn a_release_uses_up_no_attempt(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    log.append("a").await;
    for _ in 0..5 {
        let leases = log.lease("r").await;
        assert_eq!(leases[0].items[0].attempt, 1);
        log.settle(&leases[0], &Outcome::Released).await;
    }
}

pub(super) async fn a_bounded_lease_takes_no_more_than_was_wanted(openings: &mut dyn Openings) {
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

pub(super) async fn nobody_gets_what_is_not_configured(openings: &mut dyn Openings) {
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
