//! What retention removes and what it leaves alone, and a disk that is nearly full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use creel_common::engine::Space;
use creel_common::engine::memory::MemoryEngine;
use creel_common::log::bounds::Bound;
use creel_common::log::{Actor, AppendError, Operate, OperateError, RewindTo, Selection};
use creel_common::outcome::Outcome;

use crate::subject::{HOUR, Subject, VOLUMES_OF_ONE, config};

fn space(used: u64, free: u64) -> Space {
    Space {
        used,
        free,
        ballast: 0,
    }
}

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
    let free = |free| Some(space(0, free));
    engine.set_space(free((1 << 20) - 1));
    let subject = Subject::open(engine, &["r"]);
    assert!(matches!(
        subject.append("s").await,
        Err(AppendError::Full(_))
    ));
    assert!(matches!(subject.log.ready(), Err(AppendError::Full(_))));
    subject.settle("r", 2, |_| Outcome::Delivered).await;
    assert_eq!(subject.log.routes().await.unwrap()[0].delivered, 2);
    // a little above it, so that nothing swings to and fro
    subject.engine.set_space(free((1 << 20) + (1 << 15)));
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
    subject.engine.set_space(Some(space(0, free)));
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

fn actor() -> Actor {
    Actor {
        who: "test".to_owned(),
        why: None,
    }
}

fn dead_letters(dry_run: bool) -> Selection {
    Selection {
        all: true,
        dry_run,
        limit: 1,
        ..Selection::default()
    }
}

#[tokio::test]
async fn below_the_second_reserve_operators_may_only_make_room_and_all_else_goes_on() {
    let subject = Subject::fresh(&["r"]);
    for _ in 0..4 {
        subject.append("s").await.unwrap();
    }
    subject.settle("r", 2, |_| Outcome::Reject).await;
    let engine = subject.engine.reopen();
    drop(subject);
    engine.set_space(Some(space(0, (1 << 18) - 1)));
    let subject = Subject::open(engine, &["r"]);
    let log = &subject.log;
    let to = RewindTo::Beginning;
    for refused in [
        log.reprocess(dead_letters(false), actor()).await.err(),
        log.pause("r", actor()).await.err(),
        log.rewind("r", to, actor()).await.err(),
        log.rename("r", "q", actor()).await.err(),
    ] {
        let Some(OperateError::Unavailable(why)) = refused else {
            panic!("{refused:?}");
        };
        assert!(
            why.starts_with("the disk is nearly full: 262143 bytes are free"),
            "{why}"
        );
    }
    let counted = log.reprocess(dead_letters(true), actor()).await.unwrap();
    assert_eq!(counted.count, 2, "counting changes nothing");
    subject.settle("r", 2, |_| Outcome::Delivered).await;
    log.discard(dead_letters(false), actor()).await.unwrap();
    log.resume("r", actor()).await.unwrap();
    let words: Vec<_> = log.facts().reached.iter().map(|r| r.bound.word()).collect();
    assert_eq!(words, ["reserve", "reserve_operate"]);
    // above the second one and still below the first
    subject.engine.set_space(Some(space(0, 1 << 19)));
    let between = |subject: &Subject| subject.log.facts().reached.len() == 1;
    subject.until("the second reserve is left", between).await;
    log.reprocess(dead_letters(false), actor()).await.unwrap();
    log.pause("r", actor()).await.unwrap();
    assert!(log.ready().is_err());
}

#[tokio::test]
async fn a_log_of_its_most_bytes_gives_history_up_before_it_refuses_and_takes_again_by_itself() {
    let engine = MemoryEngine::new(VOLUMES_OF_ONE, 5);
    let config = config("max_bytes = \"8GiB\"", "", &["r"]);
    let subject = Subject::open_with(engine, &config, Arc::default());
    for _ in 0..4 {
        subject.append("s").await.unwrap();
    }
    subject.settle("r", 2, |_| Outcome::Delivered).await;
    let used = |bytes| Some(space(bytes, 1 << 40));
    // two volumes below it
    subject.engine.set_space(used((6 << 30) + 1));
    let gave_way = |subject: &Subject| subject.volumes() == [3, 4];
    subject.until("history gives way", gave_way).await;
    assert_eq!(
        subject.append("s").await,
        Ok(5),
        "it did not have to refuse"
    );
    subject.engine.set_space(used(8 << 30));
    let closed = |subject: &Subject| subject.log.ready().is_err();
    subject.until("it refuses", closed).await;
    let Err(AppendError::Full(reached)) = subject.append("s").await else {
        panic!("taken");
    };
    assert_eq!(reached.bound, Bound::MaxBytes);
    subject.engine.set_space(used(7 << 30));
    subject
        .until("it takes again", |subject| !closed(subject))
        .await;
    assert_eq!(subject.append("s").await, Ok(6));
}

#[tokio::test]
async fn a_source_over_its_quota_is_refused_alone_and_taken_again_when_its_history_has_gone() {
    const BODY: usize = 8 << 20;
    let engine = MemoryEngine::new(VOLUMES_OF_ONE, 5);
    let other = "[sources.other]\nprovider = \"none\"\n\
         [[routes]]\nname = \"o\"\nsource = \"other\"\ndestination = \"d\"\n";
    let source = format!("quota = \"40MiB\"\n{other}");
    let bounded = config("volume = \"4MiB\"", &source, &["r"]);
    let subject = Subject::open_with(engine, &bounded, Arc::default());
    for offset in 1..=5 {
        assert_eq!(subject.append_bytes("s", BODY).await, Ok(offset));
    }
    assert_eq!(subject.kept("s").0, 5);
    assert!(subject.kept("s").1 >= 5 * BODY as u64);
    let refused = subject.append("s").await;
    let Err(AppendError::Full(reached)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(reached.bound, Bound::Quota("s".into()));
    assert!(subject.log.ready().is_ok(), "others go on");
    assert_eq!(subject.append("other").await, Ok(6));
    // it is pending: nothing of it goes, also not by a new start, which finds the same account
    let before = subject.log.facts().account.sources();
    let engine = subject.engine.reopen();
    drop(subject);
    let subject = Subject::open_with(engine, &bounded, Arc::default());
    assert_eq!(subject.log.facts().account.sources(), before);
    assert!(subject.append("s").await.is_err());
    subject.settle("o", 1, |_| Outcome::Delivered).await;
    for max_items in 1..=5 {
        subject.settle("r", max_items, |_| Outcome::Delivered).await;
    }
    let taken = |subject: &Subject| subject.log.facts().reached.is_empty();
    subject.until("it is taken again", taken).await;
    assert_eq!(subject.append("s").await, Ok(7));
    // no more than was needed, and nothing of the other
    let others = [6, 7];
    assert!(
        subject.volumes().ends_with(&others),
        "{:?}",
        subject.volumes()
    );
    assert!(subject.kept("s").0 >= 2, "{:?}", subject.kept("s"));
}
