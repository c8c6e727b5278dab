//! What is refused, and how: the same 401 for every lie, a status of its own for the rest.

use super::client::{exchange, github, github_signature, request};
use super::setup::{GITHUB_SECRET, start};

#[tokio::test]
async fn every_lie_gets_the_same_401() {
    let creel = start().await;
    let body = b"{}";
    let good = github_signature(GITHUB_SECRET, body);
    let other = github_signature("another secret", body);
    let flipped = github_signature(GITHUB_SECRET, b"{ }");
    let half = &good[..good.len() / 2];
    let long = format!("{good}00");
    let bare = &good["sha256=".len()..];
    let header = "x-hub-signature-256";
    let lies: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![(header, "")],
        vec![(header, "sha256=")],
        vec![(header, "v1,")],
        vec![(header, half)],
        vec![(header, &long)],
        vec![(header, bare)],
        vec![(header, &other)],
        vec![(header, &flipped)],
        vec![(header, &good), (header, &other)],
        vec![("x-hub-signature", &good)],
        vec![("authorization", "Bearer canary")],
    ];
    let mut answers = Vec::new();
    for lie in &lies {
        let mut headers = vec![("x-github-event", "push"), ("x-github-delivery", "1")];
        headers.extend(lie);
        answers.push(exchange(creel.public, &request("POST", "/in/gh", &headers, body)).await);
    }
    let mut signed = vec![("x-github-delivery", "1")];
    signed.push((header, &good));
    for unknown in ["/in/nobody", "/in/", "/in/gh/x", "/in/%67h", "/in/GH"] {
        answers.push(exchange(creel.public, &request("POST", unknown, &signed, body)).await);
    }
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    assert_eq!(answers[0].status, 401);
    assert_eq!(answers[0].body, r#"{"error":"not verified"}"#);
    assert_eq!(creel.deliveries(), 0);
    let no_match = r#"creel_refused_total{source="gh",reason="no_match"}"#;
    assert!(creel.metric(no_match).await >= 2.0);
    let no_source = r#"creel_refused_total{source="-",reason="no_source"}"#;
    assert_eq!(creel.metric(no_source).await, 5.0);
    creel.finish().await;
}

#[tokio::test]
async fn methods_that_no_sender_uses_are_405() {
    let creel = start().await;
    for method in ["PUT", "DELETE", "TRACE", "PATCH", "CONNECT"] {
        for path in ["/in/gh", "/in/nobody", "/"] {
            // what CONNECT names is a host
            let path = if method == "CONNECT" {
                "a.example:443"
            } else {
                path
            };
            let answer = exchange(creel.public, &request(method, path, &[], b"")).await;
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
    let answer = exchange(creel.public, &request("GET", "/in/gh", &[], b"")).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("post")));
    // where the provider uses GET, it is a matter of the signature
    let answer = exchange(creel.public, &request("GET", "/in/twilio", &[], b"")).await;
    assert_ne!(answer.status, 405);
    creel.finish().await;
}

#[tokio::test]
async fn a_source_that_does_not_exist_looks_like_one_that_does() {
    let creel = start().await;
    let methods = ["GET", "POST", "PUT", "HEAD"];
    let shape = |path: String| async move {
        let mut shape = Vec::new();
        for method in methods {
            let answer = exchange(creel.public, &request(method, &path, &[], b"")).await;
            shape.push((answer.status, answer.headers, answer.body));
        }
        shape
    };
    let mut known = Vec::new();
    for name in ["gh", "slack", "twilio", "tok"] {
        known.push(shape(format!("/in/{name}")).await);
    }
    for guess in 0..20 {
        let path = format!("/in/guess-{guess}");
        let looks = shape(path.clone()).await;
        assert_eq!(looks, shape(path).await, "it changes its mind");
        assert!(known.contains(&looks), "{looks:?}");
    }
    creel.finish().await;
}

#[tokio::test]
async fn nothing_but_sources_is_public() {
    let creel = start().await;
    for path in [
        "/",
        "/health",
        "/metrics",
        "/v1/log",
        "/in",
        "/openapi.json",
    ] {
        let answer = exchange(creel.public, &request("GET", path, &[], b"")).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    creel.finish().await;
}

#[tokio::test]
async fn malformed_framing_is_400_and_ends_the_connection() {
    let creel = start().await;
    let start = "POST /in/open HTTP/1.1\r\nhost: a\r\n";
    let malformed = [
        format!("{start}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{start}content-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
        format!("{start}content-length: +5\r\n\r\nhello"),
        format!("{start}content-length: 5, 5\r\n\r\nhello"),
        format!("{start}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        format!("{start}x-a: 1\r\n folded: 2\r\n\r\n"),
        "POST /in/open HTTP/1.1\nhost: a\ncontent-length: 1\n\nx".to_owned(),
        format!("{start}x-a: 1\nx-b: 2\r\ncontent-length: 1\r\n\r\nx"),
        format!("\r\n{start}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{start}bad header: 1\r\n\r\n"),
        format!("{start}x: a\0b\r\n\r\n"),
        "POST /in/open HTTP/1.1\rhost: a\r\r".to_owned(),
        "POST  /in/open HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        format!("{start}transfer-encoding: chunked\r\n\r\nzz\r\n"),
        format!("{start}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
    ];
    for request in &malformed {
        let answer = exchange(creel.public, request.as_bytes()).await;
        assert_eq!(answer.status, 400, "{request:?}");
    }
    assert_eq!(creel.deliveries(), 0);
    creel.finish().await;
}

#[tokio::test]
async fn a_stranger_cannot_forge_its_address_and_a_trusted_proxy_is_believed() {
    let forge = [
        ("x-forwarded-for", "10.9.8.7"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
    ];
    let remote = |trusted: bool| async move {
        let creel = super::setup::start_with(super::setup::Changes {
            config: if trusted {
                |config| config.receiver.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]
            } else {
                |_| {}
            },
            ..super::setup::Changes::default()
        })
        .await;
        let answer = exchange(creel.public, &request("POST", "/in/open", &forge, b"x")).await;
        let id = answer.json()["id"].as_str().unwrap().parse().unwrap();
        let found = creel_common::log::Operate::show(&*creel.log, id)
            .await
            .unwrap();
        creel.finish().await;
        found.delivery.head.remote.unwrap().to_string()
    };
    assert_eq!(remote(false).await, "127.0.0.1");
    assert_eq!(remote(true).await, "10.9.8.7");
}

#[tokio::test]
async fn a_good_one_passes_beside_all_that() {
    let creel = start().await;
    let answer = exchange(creel.public, &github("g1", b"{}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(creel.deliveries(), 1);
    creel.finish().await;
}
