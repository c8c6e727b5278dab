//! What is appended, and what is recognised as appended before.

use std::time::Duration;

use bytes::Bytes;

use super::{Openings, ROUTE, body, config, offsets};
use crate::outcome::Outcome;
use crate::testkit::sample;
use crate::time::Clock;

pub(super) async fn what_is_appended_is_leased_in_order_byte_for_byte(openings: &mut dyn Openings) {
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

pub(super) async fn a_repeat_gets_the_first_id_even_after_a_crash(openings: &mut dyn Openings) {
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

pub(super) async fn two_identical_requests_in_flight_are_one_delivery(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    let tries = (0..20).map(|_| log.append_keyed("k", "body"));
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1);
    assert!(answers.iter().all(|answer| answer.id == answers[0].id));
    assert_eq!(offsets(&log.lease("r").await).len(), 1);
}

pub(super) async fn a_known_key_with_another_body_is_stored(openings: &mut dyn Openings) {
    let log = openings.fresh(config(ROUTE)).await;
    let one = log.append_keyed("k", "one").await;
    let two = log.append_keyed("k", "two").await;
    assert!(!two.duplicate && two.id != one.id);
    assert_eq!(log.append_keyed("k", "two").await.id, two.id);
    assert_eq!(log.append_keyed("k", "one").await.id, one.id);
    let log = openings.again(config(ROUTE)).await;
    assert_eq!(log.append_keyed("k", "two").await.id, two.id);
}
