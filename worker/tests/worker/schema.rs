//! Bodies that do not match their source's JSON Schema: dead at once, and sent when it is mended.

use std::fs;

use creel_common::log::{Actor, Find, Operate, Selection};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::lines;
use crate::log::setup;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_match_is_dead_at_once_and_arrives_when_the_schema_is_mended() {
    let dir = TempDir::new().unwrap();
    let schema = dir.path().join("order.json");
    fs::write(&schema, r#"{"properties":{"n":{"type":"string"}}}"#).unwrap();
    let setup = setup(&format!(
        "schema = {{ file = {schema:?} }}\n\
         [destinations.archive]\ntype = \"file\"\npath = \"out\"\n\
         [[routes]]\nsource = \"github\"\ndestination = \"archive\"\n"
    ));
    let stop = CancellationToken::new();
    let worker = tokio::spawn(setup.worker().run(stop.clone()));
    let bodies = [r#"{"n":"one"}"#, r#"{"n":777}"#, "no JSON"];
    setup.append(bodies.iter().map(ToString::to_string)).await;
    setup.until_attempts(3).await;
    stop.cancel();
    worker.await.unwrap();
    let dead = setup.log.dead(Find::default()).await.unwrap().items;
    let mut why: Vec<&str> = dead.iter().map(|letter| letter.reason.as_str()).collect();
    why.sort_unstable();
    let expected = [
        "rejected: schema: /n: expected string",
        "rejected: schema: the body: expected JSON in UTF-8",
    ];
    assert_eq!(why, expected);
    assert_eq!(lines::in_dir(&setup.out).len(), 1);

    fs::write(&schema, "true").unwrap();
    let stop = CancellationToken::new();
    let worker = tokio::spawn(setup.worker().run(stop.clone()));
    let all = Selection {
        all: true,
        ..Selection::default()
    };
    setup.log.reprocess(all, Actor::default()).await.unwrap();
    setup.until_attempts(5).await;
    stop.cancel();
    worker.await.unwrap();
    let mut arrived: Vec<String> = lines::in_dir(&setup.out)
        .into_iter()
        .map(|line| String::from_utf8(line.body).unwrap())
        .collect();
    arrived.sort_unstable();
    assert_eq!(arrived, [r#"{"n":"one"}"#, r#"{"n":777}"#], "JSON only");
}
