//! The log over HTTP behaves as the log itself.

use std::time::Duration;

use base64::Engine as _;
use creel_common::attempt::Report;
use creel_common::log::{
    Actor, Find, LeaseRequest, Operate, OperateError, RewindTo, Selection, Settled, Standing, Want,
    Work, WorkError, codec,
};
use creel_common::outcome::{Outcome, Verdict};

use super::client::{exchange, request};
use super::setup::{OPERATE, READ, Running, WORKER, start};

const ROUTE: &str = "open-sink";

fn wants(request: &str, route: &str, wait: Duration) -> LeaseRequest {
    LeaseRequest {
        request: request.into(),
        worker: "w".into(),
        wants: vec![Want {
            route: route.into(),
            max_items: 100,
            max_bytes: 8 << 20,
        }],
        wait,
    }
}

fn settled(offset: u64, outcome: Outcome) -> Settled {
    Settled {
        offset,
        outcome,
        report: Report {
            status: Some(400),
            error: Some("no".into()),
            response: vec![0xff],
            ..Report::default()
        },
    }
}

async fn send(creel: &Running, bodies: &[&[u8]]) {
    for body in bodies {
        let answer = exchange(creel.public, &request("POST", "/in/open", &[], body)).await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn a_worker_leases_byte_for_byte_and_settles() {
    let creel = start().await;
    let large = vec![0xfe; 100 << 10];
    let bodies = [&b"\x00\xff"[..], b"", &large];
    send(&creel, &bodies).await;
    let worker = creel.remote(WORKER);
    assert_eq!(worker.log_id().await.unwrap(), creel.log.id());
    let request = wants("a", ROUTE, Duration::from_secs(5));
    let leases = worker.lease(request.clone()).await.unwrap();
    let items = &leases[0].items;
    let leased: Vec<_> = items
        .iter()
        .map(|i| codec::decode(&i.record).unwrap().body)
        .collect();
    assert_eq!(leased, bodies);
    assert_eq!(
        worker.lease(request).await.unwrap()[0].id,
        leases[0].id,
        "a lost reply"
    );
    assert!(worker.extend(leases[0].id).await.unwrap() > Duration::ZERO);

    let reports = vec![
        settled(items[0].offset, Outcome::Delivered),
        settled(items[1].offset, Outcome::Reject),
        settled(items[2].offset, Outcome::Filtered),
    ];
    worker.settle(leases[0].id, reports).await.unwrap();
    let route = creel.remote(READ).routes().await.unwrap().remove(0);
    assert_eq!((route.open, route.dead, route.pending), (0, 1, 0));
    creel.finish().await;
}

#[tokio::test]
async fn errors_are_what_the_log_said() {
    let creel = start().await;
    let worker = creel.remote(WORKER);
    let none = worker.lease(wants("a", "nothing", Duration::ZERO)).await;
    assert_eq!(none, Err(WorkError::NoRoute("nothing".into())));
    assert_eq!(
        worker.extend(u64::MAX).await,
        Err(WorkError::Stale(u64::MAX))
    );
    assert_eq!(
        worker.settle(3, vec![]).await,
        creel.log.settle(3, vec![]).await
    );
    let stale = worker.settle(4, vec![settled(1, Outcome::Delivered)]).await;
    assert_eq!(stale, Err(WorkError::Stale(4)));
    assert!(matches!(
        worker.routes().await,
        Err(OperateError::Forbidden(_))
    ));
    let operator = creel.remote(OPERATE);
    let gone = operator.pause("nothing", Actor::default()).await;
    assert_eq!(gone, creel.log.pause("nothing", Actor::default()).await);
    assert!(matches!(gone, Err(OperateError::NotFound(_))));
    let nothing = operator
        .discard(Selection::default(), Actor::default())
        .await;
    assert!(
        matches!(nothing, Err(OperateError::Invalid(_))),
        "{nothing:?}"
    );
    creel.finish().await;
}

#[tokio::test]
async fn an_operator_sees_and_changes_what_the_log_has() {
    let creel = start().await;
    send(&creel, &[b"one", b"\xff"]).await;
    let worker = creel.remote(WORKER);
    let lease = worker
        .lease(wants("a", ROUTE, Duration::from_secs(5)))
        .await
        .unwrap()
        .remove(0);
    let offsets: Vec<u64> = lease.items.iter().map(|item| item.offset).collect();
    let reject = offsets
        .iter()
        .map(|o| settled(*o, Outcome::Reject))
        .collect();
    worker.settle(lease.id, reject).await.unwrap();

    let operator = creel.remote(OPERATE);
    let dead = operator.dead(Find::default()).await.unwrap();
    assert_eq!(
        dead.items,
        creel.log.dead(Find::default()).await.unwrap().items
    );
    assert_eq!(dead.items.len(), 2);
    let id = dead.items[1].id;
    let shown = operator.show(id).await.unwrap();
    assert_eq!(shown.delivery, creel.log.show(id).await.unwrap().delivery);
    assert!(matches!(
        shown.standings[0].1,
        Standing::Dead { attempts: 1, .. }
    ));
    let attempts = operator.attempts(id).await.unwrap();
    assert_eq!(attempts, creel.log.attempts(id).await.unwrap());
    assert_eq!(
        (attempts[0].verdict, &attempts[0].report.response[..]),
        (Verdict::Reject, &b"\xff"[..])
    );

    let actor = Actor {
        who: "ann".into(),
        why: Some("fixed".into()),
    };
    let one = Selection {
        ids: vec![id],
        ..Selection::default()
    };
    assert_eq!(
        operator.reprocess(one, actor.clone()).await.unwrap().count,
        1
    );
    let all = Selection {
        all: true,
        ..Selection::default()
    };
    assert_eq!(operator.discard(all, actor.clone()).await.unwrap().count, 1);
    operator.pause(ROUTE, actor.clone()).await.unwrap();
    assert!(operator.routes().await.unwrap()[0].paused);
    operator.resume(ROUTE, actor.clone()).await.unwrap();
    let back = operator
        .rewind(ROUTE, RewindTo::Beginning, actor.clone())
        .await
        .unwrap();
    assert_eq!(back, 2);
    assert!(
        operator.forget(ROUTE, actor).await.is_err(),
        "it is configured"
    );
    let audit = operator.audit(10).await.unwrap();
    assert!(
        audit.iter().all(|act| act.actor.who == "ann (ops)"),
        "{audit:?}"
    );
    assert!(audit.len() >= 5);

    let find = Find {
        bodies: true,
        newest: true,
        ..Find::default()
    };
    let found = operator.find(find).await.unwrap();
    let bodies: Vec<_> = found
        .items
        .iter()
        .map(|one| &one.delivery.body[..])
        .collect();
    assert_eq!(bodies, [&b"\xff"[..], b"one"]);
    assert_eq!(operator.facts().await.unwrap().deliveries, 2);
    let sources = operator.sources().await.unwrap();
    assert!(
        sources
            .iter()
            .any(|source| source.path == "/in/gh" && source.body_bytes_max == 64 << 10)
    );
    creel.finish().await;
}

#[tokio::test]
async fn any_client_can_be_a_worker_in_json() {
    let creel = start().await;
    send(&creel, &[b"\xffhello"]).await;
    let bearer = format!("Bearer {WORKER}");
    let headers = [
        ("authorization", &bearer[..]),
        ("content-type", "application/json"),
    ];
    let call = format!(
        r#"{{"request":"j1","worker":"curl","wait_ms":5000,
            "wants":[{{"route":"{ROUTE}","max_items":10,"max_bytes":100000}}]}}"#
    );
    let answer = exchange(
        creel.private,
        &request("POST", "/v1/lease", &headers, call.as_bytes()),
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let lease = &answer.json()["leases"][0];
    let item = &lease["items"][0];
    let coded = item["delivery"]["body_base64"].as_str().unwrap();
    let body = base64::engine::general_purpose::STANDARD
        .decode(coded)
        .unwrap();
    assert_eq!(body, b"\xffhello");
    let settle = format!(
        r#"{{"settled":[{{"offset":{},"outcome":"delivered"}}]}}"#,
        item["offset"]
    );
    let path = format!("/v1/leases/{}/settle", lease["id"].as_str().unwrap());
    let answer = exchange(
        creel.private,
        &request("POST", &path, &headers, settle.as_bytes()),
    )
    .await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let route = creel.remote(READ).routes().await.unwrap().remove(0);
    assert_eq!((route.open, route.delivered), (0, 1));
    creel.finish().await;
}

#[tokio::test]
async fn a_receiver_that_stopped_is_unavailable() {
    let creel = start().await;
    let worker = creel.remote(WORKER);
    worker.log_id().await.unwrap();
    creel.finish().await;
    assert!(matches!(
        worker.log_id().await,
        Err(WorkError::Unavailable(_))
    ));
}
