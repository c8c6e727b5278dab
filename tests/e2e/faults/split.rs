//! A worker killed in the middle of batches: every item arrives, in order, under an id that stays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::alone;
use crate::harness::{Answer, Api, Process, Receiver, Sink, Site, eventually, json_lines};

const SOON: Duration = Duration::from_secs(60);
const BATCHES: u64 = 20;
const ITEMS: u64 = 25;

fn config(sink: &Sink) -> String {
    format!(
        "[sources.batches]\nprovider = \"none\"\n\n{}\
         [destinations.files]\ntype = \"file\"\npath = \"out\"\n\n\
         [[routes]]\nsource = \"batches\"\ndestination = \"sink\"\n\
         split = {{ path = \"/events\", id = \"/id\" }}\n\n\
         [[routes]]\nsource = \"batches\"\ndestination = \"files\"\n\
         split = {{ path = \"/events\", id = \"/id\" }}\n",
        sink.destination()
    )
}

/// Sends one batch; its id.
async fn send(to: &Api, batch: u64) -> String {
    let events: Vec<Value> = (1..=ITEMS)
        .map(|item| json!({ "id": format!("{batch}.{item}") }))
        .collect();
    let reply = to.post("/in/batches", &json!({ "events": events })).await;
    assert_eq!(reply.status, 200);
    reply.json()["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_in_the_middle_of_batches_loses_no_item_and_renames_none() {
    let _alone = alone().await;
    let late = Duration::from_millis(10);
    let sink = Sink::start(move |_| Answer::Late(late, 200)).await;
    let site = Site::new("lease = \"1s\"", &config(&sink));
    let mut receiver = Receiver::start(&site).await;
    let senders = Api::new(receiver.public, String::new());
    // which item stands behind which id
    let mut expected = BTreeMap::new();
    for batch in 0..BATCHES {
        let id = send(&senders, batch).await;
        expected
            .extend((1..=ITEMS).map(|item| (format!("{id}-{item}"), format!("{batch}.{item}"))));
    }
    let mut first = Process::worker(&site, &receiver, "first").await;
    eventually("some items", SOON, async || {
        (sink.count() >= 100).then_some(())
    })
    .await;
    first.kill().await;
    let before = sink.count();
    assert!(before < expected.len(), "killed too late");
    let mut second = Process::worker(&site, &receiver, "second").await;
    eventually("every item in the sink", SOON, async || {
        (sink.times().len() == expected.len()).then_some(())
    })
    .await;
    eventually("everything settled", SOON, async || {
        let undelivered = site.creel(&["undelivered"]);
        let exit = Process::run("creel undelivered", undelivered, SOON).await;
        (exit.code() == Some(0)).then_some(())
    })
    .await;
    assert_eq!(second.terminate(SOON).await.code(), Some(0));
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));

    let mut seen = BTreeSet::new();
    let mut last_new: BTreeMap<String, u64> = BTreeMap::new();
    for arrival in sink.arrivals() {
        let id = arrival.delivery().expect("an id").to_owned();
        let body: Value = serde_json::from_slice(&arrival.body).expect("an item");
        assert_eq!(body["id"], expected[&id], "the same id for the same item");
        assert_eq!(
            arrival.header("creel-event-id"),
            Some(expected[&id].as_str())
        );
        if !seen.insert(id.clone()) {
            continue;
        }
        let (delivery, number) = id.rsplit_once('-').expect("a number");
        let number: u64 = number.parse().expect("a number");
        let last = last_new.entry(delivery.to_owned()).or_default();
        assert_eq!(number, *last + 1, "in order");
        *last = number;
    }
    let lines = json_lines(&site.path("out"));
    let in_files: BTreeMap<String, String> = lines
        .iter()
        .map(|line| {
            let body = line.value["body"].as_str().expect("a text");
            let body: Value = serde_json::from_str(body).expect("an item");
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            (text(&line.value["id"]), text(&body["id"]))
        })
        .collect();
    assert_eq!(in_files, expected);
    println!(
        "split: {} items of {BATCHES} deliveries, killed after {before}, {} came twice, 0 lost: PASS",
        expected.len(),
        sink.count() - expected.len()
    );
}
