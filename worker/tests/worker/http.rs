//! What only http does: statuses, timeouts, addresses, headers, signatures.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use creel_common::attempt::RESPONSE_BYTES_MAX;
use creel_common::delivery::Header;
use creel_common::outcome::Outcome;
use creel_common::time::SystemClock;
use creel_worker::destinations::http::{Lookup, Resolved, open_with};
use creel_worker::destinations::{Attempted, Destination, Opening};
use hmac::{Hmac, KeyInit, Mac};
use tokio::net::{TcpListener, TcpStream};

use crate::child;
use crate::sample::{item, opened};
use crate::sink::{Sink, raw, write};

const RETRY: Outcome = Outcome::Retry { after: None };

fn to(url: &str, more: &str) -> Arc<dyn Destination> {
    let settings = format!("url = {url:?}\nallow = [\"127.0.0.0/8\"]\n{more}");
    opened("http", &settings, Path::new("")).unwrap()
}

async fn once(destination: &Arc<dyn Destination>) -> Attempted {
    destination.deliver(&[item(1, "{}")]).await.remove(0)
}

#[tokio::test]
async fn a_status_decides_and_is_reported_with_the_answer() {
    let sink = Sink::start().await;
    let destination = to(&sink.url(), "");
    for (status, outcome) in [
        (200, Outcome::Delivered),
        (204, Outcome::Delivered),
        (500, RETRY),
        (404, RETRY),
        (422, Outcome::Reject),
        (410, Outcome::Reject),
    ] {
        sink.answer(status, &[], if status == 204 { b"" } else { b"because" });
        let result = once(&destination).await;
        assert_eq!(result.outcome, outcome, "{status}");
        assert_eq!(result.report.status, Some(status));
        assert_eq!(result.report.error.is_none(), status < 300);
        assert_eq!(result.report.response.is_empty(), status == 204);
    }
    assert_eq!(sink.seen()[0].target, "/hooks?key=1");
    assert_eq!(sink.seen()[0].method, "POST");
}

#[tokio::test]
async fn a_destination_may_ask_for_a_pause() {
    let sink = Sink::start().await;
    sink.answer(429, &[("retry-after", "17")], b"");
    let result = once(&to(&sink.url(), "")).await;
    let after = Some(Duration::from_secs(17));
    assert_eq!(result.outcome, Outcome::Retry { after });
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (sink, elsewhere) = (Sink::start().await, Sink::start().await);
    for status in [301, 302, 307, 308] {
        sink.answer(status, &[("location", &elsewhere.url())], b"");
        let result = once(&to(&sink.url(), "")).await;
        assert_eq!(
            (result.outcome, result.report.status),
            (RETRY, Some(status))
        );
    }
    assert_eq!(elsewhere.seen().len(), 0);
}

#[tokio::test]
async fn what_is_large_is_cut_and_what_trickles_is_not_waited_for() {
    let url = raw(|mut connection| async move {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
        let mut alive = write(&mut connection, head).await;
        while alive {
            alive = write(&mut connection, &[b'x'; 65536]).await;
        }
    })
    .await;
    let result = once(&to(&url, "")).await;
    assert_eq!(result.outcome, Outcome::Delivered);
    assert_eq!(result.report.response.len(), RESPONSE_BYTES_MAX);

    let url = raw(|mut connection| async move {
        write(
            &mut connection,
            b"HTTP/1.1 500 Oh\r\ncontent-length: 1000\r\n\r\nslow",
        )
        .await;
        std::future::pending::<()>().await;
    })
    .await;
    let started = Instant::now();
    let result = once(&to(&url, "")).await;
    assert_eq!((result.outcome, result.report.status), (RETRY, Some(500)));
    assert_eq!(result.report.response, b"slow");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_connection_that_fails_is_retried() {
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/secret-path", listener.local_addr().unwrap())
    };
    let reset = raw(|connection: TcpStream| async move { drop(connection) }).await;
    let garbage = raw(|mut connection: TcpStream| async move {
        write(&mut connection, b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    })
    .await;
    for url in [refused, reset, garbage] {
        let result = once(&to(&url, "")).await;
        assert_eq!(
            (result.outcome, result.report.status),
            (RETRY, None),
            "{url}"
        );
        let error = result.report.error.unwrap();
        assert!(
            !error.is_empty() && !error.contains("secret-path"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_status_counts_even_when_its_answer_breaks_off() {
    let url = raw(|mut connection| async move {
        write(
            &mut connection,
            b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\npart",
        )
        .await;
    })
    .await;
    let result = once(&to(&url, "")).await;
    assert_eq!(result.outcome, Outcome::Delivered);
    assert_eq!(result.report.response, b"part");
}

#[tokio::test]
async fn what_belongs_to_the_senders_connection_does_not_travel_on() {
    let sink = Sink::start().await;
    let mut forged = item(9, "{}");
    forged.delivery.head.headers.extend([
        Header::new("connection", "x-a"),
        Header::new("x-a", "1"),
        Header::new("transfer-encoding", "chunked"),
        Header::new("host", "evil.example"),
        Header::new("cookie", "a=b"),
        Header::new("authorization", "sha256:abc"),
        Header::new("content-length", "999"),
        Header::new("forwarded", "for=1.1.1.1"),
        Header::new("x-forwarded-for", "1.1.1.1"),
        Header::new("creel-delivery-id", "forged"),
        Header::new("creel-other", "forged"),
        Header::new("user-agent", "GitHub-Hookshot/1"),
    ]);
    let result = to(&sink.url(), "").deliver(&[forged]).await.remove(0);
    assert_eq!(result.outcome, Outcome::Delivered);
    let arrived = sink.seen().remove(0).arrived;
    for name in [
        "connection",
        "x-a",
        "transfer-encoding",
        "cookie",
        "authorization",
        "forwarded",
        "x-forwarded-for",
        "creel-other",
    ] {
        assert_eq!(arrived.values(name).len(), 0, "{name}");
    }
    assert_eq!(arrived.text("creel-delivery-id"), "000000000000feed-9");
    assert_eq!(arrived.text("host"), format!("127.0.0.1:{}", sink.port()));
    assert_eq!(arrived.text("content-length"), "2");
    assert_eq!(arrived.text("user-agent"), "GitHub-Hookshot/1");
}

#[tokio::test]
async fn configured_headers_and_methods_are_sent() {
    let sink = Sink::start().await;
    let dir = tempfile::TempDir::new().unwrap();
    std::fs::write(dir.path().join("key"), "Bearer hunter2\n").unwrap();
    let settings = format!(
        "url = {:?}\nallow = [\"127.0.0.1\"]\nmethod = \"original\"\n\
         headers = {{ authorization = {{ file = \"key\" }}, x-many = \"mine\" }}",
        sink.url()
    );
    let destination = opened("http", &settings, dir.path()).unwrap();
    let mut put = item(1, "{}");
    put.delivery.head.method = "PUT".into();
    destination.deliver(&[put]).await;
    let seen = sink.seen().remove(0);
    assert_eq!(seen.method, "PUT");
    assert_eq!(seen.arrived.text("authorization"), "Bearer hunter2");
    assert_eq!(seen.arrived.text("x-many"), "mine");
}

#[tokio::test]
async fn a_request_is_signed_so_that_anybody_can_verify_it() {
    let sink = Sink::start().await;
    let dir = tempfile::TempDir::new().unwrap();
    let key = [7_u8; 32];
    let secret = format!("whsec_{}", STANDARD.encode(key));
    std::fs::write(dir.path().join("secret"), secret).unwrap();
    let settings = format!(
        "url = {:?}\nallow = [\"127.0.0.1\"]\nsecret = {{ file = \"secret\" }}",
        sink.url()
    );
    let destination = opened("http", &settings, dir.path()).unwrap();
    let mut signed = item(1, "{\"a\":1}");
    let of_the_sender = Header::new("webhook-signature", "v1,theirs");
    signed.delivery.head.headers.push(of_the_sender);
    destination.deliver(&[signed]).await;
    let arrived = sink.seen().remove(0).arrived;
    let (id, timestamp) = (
        arrived.text("webhook-id"),
        arrived.text("webhook-timestamp"),
    );
    assert_eq!(
        (id.as_str(), timestamp.as_str()),
        ("000000000000feed-1", "1700000001")
    );
    let signature = arrived.text("webhook-signature");
    let tag = STANDARD
        .decode(signature.strip_prefix("v1,").unwrap())
        .unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(&arrived.body);
    mac.verify_slice(&tag).unwrap();
}

#[test]
fn private_addresses_are_refused_when_the_destination_is_opened() {
    for host in [
        "127.0.0.1",
        "0",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "192.168.0.1",
    ] {
        let settings = format!("url = \"http://{host}/\"");
        assert!(opened("http", &settings, Path::new("")).is_err(), "{host}");
    }
    let metadata = "url = \"http://169.254.169.254/\"\nallow = [\"0.0.0.0/0\"]";
    assert!(opened("http", metadata, Path::new("")).is_err());
}

/// A resolver that answers from a list, one entry per look-up.
struct Answers {
    answers: Vec<Vec<IpAddr>>,
    asked: Arc<AtomicUsize>,
}

impl Lookup for Answers {
    fn lookup(&self, _host: String) -> Resolved {
        let at = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers[at.min(self.answers.len() - 1)].clone();
        Box::pin(async move { io::Result::Ok(answer) })
    }
}

fn by_name(
    port: u16,
    allow: &str,
    answers: &[&[&str]],
) -> (Arc<dyn Destination>, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let parse = |list: &&[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect();
    let lookup = Answers {
        answers: answers.iter().map(parse).collect(),
        asked: Arc::clone(&asked),
    };
    let settings = format!("url = \"http://hooks.example:{port}/\"\nallow = {allow}");
    let opening = Opening {
        name: "there",
        settings: &settings.parse().unwrap(),
        base: Path::new(""),
        unique: "test",
        clock: Arc::new(SystemClock::default()),
    };
    (open_with(&opening, lookup).unwrap(), asked)
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_not_connected_to() {
    let sink = Sink::start().await;
    for answer in ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "::1"] {
        let (destination, _) = by_name(sink.port(), "[]", &[&[answer]]);
        let result = once(&destination).await;
        assert_eq!(result.outcome, RETRY, "{answer}");
        let error = result.report.error.unwrap();
        assert!(error.contains("address"), "{error}");
    }
    assert_eq!(sink.seen().len(), 0);
}

#[tokio::test]
async fn of_several_addresses_only_those_that_are_allowed_are_tried() {
    let sink = Sink::start().await;
    let allow = "[\"127.0.0.1/32\"]";
    let (destination, _) = by_name(sink.port(), allow, &[&["127.0.0.2", "127.0.0.1"]]);
    assert_eq!(once(&destination).await.outcome, Outcome::Delivered);
    assert_eq!(sink.seen().len(), 1);
}

#[tokio::test]
async fn a_name_that_changes_to_a_private_address_is_refused_the_second_time() {
    let sink = Sink::start().await;
    // no connection is kept, so that the name is looked up again
    sink.answer(200, &[("connection", "close")], b"");
    let answers: [&[&str]; 2] = [&["127.0.0.1"], &["127.0.0.2"]];
    let (destination, asked) = by_name(sink.port(), "[\"127.0.0.1/32\"]", &answers);
    assert_eq!(once(&destination).await.outcome, Outcome::Delivered);
    assert_eq!(once(&destination).await.outcome, RETRY);
    assert_eq!((asked.load(Ordering::SeqCst), sink.seen().len()), (2, 1));
}

#[tokio::test]
async fn connections_are_used_again() {
    let sink = Sink::start().await;
    let (destination, asked) = by_name(sink.port(), "[\"127.0.0.1/32\"]", &[&["127.0.0.1"]]);
    for _ in 0..20 {
        assert_eq!(once(&destination).await.outcome, Outcome::Delivered);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

const URL: &str = "CREEL_TEST_URL";

/// Delivers once to where the environment says.
#[tokio::test]
#[ignore = "run by a_proxy_in_the_environment_is_not_asked"]
async fn delivers_once() {
    let url = std::env::var(URL).unwrap();
    assert_eq!(once(&to(&url, "")).await.outcome, Outcome::Delivered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_in_the_environment_is_not_asked() {
    let (sink, proxy) = (Sink::start().await, Sink::start().await);
    let proxy_url = format!("http://127.0.0.1:{}", proxy.port());
    let mut variables = vec![(URL, sink.url())];
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "HTTPS_PROXY",
    ] {
        variables.push((name, proxy_url.clone()));
    }
    let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let mut child = child::start("http::delivers_once", &variables);
    let status = tokio::task::spawn_blocking(move || child.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(status.success());
    assert_eq!((sink.seen().len(), proxy.seen().len()), (1, 0));
}
