//! Sizes and times: 408, 413, 431, 503.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Answer, exchange, github, github_signature, read_to_end, request};
use super::setup::{Changes, Running, start, start_with};

/// A delivery on a connection that is kept.
const KEPT: &[u8] = b"POST /in/open HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx";

/// Connections of senders that were closed for this reason.
async fn closed(creel: &Running, reason: &str) -> f64 {
    let line = format!(r#"creel_connections_closed_total{{listener="public",reason="{reason}"}}"#);
    creel.metric(&line).await
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_with_and_without_a_length() {
    let creel = start().await;
    let large = vec![b'x'; 65 << 10];
    let announced = exchange(creel.public, &github("1", &large)).await;
    assert_eq!(announced.status, 413);
    let mut chunked =
        b"POST /in/gh HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..65 {
        chunked.extend_from_slice(b"400\r\n");
        chunked.extend_from_slice(&[b'x'; 1024]);
        chunked.extend_from_slice(b"\r\n");
    }
    // never ended: refused while it streams in
    let streamed = exchange(creel.public, &chunked).await;
    assert_eq!(
        (streamed.status, streamed.header("connection")),
        (413, Some("close"))
    );
    assert_eq!(creel.deliveries(), 0);
    let exact = vec![b'x'; 64 << 10];
    assert_eq!(
        exchange(creel.public, &github("2", &exact)).await.status,
        200
    );
    creel.finish().await;
}

#[tokio::test]
async fn an_announced_body_over_the_limit_is_refused_before_it_is_sent() {
    let creel = start().await;
    let mut stream = TcpStream::connect(creel.public).await.unwrap();
    let head = b"POST /in/gh HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\
                 content-length: 99999999\r\n\r\n";
    stream.write_all(head).await.unwrap();
    assert_eq!(Answer::parse(&read_to_end(&mut stream).await).status, 413);
    creel.finish().await;
}

#[tokio::test]
async fn a_sender_that_is_still_writing_reads_its_413() {
    let creel = start().await;
    let stream = TcpStream::connect(creel.public).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let writing = tokio::spawn(async move {
        let head = b"POST /in/gh HTTP/1.1\r\nhost: a\r\ncontent-length: 800000\r\n\r\n";
        to.write_all(head).await.unwrap();
        // may fail once the other side has given up
        let _ = to.write_all(&vec![b'x'; 800_000]).await;
        to
    });
    let mut answer = Vec::new();
    from.read_to_end(&mut answer).await.unwrap();
    assert_eq!(Answer::parse(&answer).status, 413);
    writing.await.unwrap();
    creel.finish().await;
}

#[tokio::test]
async fn a_slow_body_is_408() {
    let creel = start_with(Changes {
        config: |config| config.receiver.body_timeout = Duration::from_millis(100),
        ..Changes::default()
    })
    .await;
    let request = b"POST /in/open HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf";
    let answer = exchange(creel.public, request).await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (408, Some("close"))
    );
    assert_eq!(creel.deliveries(), 0);
    creel.finish().await;
}

#[tokio::test]
async fn a_slow_head_is_408_also_on_a_connection_that_was_used() {
    let creel = start_with(Changes {
        config: |config| config.receiver.header_timeout = Duration::from_millis(150),
        ..Changes::default()
    })
    .await;
    let half = b"POST /in/open HTTP/1.1\r\nhost";
    assert_eq!(exchange(creel.public, half).await.status, 408);

    let mut used = TcpStream::connect(creel.public).await.unwrap();
    let whole = b"POST /in/open HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx";
    used.write_all(whole).await.unwrap();
    let mut first = [0; 4096];
    let read = used.read(&mut first).await.unwrap();
    assert_eq!(Answer::parse(&first[..read]).status, 200);
    used.write_all(half).await.unwrap();
    assert_eq!(Answer::parse(&read_to_end(&mut used).await).status, 408);
    creel.finish().await;
}

#[tokio::test]
async fn an_idle_connection_outlives_the_head_timeout_and_ends_at_its_own() {
    let creel = start_with(Changes {
        config: |config| {
            config.receiver.header_timeout = Duration::from_millis(50);
            config.receiver.first_byte_timeout = Duration::from_millis(50);
            config.receiver.idle_timeout = Duration::from_millis(400);
        },
        ..Changes::default()
    })
    .await;
    let mut idle = TcpStream::connect(creel.public).await.unwrap();
    idle.write_all(KEPT).await.unwrap();
    let mut answer = [0; 4096];
    let read = idle.read(&mut answer).await.unwrap();
    assert_eq!(Answer::parse(&answer[..read]).status, 200);
    let answered = std::time::Instant::now();
    assert!(read_to_end(&mut idle).await.is_empty());
    assert!(answered.elapsed() >= Duration::from_millis(390));
    assert_eq!(closed(&creel, "idle").await, 1.0);
    creel.finish().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_ends_before_an_idle_one_would() {
    let creel = start_with(Changes {
        config: |config| config.receiver.first_byte_timeout = Duration::from_millis(200),
        ..Changes::default()
    })
    .await;
    let mut silent = TcpStream::connect(creel.public).await.unwrap();
    let opened = std::time::Instant::now();
    assert!(read_to_end(&mut silent).await.is_empty());
    assert!(opened.elapsed() >= Duration::from_millis(200));
    assert_eq!(closed(&creel, "silent").await, 1.0);
    creel.finish().await;
}

#[tokio::test]
async fn large_or_many_headers_are_431() {
    let creel = start().await;
    let large = "x".repeat(100 << 10);
    let answer = exchange(
        creel.public,
        &request("POST", "/in/open", &[("x-large", &large)], b""),
    )
    .await;
    assert_eq!(answer.status, 431);
    let many: Vec<(String, &str)> = (0..200).map(|n| (format!("x-{n}"), "1")).collect();
    let many: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, value)| (&name[..], *value))
        .collect();
    let answer = exchange(creel.public, &request("POST", "/in/open", &many, b"")).await;
    assert_eq!(answer.status, 431);
    creel.finish().await;
}

#[tokio::test]
async fn bodies_over_the_memory_of_all_are_503_and_the_memory_comes_back() {
    let creel = start_with(Changes {
        config: |config| config.receiver.bodies_bytes_max = 1000,
        ..Changes::default()
    })
    .await;
    let mut first = TcpStream::connect(creel.public).await.unwrap();
    let mut half = b"POST /in/open HTTP/1.1\r\nhost: a\r\ncontent-length: 901\r\n\r\n".to_vec();
    half.extend_from_slice(&[b'x'; 900]);
    first.write_all(&half).await.unwrap();
    // the other one comes in when the first one's bytes are there
    while creel.metric("creel_bodies_bytes ").await < 900.0 {
        tokio::task::yield_now().await;
    }
    let refused = exchange(
        creel.public,
        &request("POST", "/in/open", &[], &[b'y'; 200]),
    )
    .await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("1"))
    );
    first.write_all(b"x").await.unwrap();
    let mut answer = [0; 4096];
    let read = first.read(&mut answer).await.unwrap();
    assert_eq!(Answer::parse(&answer[..read]).status, 200);
    assert_eq!(creel.metric("creel_bodies_bytes ").await, 0.0);
    let again = exchange(
        creel.public,
        &request("POST", "/in/open", &[], &[b'y'; 200]),
    )
    .await;
    assert_eq!(again.status, 200);
    creel.finish().await;
}

#[tokio::test]
async fn over_the_limit_of_connections_the_next_one_waits_while_all_work() {
    let creel = start_with(Changes {
        config: |config| config.receiver.connections_max = 1,
        ..Changes::default()
    })
    .await;
    let held = creel.engine.hold_appends();
    let mut first = TcpStream::connect(creel.public).await.unwrap();
    first.write_all(KEPT).await.unwrap();
    while creel.metric(r#"creel_received_total{source="open"}"#).await < 1.0 {
        tokio::task::yield_now().await;
    }
    let mut second = TcpStream::connect(creel.public).await.unwrap();
    second
        .write_all(&request("POST", "/in/open", &[], b"x"))
        .await
        .unwrap();
    let mut byte = [0; 1];
    let early = tokio::time::timeout(Duration::from_millis(100), second.peek(&mut byte)).await;
    assert!(early.is_err(), "answered beyond the limit");
    drop(held);
    assert_eq!(Answer::parse(&read_to_end(&mut second).await).status, 200);
    // the first one had its answer, and then gave way
    assert_eq!(Answer::parse(&read_to_end(&mut first).await).status, 200);
    assert_eq!(closed(&creel, "gave_way").await, 1.0);
    creel.finish().await;
}

#[tokio::test]
async fn connections_that_fill_the_limit_with_silence_give_way_to_honest_ones() {
    let creel = start_with(Changes {
        config: |config| config.receiver.connections_max = 4,
        ..Changes::default()
    })
    .await;
    let mut slow = Vec::new();
    for start in [
        &b""[..],
        b"POST /in/open HT",
        b"",
        b"P",
        b"",
        b"POST",
        b"",
        b"",
    ] {
        let mut stream = TcpStream::connect(creel.public).await.unwrap();
        // one that gave way already cannot be written to
        let _ = stream.write_all(start).await;
        slow.push(stream);
    }
    for _ in 0..20 {
        let honest = exchange(creel.public, &request("POST", "/in/open", &[], b"x")).await;
        assert_eq!(honest.status, 200);
    }
    assert_eq!(creel.deliveries(), 20);
    assert!(closed(&creel, "gave_way").await >= 1.0);
    drop(slow);
    creel.finish().await;
}

#[tokio::test]
async fn a_body_of_another_media_type_is_415() {
    let creel = start_with(Changes {
        config: |config| {
            let source = config.sources.get_mut("open").unwrap();
            source.content_types = vec!["application/json".into()];
        },
        ..Changes::default()
    })
    .await;
    let status = async |headers: &[(&str, &str)], body: &[u8]| {
        let sent = request("POST", "/in/open", headers, body);
        exchange(creel.public, &sent).await.status
    };
    let kind = |value| [("content-type", value)];
    assert_eq!(status(&kind("application/json"), b"{}").await, 200);
    assert_eq!(
        status(&kind("Application/JSON; charset=utf-8"), b"{}").await,
        200
    );
    assert_eq!(status(&kind("text/plain"), b"{}").await, 415);
    assert_eq!(status(&kind("application/jsonp"), b"{}").await, 415);
    assert_eq!(status(&[], b"{}").await, 415);
    assert_eq!(status(&[], b"").await, 200, "nothing has no type");
    let two = [
        ("content-type", "application/json"),
        ("content-type", "text/plain"),
    ];
    assert_eq!(status(&two, b"{}").await, 415);
    assert_eq!(creel.deliveries(), 3);
    creel.finish().await;
}

/// A gzip file of 10 MB of zeros in 64 KB: a literal, and then runs of 258 (RFC 1951, fixed codes).
fn bomb() -> Vec<u8> {
    const RUNS: usize = 39_000;
    let runs = "1100010100000".repeat(RUNS);
    let bits = format!("11000110000{runs}0000000");
    let bits: Vec<u8> = bits.bytes().map(|bit| bit - b'0').collect();
    let bytes = bits.chunks(8);
    let byte = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit);
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    packed.extend(bytes.map(byte));
    let unpacked = 1 + 258 * RUNS;
    packed.extend(crc32fast::hash(&vec![0; unpacked]).to_le_bytes());
    packed.extend(u32::try_from(unpacked).unwrap().to_le_bytes());
    packed
}

#[tokio::test]
async fn a_body_that_unpacks_to_more_is_kept_as_it_came() {
    let creel = start_with(Changes {
        config: |config| config.receiver.bodies_bytes_max = 64 << 10,
        ..Changes::default()
    })
    .await;
    let packed = bomb();
    let signature = github_signature(super::setup::GITHUB_SECRET, &packed);
    let headers = [
        ("content-encoding", "gzip"),
        ("content-type", "application/json"),
        ("x-github-event", "push"),
        ("x-github-delivery", "bomb"),
        ("x-hub-signature-256", &signature),
    ];
    let answer = exchange(creel.public, &request("POST", "/in/gh", &headers, &packed)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = answer.json()["id"].as_str().unwrap().parse().unwrap();
    let found = creel_common::log::Operate::show(&*creel.log, id)
        .await
        .unwrap();
    assert_eq!(found.delivery.body, packed);
    creel.finish().await;
}
