//! HTTP/2 on the public listener. Floods of it are met by the real binary, in `tests/e2e`.

use std::time::Duration;

use bytes::Bytes;
use creel_common::config::{Config, Tls};
use creel_common::log::Operate;
use creel_common::testkit::certificates::{Authority, HOST, connect};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::client::{github_signature, twilio_signature};
use super::setup::{Changes, GITHUB_SECRET, Running, start_in};

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>;

fn tls(config: &mut Config) {
    config.receiver.tls = Some(Tls {
        cert: config.directory().join("server.pem"),
        key: config.directory().join("server.key"),
        client_ca: None,
    });
}

struct Site {
    creel: Running,
    authority: Authority,
}

async fn start(config: fn(&mut Config)) -> Site {
    super::logs::capture();
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("servers");
    authority.issue(directory.path(), "server", &[HOST]);
    let changes = Changes {
        config,
        ..Changes::default()
    };
    Site {
        creel: start_in(directory, changes).await,
        authority,
    }
}

impl Site {
    async fn connect(&self) -> SendRequest<Body> {
        let offered = ["h2", "http/1.1"];
        let stream = connect(self.creel.public, &self.authority, &offered, None).await;
        let stream = stream.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
        let (sender, connection) = shaken.unwrap();
        tokio::spawn(connection);
        sender
    }
}

fn whole(body: &[u8]) -> Body {
    BodyExt::boxed_unsync(Full::new(Bytes::copy_from_slice(body)))
}

/// The beginning of a body that never ends.
fn endless(body: &[u8]) -> Body {
    use futures_util::{StreamExt, stream};
    let first = Frame::data(Bytes::copy_from_slice(body));
    let frames = stream::iter([Ok(first)]).chain(stream::pending());
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("https://{HOST}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

async fn text(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn many_requests_on_one_connection_are_all_answered_and_kept_like_any() {
    let site = start(tls).await;
    let sender = site.connect().await;
    let mut sent = tokio::task::JoinSet::new();
    for number in 0..200 {
        let mut sender = sender.clone();
        let body = format!("{{\"number\":{number}}}");
        let signature = github_signature(GITHUB_SECRET, body.as_bytes());
        let id = number.to_string();
        let headers = [
            ("x-github-event", "push"),
            ("x-github-delivery", &id[..]),
            ("x-hub-signature-256", &signature),
        ];
        let sent_one = request("POST", "/in/gh", &headers, whole(body.as_bytes()));
        sent.spawn(async move {
            sender.ready().await.unwrap();
            text(sender.send_request(sent_one).await.unwrap()).await
        });
    }
    let mut last = String::new();
    while let Some(answer) = sent.join_next().await {
        let (status, body) = answer.unwrap();
        assert_eq!(status, 200, "{body}");
        last = body;
    }
    assert_eq!(site.creel.deliveries(), 200);
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    let id = last["id"].as_str().unwrap().parse().unwrap();
    let found = site.creel.log.show(id).await.unwrap();
    let headers = found.delivery.head.headers;
    let host = headers.iter().find(|header| header.name == "host").unwrap();
    assert_eq!(host.value, HOST.as_bytes(), "as over HTTP/1.1");
    site.creel.finish().await;
}

#[tokio::test]
async fn what_is_refused_over_http1_is_refused_alike() {
    let site = start(tls).await;
    let mut sender = site.connect().await;
    let mut status = async |sent: Request<Body>| {
        sender.ready().await.unwrap();
        text(sender.send_request(sent).await.unwrap()).await
    };
    for method in ["TRACE", "PUT", "DELETE"] {
        let refused = status(request(method, "/in/gh", &[], whole(b""))).await;
        assert_eq!(refused.0, 405, "{method}");
    }
    let unsigned = status(request("POST", "/in/gh", &[], whole(b"{}"))).await;
    assert_eq!(unsigned, (401, r#"{"error":"not verified"}"#.to_owned()));
    assert_eq!(status(request("GET", "/", &[], whole(b""))).await.0, 404);
    let large = vec![b'x'; 65 << 10];
    let large = status(request("POST", "/in/gh", &[], whole(&large))).await;
    assert_eq!(large.0, 413);
    let header = "x".repeat(70 << 10);
    let flood = request("POST", "/in/open", &[("x-large", &header)], whole(b""));
    assert_eq!(status(flood).await.0, 431);
    let signature = twilio_signature(&format!("https://{HOST}/in/twilio"));
    let headers = [("x-twilio-signature", &signature[..])];
    let twilio = status(request("GET", "/in/twilio", &headers, whole(b""))).await;
    assert_eq!(twilio.0, 200, "its URL is https: {}", twilio.1);
    site.creel.finish().await;
}

#[tokio::test]
async fn a_slow_body_is_408_and_holds_up_no_other_of_its_connection() {
    let site = start(|config| {
        tls(config);
        config.receiver.body_timeout = Duration::from_millis(300);
    })
    .await;
    let mut sender = site.connect().await;
    let slow = sender.send_request(request("POST", "/in/open", &[], endless(b"half")));
    sender.ready().await.unwrap();
    let other = sender.send_request(request("POST", "/in/open", &[], whole(b"x")));
    assert_eq!(other.await.unwrap().status(), 200);
    assert_eq!(slow.await.unwrap().status(), 408);
    assert_eq!(site.creel.deliveries(), 1);
    site.creel.finish().await;
}

#[tokio::test]
async fn bodies_of_one_connection_stay_within_the_memory_of_all() {
    let site = start(|config| {
        tls(config);
        config.receiver.bodies_bytes_max = 10_000;
        config.receiver.source_share = 1.0;
        config.receiver.body_timeout = Duration::from_secs(5);
    })
    .await;
    let sender = site.connect().await;
    let mut sent = tokio::task::JoinSet::new();
    // each fits its source, all of them together do not
    for _ in 0..20 {
        let mut sender = sender.clone();
        let half = request("POST", "/in/open", &[], endless(&[b'x'; 1000]));
        sent.spawn(async move {
            sender.ready().await.unwrap();
            sender.send_request(half).await.unwrap().status().as_u16()
        });
    }
    for _ in 0..10 {
        assert_eq!(sent.join_next().await.unwrap().unwrap(), 503);
    }
    assert_eq!(site.creel.metric("creel_bodies_bytes ").await, 10_000.0);
    sent.shutdown().await;
    while site.creel.metric("creel_bodies_bytes ").await > 0.0 {
        tokio::task::yield_now().await;
    }
    site.creel.finish().await;
}

#[tokio::test]
async fn an_idle_connection_ends_and_a_request_in_flight_is_answered_at_the_end() {
    let site = start(|config| {
        tls(config);
        config.receiver.idle_timeout = Duration::from_millis(300);
    })
    .await;
    let mut idle = site.connect().await;
    let answer = idle.send_request(request("POST", "/in/open", &[], whole(b"x")));
    assert_eq!(answer.await.unwrap().status(), 200);
    let closed = r#"creel_connections_closed_total{listener="public",reason="idle"}"#;
    while site.creel.metric(closed).await < 1.0 {
        tokio::task::yield_now().await;
    }
    while idle.ready().await.is_ok() {
        tokio::task::yield_now().await;
    }
    let mut sender = site.connect().await;
    let creel = site.creel;
    let held = creel.engine.hold_appends();
    let waiting = sender.send_request(request("POST", "/in/open", &[], whole(b"y")));
    let waiting = tokio::spawn(waiting);
    while creel.metric(r#"creel_received_total{source="open"}"#).await < 2.0 {
        tokio::task::yield_now().await;
    }
    creel.stop.cancel();
    drop(held);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    creel.finish().await;
}

/// Earlier ones lack a bound on small DATA frames.
#[test]
fn the_h2_that_is_built_in_has_its_bounds() {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
    let lock: toml::Table = std::fs::read_to_string(lock).unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let versions = packages
        .iter()
        .filter(|package| package["name"].as_str() == Some("h2"));
    let mut seen = 0;
    for package in versions {
        let version = package["version"].as_str().unwrap();
        let parts: Vec<u64> = version
            .split('.')
            .map(|part| part.parse().unwrap())
            .collect();
        assert!(parts >= vec![0, 4, 16], "h2 {version}");
        seen += 1;
    }
    assert_eq!(seen, 1);
}
