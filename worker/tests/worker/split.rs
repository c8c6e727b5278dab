//! Routes that split: every item arrives under its own id, whatever fails on the way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use creel_common::config::{Otherwise, Route, Split};
use creel_common::delivery::Delivery;
use creel_common::log::{Settled, codec};
use creel_common::outcome::Outcome;
use creel_worker::Destinations;
use creel_worker::destinations::{Attempted, Destination, Item};
use tempfile::TempDir;

use crate::drain::{Running, settings, start_routes};
use crate::fake::FakeWork;
use crate::lines;
use crate::sample::{delivery, opened, route};

const MINUTE: Duration = Duration::from_secs(60);
const RETRY: Outcome = Outcome::Retry { after: None };

/// A destination that answers each item by its body, and remembers what came.
struct Recorder {
    answer: Box<dyn Fn(&str) -> Attempted + Send + Sync>,
    batch_max: usize,
    came: Mutex<Vec<Item>>,
}

impl Recorder {
    fn new(
        batch_max: usize,
        answer: impl Fn(&str) -> Attempted + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            answer: Box::new(answer),
            batch_max,
            came: Mutex::default(),
        })
    }

    /// Id and body of all that came, in order.
    fn came(&self) -> Vec<(String, String)> {
        let came = self.came.lock().unwrap();
        let shown = came.iter().map(|item| (short(item), text(item)));
        shown.collect()
    }
}

/// What stands behind the log's id.
fn short(item: &Item) -> String {
    let id = item.id.to_string();
    id.split_once('-').unwrap().1.to_owned()
}

fn text(item: &Item) -> String {
    String::from_utf8(item.delivery.body.to_vec()).unwrap()
}

#[async_trait]
impl Destination for Recorder {
    async fn deliver(&self, batch: &[Item]) -> Vec<Attempted> {
        self.came.lock().unwrap().extend_from_slice(batch);
        let answers = batch.iter().map(|item| (self.answer)(&text(item)));
        answers.collect()
    }

    fn batch_max(&self) -> usize {
        self.batch_max
    }

    fn parallel(&self) -> usize {
        1
    }
}

fn split() -> Split {
    Split {
        path: Some("/events".into()),
        form: None,
        id: Some("/id".into()),
        event_type: Some("/type".into()),
        otherwise: Otherwise::DeadLetter,
        events: Vec::new(),
    }
}

fn splits(split: Split) -> Route {
    Route {
        split: Some(split),
        ..route("a", "there")
    }
}

fn start(log: &Arc<FakeWork>, route: Route, destination: Arc<dyn Destination>) -> Running {
    let destinations = Destinations::from([("there".to_owned(), destination)]);
    start_routes(
        vec![Arc::clone(log) as _],
        &[route],
        &destinations,
        &settings(),
    )
}

fn lend(log: &FakeWork, offset: u64, body: impl Into<Bytes>) {
    lend_whole(log, offset, delivery(body));
}

fn lend_whole(log: &FakeWork, offset: u64, delivery: Delivery) {
    log.add_record("a", offset, codec::encode(&delivery).unwrap().into());
}

/// Waits for the next outcome.
async fn settled(log: &Arc<FakeWork>, count: usize) -> Settled {
    log.until(|log| log.settled().len() == count).await;
    log.settled().pop().unwrap().1
}

fn why(settled: &Settled) -> &str {
    settled.report.error.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn every_item_arrives_in_order_under_an_id_of_its_own() {
    let log = FakeWork::new(&["a"], MINUTE);
    let there = Recorder::new(1, |_| Attempted::delivered());
    let worker = start(&log, splits(split()), there.clone());
    lend(
        &log,
        7,
        r#"{"events":[{"id":"x", "type":"sent"},{"id":"y"},3]}"#,
    );
    assert_eq!(settled(&log, 1).await.outcome, Outcome::Delivered);
    worker.stop().await;
    let expected = [
        ("7-1", r#"{"id":"x", "type":"sent"}"#),
        ("7-2", r#"{"id":"y"}"#),
        ("7-3", "3"),
    ];
    let expected = expected.map(|(id, body)| (id.to_owned(), body.to_owned()));
    assert_eq!(there.came(), expected);
    let came = there.came.lock().unwrap();
    let first = &came[0].delivery;
    assert_eq!(first.head.event_id.as_deref(), Some("x"));
    assert_eq!(first.envelope.event_type.as_deref(), Some("sent"));
    assert_eq!(came[2].delivery.head.event_id, None);
    assert_eq!(came[2].id.part.unwrap().to_string(), "3/3");
}

#[tokio::test]
async fn what_failed_is_where_the_next_try_goes_on_with_the_same_ids() {
    let log = FakeWork::new(&["a"], MINUTE);
    let up = Arc::new(Mutex::new(false));
    let there = Recorder::new(1, {
        let up = up.clone();
        move |body| match body == "3" && !*up.lock().unwrap() {
            true => Attempted::retry("not now"),
            false => Attempted::delivered(),
        }
    });
    let worker = start(&log, splits(split()), there.clone());
    lend(&log, 7, r#"{"events":[1,2,3,4]}"#);
    let first = settled(&log, 1).await;
    assert_eq!(first.outcome, RETRY);
    assert_eq!(
        why(&first),
        "item 3 of 4 (2 before it done, 1 behind it not done): not now"
    );
    *up.lock().unwrap() = true;
    lend(&log, 7, r#"{"events":[1,2,3,4]}"#);
    assert_eq!(settled(&log, 2).await.outcome, Outcome::Delivered);
    worker.stop().await;
    let ids: Vec<String> = there.came().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["7-1", "7-2", "7-3", "7-3", "7-4"]);
}

#[tokio::test]
async fn another_worker_begins_with_the_first_item_again_and_with_the_same_ids() {
    let log = FakeWork::new(&["a"], MINUTE);
    let there = Recorder::new(1, |body| match body {
        "2" => Attempted::retry("not now"),
        _ => Attempted::delivered(),
    });
    for round in 1..=2 {
        let worker = start(&log, splits(split()), there.clone());
        lend(&log, 7, r#"{"events":[1,2]}"#);
        settled(&log, round).await;
        worker.stop().await;
    }
    let ids: Vec<String> = there.came().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["7-1", "7-2", "7-1", "7-2"]);
}

#[tokio::test]
async fn an_item_that_is_refused_holds_up_no_other_and_makes_the_dead_letter() {
    let log = FakeWork::new(&["a"], MINUTE);
    let there = Recorder::new(1, |body| match body {
        "2" | "4" => Attempted::reject(format!("no {body}")),
        _ => Attempted::delivered(),
    });
    let worker = start(&log, splits(split()), there.clone());
    lend(&log, 7, r#"{"events":[1,2,3,4,5]}"#);
    let settled = settled(&log, 1).await;
    worker.stop().await;
    assert_eq!(settled.outcome, Outcome::Reject);
    assert_eq!(
        why(&settled),
        "item 2 of 5 (2 refused, all others done): no 2"
    );
    assert_eq!(there.came().len(), 5);
}

#[tokio::test]
async fn what_was_refused_before_a_failure_is_not_forgotten() {
    let log = FakeWork::new(&["a"], MINUTE);
    let up = Arc::new(Mutex::new(false));
    let there = Recorder::new(1, {
        let up = up.clone();
        move |body| match body {
            "1" => Attempted::reject("never"),
            "2" if !*up.lock().unwrap() => Attempted::retry("not now"),
            _ => Attempted::delivered(),
        }
    });
    let worker = start(&log, splits(split()), there.clone());
    lend(&log, 7, r#"{"events":[1,2]}"#);
    assert_eq!(settled(&log, 1).await.outcome, RETRY);
    *up.lock().unwrap() = true;
    lend(&log, 7, r#"{"events":[1,2]}"#);
    let last = settled(&log, 2).await;
    worker.stop().await;
    assert_eq!(last.outcome, Outcome::Reject);
    assert_eq!(
        why(&last),
        "item 1 of 2 (1 refused, all others done): never"
    );
    assert_eq!(there.came().len(), 3, "the refused one is not asked again");
}

#[tokio::test]
async fn a_destination_that_takes_several_gets_the_items_of_several_deliveries_at_once() {
    let log = FakeWork::new(&["a"], MINUTE);
    let there = Recorder::new(4, |body| match body {
        "23" => Attempted::retry("not now"),
        _ => Attempted::delivered(),
    });
    for offset in 1..=3 {
        let body = format!("{{\"events\":[{offset}1,{offset}2,{offset}3]}}");
        lend(&log, offset, body);
    }
    let worker = start(&log, splits(split()), there.clone());
    log.until(|log| log.settled().len() == 3).await;
    worker.stop().await;
    assert_eq!(log.offsets(&Outcome::Delivered), [1, 3]);
    assert_eq!(log.offsets(&RETRY), [2]);
    let bodies: Vec<String> = there.came().into_iter().map(|(_, body)| body).collect();
    let expected = ["11", "12", "13", "21", "22", "23", "31", "32", "33"];
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn the_match_of_a_route_that_splits_chooses_items() {
    let log = FakeWork::new(&["a"], MINUTE);
    let there = Recorder::new(1, |_| Attempted::delivered());
    let split = Split {
        events: vec!["b".into()],
        ..split()
    };
    let worker = start(&log, splits(split), there.clone());
    lend(
        &log,
        1,
        r#"{"events":[{"type":"a"},{"type":"b"},{"type":"c"}]}"#,
    );
    assert_eq!(settled(&log, 1).await.outcome, Outcome::Delivered);
    lend(&log, 2, r#"{"events":[{"type":"a"},{}]}"#);
    assert_eq!(settled(&log, 2).await.outcome, Outcome::Filtered);
    lend(&log, 3, r#"{"events":[]}"#);
    assert_eq!(settled(&log, 3).await.outcome, Outcome::Filtered);
    worker.stop().await;
    assert_eq!(
        there.came(),
        [("1-2".to_owned(), r#"{"type":"b"}"#.to_owned())]
    );
}

#[tokio::test]
async fn what_has_no_items_is_dead_at_once_or_sent_whole() {
    for (otherwise, outcome, ids) in [
        (Otherwise::DeadLetter, Outcome::Reject, vec![]),
        (Otherwise::Whole, Outcome::Delivered, vec!["7".to_owned()]),
    ] {
        let log = FakeWork::new(&["a"], MINUTE);
        let there = Recorder::new(1, |_| Attempted::delivered());
        let split = Split {
            otherwise,
            ..split()
        };
        let worker = start(&log, splits(split), there.clone());
        lend(&log, 7, r#"{"event":{"canary":1}}"#);
        let settled = settled(&log, 1).await;
        worker.stop().await;
        assert_eq!(settled.outcome, outcome);
        let came: Vec<String> = there.came().into_iter().map(|(id, _)| id).collect();
        assert_eq!(came, ids);
        if otherwise == Otherwise::DeadLetter {
            assert_eq!(why(&settled), "cannot be split: no array at `/events`");
        }
    }
}

#[tokio::test]
async fn items_in_files_have_lines_of_their_own() {
    let dir = TempDir::new().unwrap();
    let log = FakeWork::new(&["a"], MINUTE);
    let files = opened("file", "path = \"out\"", dir.path()).unwrap();
    let worker = start(&log, splits(split()), files);
    lend(&log, 7, r#"{"events":[{"id":"x"},{"id":"y"}]}"#);
    assert_eq!(settled(&log, 1).await.outcome, Outcome::Delivered);
    worker.stop().await;
    let arrived = lines::in_dir(&dir.path().join("out"));
    let ids: Vec<&str> = arrived.iter().map(|line| line.id.as_str()).collect();
    assert_eq!(ids, ["000000000000feed-7-1", "000000000000feed-7-2"]);
    assert_eq!(arrived[1].body, br#"{"id":"y"}"#);
}
