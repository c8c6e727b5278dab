//! What operators find, and what they do about dead letters.

use std::time::Duration;

use super::{Openings, RETRY, ROUTE, config, offsets, who};
use crate::ids::DeliveryId;
use crate::log::{Find, Selection, Standing};
use crate::outcome::{Outcome, Verdict};
use crate::testkit::sample;
use crate::time::Clock;

pub(super) async fn a_dead_letter_is_reprocessed_or_discarded(openings: &mut dyn Openings) {
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

pub(super) async fn what_is_asked_for_is_found(openings: &mut dyn Openings) {
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

pub(super) async fn attempts_are_kept(openings: &mut dyn Openings) {
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

pub(super) async fn acts_are_recorded(openings: &mut dyn Openings) {
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
