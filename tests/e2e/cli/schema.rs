//! Bodies that do not match their JSON Schema: dead letters or 422, and what mends them.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json as value;

use super::{TO_FILES, creel, json, route};
use crate::harness::{Api, Process, Receiver, Role, Site, eventually, json_lines};

const SOON: Duration = Duration::from_secs(30);

fn site(more: &str) -> Site {
    let site = Site::new("", &format!("{more}{TO_FILES}"));
    fs::write(site.path("push.json"), r#"{"required":["canary"]}"#).unwrap();
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_match_is_kept_and_delivered_once_its_schema_is_mended() {
    let site = site("[sources.github.schema]\nevents = { push = \"push.json\" }\n\n");
    let mut receiver = Receiver::start(&site).await;
    let mut worker = Process::worker(&site, &receiver, "w1").await;
    let sent = creel(&site, &["send", "github", "--count", "2"]).await;
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    // a push and something else, which has no schema
    eventually("one dead letter and one line", SOON, async || {
        let dead = route(&site, "github-out").await["dead"] == 1;
        (dead && json_lines(&site.path("out")).len() == 1).then_some(())
    })
    .await;
    let dead = json(&site, &["dead", "list"]).await;
    let letter = &dead["items"][0];
    let why = "rejected: schema: the body: expected a field \"canary\"";
    assert_eq!(
        (&letter["reason"], &letter["attempts"]),
        (&why.into(), &1.into())
    );

    // a schema that is none changes nothing, and is told with its file and its place
    fs::write(site.path("push.json"), r#"{"type":"obejct"}"#).unwrap();
    let refused = creel(&site, &["reload"]).await;
    assert_eq!(refused.code(), Some(2));
    for said in ["sources.github.schema.events.push", "push.json", "/type"] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    receiver.allow_errors("the configuration was not reloaded");
    let checked = creel(&site, &["check"]).await;
    assert_eq!(checked.code(), Some(2));
    let told = checked.stderr.matches("is no JSON Schema").count();
    assert_eq!(told, 1, "{}", checked.stderr);

    fs::write(site.path("push.json"), r#"{"type":"object"}"#).unwrap();
    let reloaded = creel(&site, &["reload"]).await;
    assert_eq!(reloaded.code(), Some(0), "{}", reloaded.stderr);
    worker.signal(Signal::HUP);
    eventually("the worker's reload", SOON, async || {
        worker.log().contains("SIGHUP").then_some(())
    })
    .await;
    let again = json(&site, &["dead", "reprocess", "--all", "--yes"]).await;
    assert_eq!(again["count"], 1);
    eventually("both delivered", SOON, async || {
        (json_lines(&site.path("out")).len() == 2).then_some(())
    })
    .await;
    assert_eq!(worker.terminate(SOON).await.code(), Some(0));
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_refuses_answers_422_with_the_place_and_keeps_nothing() {
    let site = site(
        "[sources.orders]\nprovider = \"none\"\n\
         schema = { file = \"order.json\", on_mismatch = \"refuse\" }\n\n\
         [[routes]]\nsource = \"orders\"\ndestination = \"out\"\n\n",
    );
    let order = r#"{"properties":{"items":{"items":{"properties":{"id":{"type":"string"}}}}}}"#;
    fs::write(site.path("order.json"), order).unwrap();
    let mut receiver = Receiver::start(&site).await;
    let sender = Api::new(receiver.public, String::new());
    let wrong = value!({ "items": [{ "id": 777_777 }] });
    let reply = sender.post("/in/orders", &wrong).await;
    let expected = value!({ "error": "does not match the schema", "at": "/items/0/id" });
    assert_eq!((reply.status, reply.json()), (422, expected));
    let right = value!({ "items": [{ "id": "o-1" }] });
    assert_eq!(sender.post("/in/orders", &right).await.status, 200);
    let kept = json(&site, &["deliveries", "list"]).await;
    assert_eq!(kept["items"].as_array().unwrap().len(), 1);
    let metrics = receiver.api(&site, Role::Read).get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let counted = r#"creel_refused_total{source="orders",reason="schema"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    let log = receiver.log();
    assert!(
        log.contains("schema: /items/0/id: expected string"),
        "{log}"
    );
    assert!(!log.contains("777777"), "{log}");
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}
