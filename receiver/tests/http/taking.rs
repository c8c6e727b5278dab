//! What is taken, what is kept of it, and that the answer waits for the log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use creel_common::delivery::Delivery;
use creel_common::ids::DeliveryId;
use creel_common::log::bounds::Bounds;
use creel_common::log::{AppendError, Appended, Intake, Operate};
use creel_common::testkit::clock::ManualClock;
use creel_common::time::{Clock, SystemClock, Timestamp};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::client::{Answer, exchange, github, read_to_end, request};
use super::setup::{Changes, SLACK_SECRET, start, start_with};

fn id(answer: &Answer) -> DeliveryId {
    answer.json()["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_repeat_gets_the_first_id_and_is_not_stored_again() {
    let creel = start().await;
    let first = exchange(creel.public, &github("same", b"{}")).await;
    let again = exchange(creel.public, &github("same", b"{}")).await;
    let other = exchange(creel.public, &github("other", b"{}")).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(id(&first), id(&again));
    assert_ne!(id(&first), id(&other));
    assert_eq!(first.json()["duplicate"], false);
    assert_eq!(again.json()["duplicate"], true);
    assert_eq!(creel.deliveries(), 2);
    assert_eq!(
        creel.metric(r#"creel_duplicates_total{source="gh"}"#).await,
        1.0
    );
    assert_eq!(creel.metric(r#"creel_acked_total{source="gh"}"#).await, 3.0);
    creel.finish().await;
}

#[tokio::test]
async fn a_source_may_name_its_own_idempotency_key() {
    let creel = start_with(Changes {
        config: |config| {
            let source = config.sources.get_mut("open").unwrap();
            source.idempotency_key = Some("header:X-My-Id".into());
        },
        ..Changes::default()
    })
    .await;
    let mut ids = Vec::new();
    for my_id in ["1", "1", "2"] {
        let sent = request("POST", "/in/open", &[("x-my-id", my_id)], b"x");
        ids.push(id(&exchange(creel.public, &sent).await));
    }
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
    creel.finish().await;
}

#[tokio::test]
async fn one_connection_carries_many_requests_even_sent_ahead() {
    let creel = start().await;
    let mut stream = TcpStream::connect(creel.public).await.unwrap();
    let keep = "POST /in/open HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx";
    let chunked = "POST /in/open HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                   1\r\ny\r\n0\r\n\r\n";
    let last = request("POST", "/in/open", &[], b"z");
    let mut ahead = [keep, chunked, keep].concat().into_bytes();
    ahead.extend_from_slice(&last);
    stream.write_all(&ahead).await.unwrap();
    let answers = String::from_utf8(read_to_end(&mut stream).await).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 4, "{answers}");
    assert_eq!(creel.deliveries(), 4);
    creel.finish().await;
}

#[tokio::test]
async fn any_bytes_are_kept_as_they_came() {
    let creel = start().await;
    let all: Vec<u8> = (0..=255).collect();
    let gzipped = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let large = vec![0xfe; 400 << 10];
    for body in [&b""[..], b"\xff\xfe", &all, &gzipped, &large] {
        let headers = [("content-encoding", "gzip")];
        let sent = request("POST", "/in/open?b=%20", &headers, body);
        let answer = exchange(creel.public, &sent).await;
        let found = creel.log.show(id(&answer)).await.unwrap();
        assert_eq!(found.delivery.body, body);
        assert_eq!(found.delivery.head.target, "/in/open?b=%20");
    }
    creel.finish().await;
}

#[tokio::test]
async fn headers_keep_their_order_and_repeats_and_credentials_become_digests() {
    let creel = start().await;
    let headers = [
        ("x-token", "canary-static-token"),
        ("x-b", "1"),
        ("x-a", "2"),
        ("x-b", "3"),
        ("authorization", "Basic canary"),
        ("cookie", "session=canary"),
    ];
    let answer = exchange(creel.public, &request("POST", "/in/tok", &headers, b"x")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let kept = creel
        .log
        .show(id(&answer))
        .await
        .unwrap()
        .delivery
        .head
        .headers;
    let names: Vec<&str> = kept.iter().map(|header| &header.name[..]).collect();
    assert_eq!(
        names[names.len() - 6..],
        ["x-token", "x-b", "x-b", "x-a", "authorization", "cookie"]
    );
    for header in kept {
        let value = String::from_utf8(header.value).unwrap();
        let secret = ["x-token", "authorization", "cookie"].contains(&&header.name[..]);
        assert_eq!(value.starts_with("sha256:"), secret, "{}", header.name);
        assert!(!value.contains("canary"));
    }
    creel.finish().await;
}

#[tokio::test]
async fn a_handshake_is_answered_and_nothing_is_stored() {
    let creel = start().await;
    let body = br#"{"type":"url_verification","challenge":"abc123"}"#;
    let now = SystemClock::default().wall();
    let answer = exchange(creel.public, &slack(now, body)).await;
    assert_eq!((answer.status, &answer.body[..]), (200, "abc123"));
    assert_eq!(creel.deliveries(), 0);
    creel.finish().await;
}

/// What Slack would send at `now`.
fn slack(now: Timestamp, body: &[u8]) -> Vec<u8> {
    let now = (now.millis() / 1000).to_string();
    let mut signed = format!("v0:{now}:").into_bytes();
    signed.extend_from_slice(body);
    let signature = super::client::github_signature(SLACK_SECRET, &signed);
    let signature = signature.replace("sha256=", "v0=");
    let headers = [
        ("x-slack-request-timestamp", &now[..]),
        ("x-slack-signature", &signature),
    ];
    request("POST", "/in/slack", &headers, body)
}

#[tokio::test]
async fn the_window_of_signatures_goes_by_the_wall_clock() {
    let hour = Duration::from_secs(3600);
    let set: [fn(&ManualClock, Duration); 2] = [ManualClock::jump, ManualClock::jump_back];
    for by in [hour, 24 * hour] {
        for (set, back) in [(set[0], set[1]), (set[1], set[0])] {
            let clock = Arc::new(ManualClock::default());
            let creel = start_with(Changes {
                clock: clock.clone(),
                ..Changes::default()
            })
            .await;
            let truly = clock.wall();
            let taken =
                async |body: &[u8]| exchange(creel.public, &slack(truly, body)).await.status;
            assert_eq!(taken(b"{\"event_id\":\"1\"}").await, 200);
            set(&clock, by);
            assert_eq!(taken(b"{\"event_id\":\"2\"}").await, 401);
            let then = slack(clock.wall(), b"{\"event_id\":\"3\"}");
            let then = exchange(creel.public, &then).await;
            assert_eq!(then.status, 200, "what is signed at that time is taken");
            back(&clock, by);
            assert_eq!(taken(b"{\"event_id\":\"4\"}").await, 200);
            creel.finish().await;
        }
    }
}

#[tokio::test]
async fn nothing_is_answered_before_the_log_has_it() {
    let creel = start().await;
    let held = creel.engine.hold_appends();
    let mut waiting = TcpStream::connect(creel.public).await.unwrap();
    waiting
        .write_all(&request("POST", "/in/open", &[], b"x"))
        .await
        .unwrap();
    let mut byte = [0; 1];
    let early = tokio::time::timeout(Duration::from_millis(200), waiting.peek(&mut byte)).await;
    assert!(early.is_err(), "answered while the log was held");
    drop(held);
    assert_eq!(Answer::parse(&read_to_end(&mut waiting).await).status, 200);
    assert_eq!(creel.deliveries(), 1);
    creel.finish().await;
}

#[tokio::test]
async fn a_sender_that_goes_away_leaves_nothing_half_done() {
    let creel = start().await;
    let held = creel.engine.hold_appends();
    let mut gone = TcpStream::connect(creel.public).await.unwrap();
    gone.write_all(&github("gone", b"{}")).await.unwrap();
    while creel.metric(r#"creel_received_total{source="gh"}"#).await < 1.0 {
        tokio::task::yield_now().await;
    }
    drop(gone);
    drop(held);
    // stored once or not at all; its repeat settles it
    let again = exchange(creel.public, &github("gone", b"{}")).await;
    assert_eq!(again.status, 200);
    assert_eq!(creel.deliveries(), 1);
    creel.finish().await;
}

/// A log that takes nothing.
struct Failing(AppendError);

#[async_trait]
impl Intake for Failing {
    async fn append(&self, _: Delivery) -> Result<Appended, AppendError> {
        Err(self.0.clone())
    }
}

#[tokio::test]
async fn a_log_that_takes_nothing_is_503_with_retry_after_and_says_no_more() {
    let full = Bounds::quota_reached(&"disk".into(), 7, 7).expect("it is reached");
    for error in [
        AppendError::Full(full),
        AppendError::Busy("the disk at 7 %".into()),
        AppendError::Stopped,
    ] {
        let creel = start_with(Changes {
            log: Box::new(move |mut log| {
                log.intake = Arc::new(Failing(error));
                log
            }),
            ..Changes::default()
        })
        .await;
        let answer = exchange(creel.public, &github("1", b"{}")).await;
        assert_eq!(answer.status, 503);
        assert!(answer.header("retry-after").is_some());
        assert!(!answer.body.contains("disk"));
        creel.finish().await;
    }
}

#[tokio::test]
async fn a_failed_sync_is_503_and_ready_says_why() {
    let creel = start().await;
    let ready = request("GET", "/ready", &[], b"");
    assert_eq!(exchange(creel.private, &ready).await.status, 200);
    creel.engine.fail_append(1, 0);
    let answer = exchange(creel.public, &github("1", b"{}")).await;
    assert_eq!(answer.status, 503);
    let after = exchange(creel.public, &github("2", b"{}")).await;
    assert_eq!(after.status, 503);
    let ready = exchange(creel.private, &ready).await;
    assert_eq!(ready.status, 503);
    assert!(!ready.json()["reasons"].as_array().unwrap().is_empty());
    creel.finish().await;
}
