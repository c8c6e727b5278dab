//! `creel dead`: from a rejection to a delivery, with everything recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{creel, json, route};
use crate::harness::{Answer, Process, Receiver, Sink, Site, eventually};

const SOON: Duration = Duration::from_secs(30);

fn to_sink(sink: &Sink) -> String {
    format!(
        "{}[[routes]]\nsource = \"github\"\ndestination = \"sink\"\n",
        sink.destination()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_found_reprocessed_and_discarded_and_all_of_it_is_recorded() {
    let rejects = Arc::new(AtomicBool::new(true));
    let sink = Sink::start({
        let rejects = rejects.clone();
        move |_| match rejects.load(Ordering::Relaxed) {
            true => Answer::Body(422, "no such thing".into()),
            false => Answer::Status(200),
        }
    })
    .await;
    let site = Site::new("", &to_sink(&sink));
    let mut receiver = Receiver::start(&site).await;
    let mut worker = Process::worker(&site, &receiver, "w1").await;
    assert_eq!(
        creel(&site, &["send", "github", "--count", "4"])
            .await
            .code(),
        Some(0)
    );
    eventually("four dead letters", SOON, async || {
        (route(&site, "github-sink").await["dead"] == 4).then_some(())
    })
    .await;
    assert_eq!(creel(&site, &["undelivered"]).await.code(), Some(1));

    let listed = json(&site, &["dead", "list", "--route", "github-sink"]).await;
    let letters = listed["items"].as_array().unwrap();
    assert_eq!(letters.len(), 4);
    assert_eq!(letters[0]["status"], 422);
    let id = letters[0]["id"].as_str().unwrap();
    let shown = creel(&site, &["dead", "show", id]).await;
    assert!(shown.stdout.contains("422"), "{}", shown.stdout);

    let unasked = creel(&site, &["dead", "discard", id]).await;
    assert_eq!(unasked.code(), Some(2), "nobody was there to be asked");
    let dry = json(&site, &["dead", "reprocess", "--all", "--dry-run"]).await;
    assert_eq!((&dry["count"], &dry["changed"]), (&4.into(), &false.into()));
    let one = json(&site, &["dead", "discard", id, "--yes", "--why", "a test"]).await;
    assert_eq!(one["count"], 1);
    rejects.store(false, Ordering::Relaxed);
    let rest = json(&site, &["dead", "reprocess", "--status", "422", "--yes"]).await;
    assert_eq!(rest["count"], 3);
    eventually("everything delivered", SOON, async || {
        (creel(&site, &["undelivered"]).await.code() == Some(0)).then_some(())
    })
    .await;
    assert_eq!(
        sink.arrivals_of(id).len(),
        1,
        "the discarded one is not tried again"
    );

    let acts = json(&site, &["audit"]).await;
    let acts = acts.as_array().unwrap();
    let actions: Vec<&str> = acts
        .iter()
        .map(|act| act["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["reprocess", "discard"]);
    assert_eq!(acts[1]["actor"]["why"], "a test");
    assert_eq!(worker.terminate(SOON).await.code(), Some(0));
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_token_looks_and_changes_nothing() {
    let site = Site::new("", "");
    let _receiver = Receiver::start(&site).await;
    let read = ["--token-file", "tokens/read"];
    let look = creel(&site, &[&["dead", "list"][..], &read].concat()).await;
    assert_eq!(look.code(), Some(0), "{}", look.stderr);
    let change = ["dead", "discard", "--all", "--yes"];
    let refused = creel(&site, &[&change[..], &read].concat()).await;
    assert_eq!(refused.code(), Some(1));
    assert!(
        refused.stderr.contains("does not allow"),
        "{}",
        refused.stderr
    );
}
