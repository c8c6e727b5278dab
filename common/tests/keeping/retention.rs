//! What retention removes and what it leaves alone, and a disk that is nearly full.

use std::time::{Duration, Instant};

use creel_common::engine::Space;
use creel_common::log::{AppendError, Operate};
use creel_common::outcome::Outcome;

use crate::subject::{HOUR, Subject};

#[tokio::test]
async fn retention_removes_what_is_settled_on_every_route_and_nothing_else() {
    let subject = Subject::fresh(&["r"]);
    // sources are known by the span of 256 deliveries: the one without a route is in the second
    for offset in 1..=260 {
        let source = if offset == 257 { "unrouted" } else { "s" };
        assert_eq!(subject.append(source).await, Ok(offset));
    }
    let outcome = |offset| match offset {
        2 => Outcome::Reject,
        3 => Outcome::Retry { after: None },
        _ => Outcome::Delivered,
    };
    // 1 to 258 without 257
    subject.settle("r", 257, outcome).await;
    subject.clock.advance(2 * HOUR);
    // 2 is dead, 3 waits, 257 has no route and 258 is in a span with it, 259 is pending, 260 is in
    // the volume that is being written
    assert_eq!(subject.left_without(256).await, [2, 3, 257, 258, 259, 260]);
}

#[tokio::test]
async fn what_one_route_has_not_settled_is_kept_for_it() {
    let subject = Subject::fresh(&["r", "slow"]);
    for _ in 0..3 {
        subject.append("s").await.unwrap();
    }
    subject.settle("r", 3, |_| Outcome::Delivered).await;
    subject.settle("slow", 1, |_| Outcome::Delivered).await;
    subject.clock.advance(2 * HOUR);
    assert_eq!(subject.left_without(1).await, [2, 3]);
}

#[tokio::test]
async fn settled_deliveries_are_kept_for_the_retention() {
    let subject = Subject::fresh(&["r"]);
    // times are known by the span of 256 deliveries
    for _ in 1..=256 {
        subject.append("s").await.unwrap();
    }
    subject.clock.advance(HOUR / 2);
    for _ in 257..=258 {
        subject.append("s").await.unwrap();
    }
    subject.settle("r", 258, |_| Outcome::Delivered).await;
    subject.clock.advance(HOUR * 3 / 4);
    assert_eq!(subject.left_without(256).await, [257, 258]);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_removes_nothing() {
    let subject = Subject::fresh(&["r"]);
    for _ in 0..2 {
        subject.append("s").await.unwrap();
    }
    subject.settle("r", 2, |_| Outcome::Delivered).await;
    subject.clock.jump(30 * 24 * HOUR);
    for _ in 0..50 {
        subject.clock.advance(Duration::from_secs(10));
        subject.log.routes().await.unwrap();
    }
    let engine = subject.engine.reopen();
    subject.log.clone().close().await.unwrap();
    assert_eq!(subject.volumes(), [1, 2]);
    // without a jump it would have gone
    let subject = Subject::open(engine, &["r"]);
    subject.clock.advance(2 * HOUR);
    assert_eq!(subject.left_without(1).await, [2]);
}

#[tokio::test]
async fn below_the_reserve_nothing_is_taken_all_else_goes_on_and_above_it_intake_too() {
    let subject = Subject::fresh(&["r"]);
    subject.append("s").await.unwrap();
    subject.append("s").await.unwrap();
    let engine = subject.engine.reopen();
    drop(subject);
    let free = |free| Some(Space { used: 0, free });
    engine.set_space(free((1 << 20) - 1));
    let subject = Subject::open(engine, &["r"]);
    assert!(matches!(
        subject.append("s").await,
        Err(AppendError::Full(_))
    ));
    assert!(matches!(subject.log.ready(), Err(AppendError::Full(_))));
    subject.settle("r", 2, |_| Outcome::Delivered).await;
    assert_eq!(subject.log.routes().await.unwrap()[0].delivered, 2);
    subject.engine.set_space(free(1 << 20));
    let until = Instant::now() + Duration::from_secs(30);
    while subject.log.ready().is_err() {
        assert!(Instant::now() < until, "it does not take deliveries again");
        tokio::task::yield_now().await;
    }
    assert_eq!(subject.append("s").await, Ok(3));
}

#[tokio::test]
async fn settled_history_gives_way_to_a_disk_that_fills_oldest_first_and_nothing_else_does() {
    let subject = Subject::fresh(&["r"]);
    for _ in 0..6 {
        subject.append("s").await.unwrap();
    }
    let outcome = |offset| match offset {
        2 => Outcome::Reject,
        _ => Outcome::Delivered,
    };
    // 5 is pending, 6 is in the volume that is being written; nothing is past retention
    subject.settle("r", 4, outcome).await;
    // above the reserve of 1 MiB, but below half as much again: as if one volume were too many
    let short = 1500;
    let free = (3 << 19) - short;
    subject.engine.set_space(Some(Space { used: 0, free }));
    let until = Instant::now() + Duration::from_secs(30);
    while subject.volumes().contains(&1) {
        assert!(Instant::now() < until, "history does not give way");
        subject.clock.advance(Duration::from_secs(1));
        subject.log.routes().await.unwrap();
    }
    assert!(subject.log.ready().is_ok(), "intake did not have to stop");
    // the first volume was enough for that moment, but the disk stays as full as it is said to be
    while subject.volumes() != [2, 5, 6] {
        assert!(Instant::now() < until, "left: {:?}", subject.volumes());
        subject.clock.advance(Duration::from_secs(1));
        subject.log.routes().await.unwrap();
    }
    for _ in 0..20 {
        subject.clock.advance(Duration::from_secs(1));
        subject.log.routes().await.unwrap();
    }
    subject.log.clone().close().await.unwrap();
    assert_eq!(subject.volumes(), [2, 5, 6], "dead and pending are kept");
}
