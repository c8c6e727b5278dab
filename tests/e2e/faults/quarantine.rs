//! A wrong secret, mended later: all that was refused and is genuine gets in, once and in order,
//! whatever is killed meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;
use tokio_util::sync::CancellationToken;

use super::{alone, scale};
use crate::harness::{Api, Load, Marker, Process, Receiver, Role, Seed, Site, Sizes, eventually};

/// Without keys, so that nothing but the quarantine's own note keeps anything from getting in twice;
/// and faster than any sender is allowed to be.
const REST: &str =
    "[sources.github.dedupe]\nwindow = \"0s\"\n\n[quarantine]\nper_address = \"1000000/s\"\n";
/// One of so many is forged.
const FORGED: u64 = 10;
/// A step takes about as long.
const STEP_MICROS: u64 = 15_000;
const LONG: Duration = Duration::from_secs(1800);
const SOON: Duration = Duration::from_secs(60);

/// 720,000 are an hour at 200 a second.
fn count() -> u64 {
    scale(3_000, 720_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_of_a_wrong_secret_is_made_good_once_and_in_order_through_kills() {
    let _alone = alone().await;
    let mut rng = Seed::of("quarantine").rng();
    let site = Site::new("", REST);
    let load = Load::new(8, Sizes::Between(100, 300)).forging(FORGED);
    refuse_all(&site, &load).await;

    let forged = (0..count())
        .map(Marker::new)
        .filter(|marker| load.is_forged(*marker))
        .count() as u64;
    let genuine = count() - forged;
    let mut kills = 0;
    for _ in 0..scale(4, 8) {
        let mut receiver = Receiver::start(&site).await;
        let mut reverify = start_reverify(&site).await;
        let api = receiver.api(&site, Role::Read);
        let at = rng.random_range(next(&api).await..=genuine + 1);
        let in_the_middle = eventually("progress", LONG, async || {
            let reached = api.try_get("/v1/log").await?.json()["next"].as_u64()? >= at;
            (reached || reverify.has_ended()).then_some(!reverify.has_ended())
        })
        .await;
        if in_the_middle {
            // within a step, anywhere between its note and the end of it
            let note = site.disk().join("quarantine").join("intent");
            while !note.exists() && !reverify.has_ended() {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_micros(rng.random_range(0..STEP_MICROS))).await;
        }
        receiver.kill().await;
        kills += u32::from(in_the_middle);
        reverify.allow_errors("");
        reverify.exit_within(SOON).await;
    }
    let mut receiver = Receiver::start(&site).await;
    let mut reverify = start_reverify(&site).await;
    let exit = reverify.exit_within(LONG).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    let sum: serde_json::Value = serde_json::from_str(&exit.stdout).expect("JSON");
    assert_eq!(
        sum["refused"]["no_match"], forged,
        "the forged ones stay: {sum}"
    );

    let api = receiver.api(&site, Role::Read);
    let arrived = in_the_log(&api, &load).await;
    assert_eq!(
        arrived.len() as u64,
        genuine,
        "all that is genuine, and nothing twice"
    );
    let metrics = api.get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let left =
        format!("creel_quarantine_items{{source=\"github\",reason=\"no_match\"}} {forged}\n");
    assert!(metrics.contains(&left), "{metrics}");
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
    println!(
        "quarantine: {genuine} genuine once and in order, {forged} forged stay, {kills} kills: PASS"
    );
}

/// Sends all of it to a receiver that does not know the secret.
async fn refuse_all(site: &Site, load: &Load) {
    let wrong = site.with_wrong_secret("wrong");
    let mut receiver = Receiver::start(&wrong).await;
    let tally = load
        .run(receiver.public, Some(count()), &CancellationToken::new())
        .await;
    assert_eq!(tally.refused, BTreeMap::from([(401, count())]));
    let metrics = receiver.api(&wrong, Role::Read).get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        !metrics.contains("creel_quarantine_dropped_total{"),
        "{metrics}"
    );
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}

async fn start_reverify(site: &Site) -> Process {
    let command = site.creel(&["quarantine", "reverify", "github", "--json"]);
    Process::start("creel quarantine reverify", command, false).await
}

/// The offset that the next delivery gets.
async fn next(api: &Api) -> u64 {
    let log = api.get("/v1/log").await.json();
    log["next"].as_u64().expect("an offset")
}

/// The markers of all deliveries in the log, each checked against what was sent.
async fn in_the_log(api: &Api, load: &Load) -> Vec<Marker> {
    let mut found = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let (mut from, mut latest) = (Some(0), 0);
    while let Some(at) = from {
        let path = format!("/v1/deliveries?from={at}&limit=1000&bodies=true");
        let page = api.get(&path).await.json();
        for item in page["items"].as_array().expect("a page") {
            let delivery = &item["delivery"];
            let body = STANDARD.decode(delivery["body_base64"].as_str().expect("a body"));
            let body = body.expect("base64");
            let marker = Marker::first_in(&body).expect("a marker");
            assert_eq!(body, load.body(marker), "byte for byte");
            assert!(!load.is_forged(marker), "{marker} was forged");
            assert!(seen.insert(marker), "{marker} is in the log twice");
            let received_at = delivery["received_at"].as_u64().expect("a time");
            assert!(received_at >= latest, "{marker} is not in order of arrival");
            latest = received_at;
            found.push(marker);
        }
        from = page["next"].as_u64();
    }
    found
}
