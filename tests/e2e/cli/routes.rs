//! `creel routes`: stopping a route, going back on it, giving it up.

use std::fs;
use std::time::Duration;

use super::{creel, json, route};
use crate::harness::{Answer, Process, Receiver, Sink, Site, eventually};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_route_waits_and_a_rewound_one_delivers_again() {
    let sink = Sink::start(|_| Answer::Status(204)).await;
    let rest = format!(
        "{}[[routes]]\nname = \"r\"\nsource = \"github\"\ndestination = \"sink\"\n",
        sink.destination()
    );
    let site = Site::new("", &rest);
    let mut receiver = Receiver::start(&site).await;
    assert_eq!(
        creel(&site, &["routes", "pause", "r"]).await.code(),
        Some(0)
    );
    let mut worker = Process::worker(&site, &receiver, "w1").await;
    assert_eq!(
        creel(&site, &["send", "github", "--count", "3"])
            .await
            .code(),
        Some(0)
    );
    let paused = route(&site, "r").await;
    assert_eq!(
        (&paused["paused"], &paused["pending"]),
        (&true.into(), &3.into())
    );
    assert!(sink.arrivals().is_empty());

    assert_eq!(
        creel(&site, &["routes", "resume", "r"]).await.code(),
        Some(0)
    );
    eventually("three arrivals", SOON, async || {
        (sink.arrivals().len() == 3).then_some(())
    })
    .await;
    eventually("all settled", SOON, async || {
        (creel(&site, &["undelivered"]).await.code() == Some(0)).then_some(())
    })
    .await;
    let rewound = json(
        &site,
        &["routes", "rewind", "r", "--to", "beginning", "--yes"],
    )
    .await;
    assert_eq!(rewound["count"], 3);
    eventually("three more", SOON, async || {
        (sink.arrivals().len() == 6).then_some(())
    })
    .await;
    assert_eq!(worker.terminate(SOON).await.code(), Some(0));
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_left_the_configuration_is_kept_until_it_is_forgotten() {
    let site = Site::new(
        "",
        "[destinations.out]\ntype = \"stdout\"\n\n\
         [[routes]]\nname = \"old\"\nsource = \"github\"\ndestination = \"out\"\n",
    );
    let mut receiver = Receiver::start(&site).await;
    assert_eq!(
        creel(&site, &["send", "github", "--count", "2"])
            .await
            .code(),
        Some(0)
    );
    let configured = creel(&site, &["routes", "forget", "old", "--yes"]).await;
    assert_eq!(
        configured.code(),
        Some(1),
        "a configured route is not forgotten"
    );
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));

    let text = fs::read_to_string(site.config()).unwrap();
    let without = text.split("[[routes]]").next().unwrap();
    fs::write(site.config(), without).unwrap();
    let mut receiver = Receiver::start(&site).await;
    let kept = route(&site, "old").await;
    assert_eq!(kept["destination"], serde_json::Value::Null);
    assert_eq!(creel(&site, &["undelivered"]).await.code(), Some(1));
    assert_eq!(
        creel(&site, &["routes", "forget", "old", "--yes"])
            .await
            .code(),
        Some(0)
    );
    let left = json(&site, &["routes", "list"]).await;
    assert_eq!(left["routes"].as_array().unwrap().len(), 0);

    let exit = creel(&site, &["undelivered", "--json"]).await;
    assert_eq!(
        exit.code(),
        Some(1),
        "without a route deliveries are unrouted, not gone"
    );
    let found: serde_json::Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(found["unrouted"][0]["source"], "github");
    assert_eq!(found["unrouted"][0]["deliveries"], 2);
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));

    // nor are they when their source leaves the configuration
    let renamed = without.replace("[sources.github]", "[sources.other]");
    assert_ne!(renamed, without);
    fs::write(site.config(), renamed).unwrap();
    let mut receiver = Receiver::start(&site).await;
    let exit = creel(&site, &["undelivered", "--json"]).await;
    assert_eq!(exit.code(), Some(1), "{}", exit.stdout);
    let found: serde_json::Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(found["unrouted"][0]["source"], "github");
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}
