//! `creel quarantine`: from a 401 to a delivery, as an operator does it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{creel, json};
use crate::harness::{Load, Receiver, Site, Sizes, eventually};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_is_looked_at_mended_taken_in_and_the_rest_dropped() {
    let site = Site::new("", "");
    let wrong = site.with_wrong_secret("wrong");
    let mut receiver = Receiver::start(&wrong).await;
    let load = Load::new(1, Sizes::Fixed(100)).forging(3);
    // markers 0, 3 and 6 are forged
    let tally = load
        .run(receiver.public, Some(7), &CancellationToken::new())
        .await;
    assert_eq!(tally.refused.get(&401), Some(&7));
    let listed = eventually("seven requests", SOON, async || {
        let listed = json(&wrong, &["quarantine", "list", "github"]).await;
        (listed["items"].as_array()?.len() == 7).then_some(listed)
    })
    .await;
    let first = listed["items"][0]["id"].as_str().unwrap();
    let shown = creel(&wrong, &["quarantine", "show", first]).await;
    for part in [
        "no_match",
        "wrong_secret",
        "sources.github.secrets",
        "x-hub-signature-256",
    ] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));

    let mut receiver = Receiver::start(&site).await;
    let genuine = creel(&site, &["quarantine", "list"]).await;
    assert_eq!(
        genuine.stdout.matches("genuine").count(),
        4,
        "{}",
        genuine.stdout
    );
    let unsaid = creel(&site, &["quarantine", "reverify"]).await;
    assert_eq!(unsaid.code(), Some(2), "nothing said is not everything");
    let dry = json(&site, &["quarantine", "reverify", "github", "--dry-run"]).await;
    assert_eq!(
        (&dry["appended"], &dry["first"]),
        (&4.into(), &serde_json::Value::Null)
    );
    let done = creel(&site, &["quarantine", "reverify", "github"]).await;
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    assert!(
        done.stdout.contains("4 taken in") && done.stdout.contains("3 stay: no_match"),
        "{}",
        done.stdout
    );
    let deliveries = json(&site, &["deliveries", "list"]).await;
    assert_eq!(deliveries["items"].as_array().unwrap().len(), 4);

    let unasked = creel(
        &site,
        &["quarantine", "promote", first, "--reason", "known"],
    )
    .await;
    assert_eq!(unasked.code(), Some(2), "nobody was there to be asked");
    let promote = ["quarantine", "promote", first, "--reason", "known", "--yes"];
    let promoted = json(&site, &promote).await;
    let delivery = promoted["delivery"].as_str().unwrap();
    let shown = json(&site, &["deliveries", "show", delivery]).await;
    assert_eq!(shown["delivery"]["key"], format!("promoted:{first}"));
    let dropped = json(
        &site,
        &["quarantine", "discard", "--reason", "no_match", "--yes"],
    )
    .await;
    assert_eq!(dropped["count"], 2);
    let nothing = creel(&site, &["quarantine", "list"]).await;
    assert!(
        nothing.stdout.contains("nothing in quarantine"),
        "{}",
        nothing.stdout
    );
    let acts = json(&site, &["audit"]).await;
    let actions: Vec<&str> = acts
        .as_array()
        .unwrap()
        .iter()
        .map(|act| act["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "quarantine discard",
            "quarantine promote",
            "quarantine reverify"
        ]
    );
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}
