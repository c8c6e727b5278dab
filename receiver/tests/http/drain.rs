//! Stopping: what has begun is finished, nothing new is begun, and it ends.

use std::time::{Duration, Instant};

use creel_common::log::{LeaseRequest, Want, Work};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::client::{Answer, read_to_end, request};
use super::setup::{Changes, WORKER, start, start_with};

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_end() {
    let creel = start().await;
    let held = creel.engine.hold_appends();
    let mut waiting = TcpStream::connect(creel.public).await.unwrap();
    waiting
        .write_all(&request("POST", "/in/open", &[], b"x"))
        .await
        .unwrap();
    while creel.metric(r#"creel_received_total{source="open"}"#).await < 1.0 {
        tokio::task::yield_now().await;
    }
    let public = creel.public;
    creel.stop.cancel();
    // the listener is gone while the request is still there
    while TcpStream::connect(public).await.is_ok() {
        tokio::task::yield_now().await;
    }
    drop(held);
    assert_eq!(Answer::parse(&read_to_end(&mut waiting).await).status, 200);
    creel.finish().await;
}

#[tokio::test]
async fn idle_connections_and_long_polls_hold_nothing_up() {
    let creel = start().await;
    let idle = TcpStream::connect(creel.public).await.unwrap();
    let worker = creel.remote(WORKER);
    let poll = tokio::spawn(async move {
        let wants = vec![Want {
            route: "open-sink".into(),
            max_items: 1,
            max_bytes: 1,
        }];
        worker
            .lease(LeaseRequest {
                request: "p".into(),
                worker: "w".into(),
                wants,
                wait: Duration::from_secs(30),
            })
            .await
    });
    let open = r#"creel_open_connections{listener="public"}"#;
    let polling = r#"creel_open_connections{listener="private"}"#;
    while creel.metric(open).await < 1.0 || creel.metric(polling).await < 2.0 {
        tokio::task::yield_now().await;
    }
    let stopped = Instant::now();
    creel.finish().await;
    assert!(stopped.elapsed() < Duration::from_secs(5));
    // told that there is nothing, or cut off before its request was read
    if let Ok(leases) = poll.await.unwrap() {
        assert_eq!(leases, []);
    }
    drop(idle);
}

#[tokio::test]
async fn what_does_not_end_is_cut_off_after_the_drain_timeout() {
    let creel = start_with(Changes {
        config: |config| config.receiver.drain_timeout = Duration::from_millis(200),
        ..Changes::default()
    })
    .await;
    let held = creel.engine.hold_appends();
    let mut waiting = TcpStream::connect(creel.public).await.unwrap();
    waiting
        .write_all(&request("POST", "/in/open", &[], b"x"))
        .await
        .unwrap();
    while creel.metric(r#"creel_received_total{source="open"}"#).await < 1.0 {
        tokio::task::yield_now().await;
    }
    creel.stop.cancel();
    let answer = read_to_end(&mut waiting).await;
    assert!(answer.is_empty(), "never acknowledged what was not stored");
    drop(held);
    creel.finish().await;
}
