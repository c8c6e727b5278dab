//! TLS: who gets a connection, who does not, and certificates that change meanwhile.

use std::time::Duration;

use creel_common::config::{Config, Tls};
use creel_common::log::{Actor, OperateError};
use creel_common::testkit::certificates::{Authority, Files, HOST, Secured, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Answer, exchange_over, github, read_to_end, request, twilio_signature};
use super::setup::{Changes, OPERATE, Running, start_in};

const HTTP1: &[&str] = &["http/1.1"];

/// Has the public listener speak TLS, with the files that [`start`] made.
fn public(config: &mut Config) {
    config.receiver.tls = Some(Tls {
        cert: config.directory().join("server.pem"),
        key: config.directory().join("server.key"),
        client_ca: None,
    });
}

fn public_for_known(config: &mut Config) {
    public(config);
    let ca = config.directory().join("clients.pem");
    config.receiver.tls.as_mut().unwrap().client_ca = Some(ca);
}

fn private(config: &mut Config) {
    config.receiver.private_tls = Some(Tls {
        cert: config.directory().join("server.pem"),
        key: config.directory().join("server.key"),
        client_ca: Some(config.directory().join("clients.pem")),
    });
}

struct Site {
    creel: Running,
    authority: Authority,
    clients: Authority,
}

async fn start(config: fn(&mut Config)) -> Site {
    super::logs::capture();
    let directory = tempfile::tempdir().unwrap();
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    authority.issue(directory.path(), "server", &[HOST, "127.0.0.1"]);
    clients.write(&directory.path().join("clients.pem"));
    let changes = Changes {
        config,
        ..Changes::default()
    };
    Site {
        creel: start_in(directory, changes).await,
        authority,
        clients,
    }
}

impl Site {
    async fn connect(&self) -> Secured {
        let connected = connect(self.creel.public, &self.authority, HTTP1, None).await;
        connected.unwrap()
    }

    /// A certificate of the clients' authority.
    fn identity(&self) -> Files {
        self.clients
            .issue(self.creel.directory.path(), "client", &["client"])
    }

    /// Reloads what the receiver runs with, with other files perhaps.
    async fn reload(&self) -> Result<(), OperateError> {
        self.creel.write_config(|config| {
            let tls = "tls = { cert = \"server.pem\", key = \"server.key\" }";
            config.replace("[receiver]", &format!("[receiver]\n{tls}"))
        });
        let actor = Actor {
            who: "mara".into(),
            why: None,
        };
        self.creel.remote(OPERATE).reload(actor).await.map(|_| ())
    }
}

/// Sends a delivery over a connection that stays.
async fn deliver(stream: &mut Secured) -> u16 {
    let kept = b"POST /in/open HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx";
    stream.write_all(kept).await.unwrap();
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    Answer::parse(&answer[..read]).status
}

/// The certificate that a server showed.
fn shown(stream: &Secured) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// What a handshake as a client with or without a certificate comes to, for the first request.
async fn admitted(
    address: std::net::SocketAddr,
    authority: &Authority,
    identity: Option<&Files>,
) -> bool {
    let Ok(mut stream) = connect(address, authority, HTTP1, identity).await else {
        return false;
    };
    // under TLS 1.3 the refusal comes after the client's part of the handshake
    let sent = stream.write_all(&request("GET", "/health", &[], b"")).await;
    let mut answer = [0; 12];
    sent.is_ok() && stream.read_exact(&mut answer).await.is_ok()
}

#[tokio::test]
async fn deliveries_come_under_tls_and_their_url_is_https() {
    let site = start(public).await;
    let mut stream = site.connect().await;
    let answer = exchange_over(&mut stream, &github("1", b"{}")).await;
    assert_eq!(answer.status, 200);
    // Twilio signs the URL that it calls
    for (url, status) in [
        ("https://hooks.example.com/in/twilio", 200),
        ("http://hooks.example.com/in/twilio", 401),
    ] {
        let signature = twilio_signature(url);
        let headers = [("x-twilio-signature", &signature[..])];
        let sent = request("GET", "/in/twilio", &headers, b"");
        let answer = exchange_over(&mut site.connect().await, &sent).await;
        assert_eq!(answer.status, status, "{url}");
    }
    site.creel.finish().await;
}

#[tokio::test]
async fn what_is_no_tls_and_what_does_not_come_gets_no_connection() {
    let site = start(|config| {
        public(config);
        config.receiver.header_timeout = Duration::from_millis(300);
    })
    .await;
    let mut plain = TcpStream::connect(site.creel.public).await.unwrap();
    plain
        .write_all(&request("POST", "/in/open", &[], b"x"))
        .await
        .unwrap();
    let mut answer = Vec::new();
    // an alert, or a reset
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    let mut silent = TcpStream::connect(site.creel.public).await.unwrap();
    assert!(read_to_end(&mut silent).await.is_empty());
    assert_eq!(site.creel.deliveries(), 0);
    for (reason, count) in [("handshake", 1.0), ("silent", 1.0)] {
        let line =
            format!(r#"creel_connections_closed_total{{listener="public",reason="{reason}"}}"#);
        assert_eq!(site.creel.metric(&line).await, count, "{reason}");
    }
    site.creel.finish().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_over_and_no_connection_ends() {
    let site = start(public).await;
    let mut before = site.connect().await;
    assert_eq!(deliver(&mut before).await, 200);
    let directory = site.creel.directory.path();
    site.authority.issue(directory, "server", &[HOST]);
    assert_eq!(shown(&site.connect().await), shown(&before), "not yet read");
    site.reload().await.unwrap();
    let mut after = site.connect().await;
    assert_ne!(shown(&after), shown(&before));
    assert_eq!(deliver(&mut before).await, 200);
    assert_eq!(deliver(&mut after).await, 200);
    assert_eq!(site.creel.deliveries(), 3);
    site.creel.finish().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_refused_and_the_one_before_stays() {
    let site = start(public).await;
    let before = shown(&site.connect().await);
    let directory = site.creel.directory.path();
    let another = site.authority.issue(directory, "another", &[HOST]);
    let key = directory.join("server.key");
    let good = std::fs::read(&key).unwrap();
    std::fs::copy(&another.key, &key).unwrap();
    let wrongs: [(&[u8], &str); 3] = [
        (
            &std::fs::read(&another.key).unwrap(),
            "it is not the key of",
        ),
        (b"canary-key", "it has no private key in PEM form"),
        (
            b"-----BEGIN PRIVATE KEY-----\ncanary\n",
            "private key in PEM form",
        ),
    ];
    for (wrong, why) in wrongs {
        std::fs::write(&key, wrong).unwrap();
        match site.reload().await {
            Err(OperateError::Invalid(told)) => {
                assert!(
                    told.contains("receiver.tls.key") && told.contains(why),
                    "{told}"
                );
                assert!(!told.contains("canary"), "{told}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(shown(&site.connect().await), before);
    }
    std::fs::write(&key, good).unwrap();
    site.reload().await.unwrap();
    site.creel.finish().await;
}

#[tokio::test]
async fn a_sender_that_is_still_writing_reads_its_413_under_tls() {
    let site = start(public).await;
    let (mut from, mut to) = tokio::io::split(site.connect().await);
    let writing = tokio::spawn(async move {
        let head = b"POST /in/gh HTTP/1.1\r\nhost: a\r\ncontent-length: 800000\r\n\r\n";
        to.write_all(head).await.unwrap();
        // may fail once the other side has given up
        let _ = to.write_all(&vec![b'x'; 800_000]).await;
        to
    });
    let mut answer = Vec::new();
    let _ = from.read_to_end(&mut answer).await;
    assert_eq!(Answer::parse(&answer).status, 413);
    writing.await.unwrap();
    site.creel.finish().await;
}

#[tokio::test]
async fn a_slow_head_is_408_and_a_request_in_flight_is_answered_at_the_end_under_tls() {
    let site = start(|config| {
        public(config);
        config.receiver.header_timeout = Duration::from_millis(500);
    })
    .await;
    let half = b"POST /in/open HTTP/1.1\r\nhost";
    let slow = exchange_over(&mut site.connect().await, half).await;
    assert_eq!(slow.status, 408);
    let creel = site.creel;
    let held = creel.engine.hold_appends();
    let connected = connect(creel.public, &site.authority, HTTP1, None).await;
    let mut waiting = connected.unwrap();
    let sent = request("POST", "/in/open", &[], b"x");
    waiting.write_all(&sent).await.unwrap();
    while creel.metric(r#"creel_received_total{source="open"}"#).await < 1.0 {
        tokio::task::yield_now().await;
    }
    creel.stop.cancel();
    drop(held);
    let mut answer = Vec::new();
    waiting.read_to_end(&mut answer).await.unwrap();
    assert_eq!(Answer::parse(&answer).status, 200);
    creel.finish().await;
}

#[tokio::test]
async fn senders_without_a_certificate_are_refused_where_one_is_asked_for() {
    let site = start(public_for_known).await;
    let (address, authority) = (site.creel.public, &site.authority);
    assert!(!admitted(address, authority, None).await);
    let stranger = Authority::new("clients");
    let stranger = stranger.issue(site.creel.directory.path(), "stranger", &["client"]);
    assert!(!admitted(address, authority, Some(&stranger)).await);
    assert!(admitted(address, authority, Some(&site.identity())).await);
    site.creel.finish().await;
}

#[tokio::test]
async fn the_private_listener_under_tls_answers_nobody_without_a_certificate() {
    let site = start(private).await;
    let (address, authority) = (site.creel.private, &site.authority);
    assert!(!admitted(address, authority, None).await);
    let stranger = Authority::new("clients");
    let stranger = stranger.issue(site.creel.directory.path(), "stranger", &["client"]);
    assert!(!admitted(address, authority, Some(&stranger)).await);
    assert!(admitted(address, authority, Some(&site.identity())).await);
    let mut clear = TcpStream::connect(address).await.unwrap();
    let sent = request("GET", "/health", &[], b"");
    clear.write_all(&sent).await.unwrap();
    let mut answer = Vec::new();
    let _ = clear.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    site.creel.finish().await;
}
