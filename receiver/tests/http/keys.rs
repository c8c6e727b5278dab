//! Keys by URL, secrets that senders name, and calls back: what a sender sees, and what is fetched.
//!
//! The server is one of ours with TLS, on loopback; its certificate is the one that the worker's tests use.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use creel_common::config::{self, Config};
use creel_receiver::verify::Registry;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest, Sha256};

use super::client::{Answer, exchange, github_signature, request};
use creel_common::log::wire::QuarantineFind;
use creel_common::log::{Actor, Find, Operate};

use super::setup::{Changes, OPERATE, Running, config as base, start_from};

const CERTIFICATE: &[u8] = include_bytes!("../../../worker/tests/worker/tls/cert.der");
const KEY: &[u8] = include_bytes!("../../../worker/tests/worker/tls/key.der");

/// What a path answers: a status line, header lines, a body.
type Answers = BTreeMap<String, (String, String, String)>;

/// An https server on loopback.
#[derive(Clone)]
struct Host {
    port: u16,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Host {
    fn start() -> Self {
        creel_common::tls::install_provider();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(CERTIFICATE)],
                PrivateKeyDer::try_from(KEY).unwrap(),
            )
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = Self {
            port: listener.local_addr().unwrap().port(),
            answers: Arc::default(),
            asked: Arc::default(),
        };
        let shared = host.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let connection = ServerConnection::new(config.clone()).unwrap();
                let mut stream = StreamOwned::new(connection, socket.unwrap());
                // a client that hangs up is none of its business
                let _ = shared.answer(&mut stream);
            }
        });
        host
    }

    fn answer(&self, stream: &mut (impl Read + Write)) -> std::io::Result<()> {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        let Some(path) = text.split(' ').nth(1) else {
            return Ok(());
        };
        self.asked.lock().push(path.to_owned());
        let missing = || ("404 Not Found".into(), String::new(), String::new());
        let (status, headers, body) = self
            .answers
            .lock()
            .get(path)
            .cloned()
            .unwrap_or_else(missing);
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
            body.len()
        )?;
        stream.flush()
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    fn says(&self, path: &str, status: &str, headers: &str, body: &str) {
        let answer = (status.to_owned(), headers.to_owned(), body.to_owned());
        self.answers.lock().insert(path.to_owned(), answer);
    }

    fn asked(&self, path: &str) -> usize {
        self.asked
            .lock()
            .iter()
            .filter(|asked| *asked == path)
            .count()
    }
}

/// A sender with a key pair.
struct Sender {
    pair: Ed25519KeyPair,
    kid: &'static str,
}

impl Sender {
    fn new(kid: &'static str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        Self { pair, kid }
    }

    fn jwk(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        let kid = self.kid;
        format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}"#)
    }

    fn request(&self, body: &[u8]) -> Vec<u8> {
        let header = format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, self.kid);
        let hash = STANDARD.encode(Sha256::digest(body));
        let claims = format!(r#"{{"request_body_sha256":"{hash}"}}"#);
        let signed = [header, claims]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".");
        let tag = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()).as_ref());
        let token = format!("{signed}.{tag}");
        request(
            "POST",
            "/in/auth",
            &[("x-fusionauth-signature-jwt", &token)],
            body,
        )
    }
}

fn set(senders: &[&Sender]) -> String {
    let keys: Vec<String> = senders.iter().map(|sender| sender.jwk()).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// A configuration with these sources, as it is typed.
fn file(sources: &str) -> String {
    let receiver = r#"
[receiver]
listen = "127.0.0.1:0"
private = "127.0.0.1:0"
keys_allow = ["127.0.0.0/8", "::1"]
tokens = [
    { role = "worker", file = "worker" },
    { role = "read", file = "read" },
    { role = "operate", file = "operate", name = "ops" },
]
[log]
engine = "memory"
path = "data"
reserve = "0B"
"#;
    format!("{receiver}{sources}")
}

/// The configuration with these sources, and the secrets of all tests in files.
fn with_sources(directory: &Path, sources: &str) -> Config {
    base(directory);
    let path = directory.join("creel.toml");
    let known = config::Known::default();
    config::parse(&file(sources), &path, &known).unwrap_or_else(|problems| panic!("{problems}"))
}

async fn start(directory: tempfile::TempDir, sources: &str, registry: &Registry) -> Running {
    let config = with_sources(directory.path(), sources);
    let changes = Changes::default();
    start_from(directory, config, registry, changes, |mut prepared| {
        let known = reqwest::Certificate::from_der(CERTIFICATE).unwrap();
        let keys = Arc::into_inner(prepared.keys).unwrap();
        prepared.keys = Arc::new(keys.trusting(vec![known]));
        prepared
    })
    .await
}

fn auth(host: &Host) -> String {
    let url = host.url("/jwks");
    format!("[sources.auth]\nprovider = \"fusionauth\"\noptions = {{ jwks_url = \"{url}\" }}\n")
}

/// Until it is as it should be, or for half a minute.
async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking)
        .await
        .unwrap()
}

/// Sends until the answer is another one than 503.
async fn sent(running: &Running, bytes: &[u8]) -> Answer {
    eventually(async || {
        let answer = exchange(running.public, bytes).await;
        (answer.status != 503).then_some(answer)
    })
    .await
}

/// A body whose event has this id.
fn event(id: &str) -> Vec<u8> {
    format!(r#"{{"event":{{"id":"{id}","type":"user.create"}}}}"#).into_bytes()
}

/// Until so many deliveries are in the log.
async fn taken(running: &Running, count: u64) {
    eventually(async || (running.deliveries() == count).then_some(())).await;
}

/// How many requests are in quarantine for this reason.
async fn quarantined(running: &Running, reason: &str) -> usize {
    let find = QuarantineFind {
        limit: 1000,
        ..QuarantineFind::default()
    };
    let page = running.remote(OPERATE).quarantine(&find).await.unwrap();
    let items = page.items.iter();
    items.filter(|item| item.reason == reason).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_before_its_key_is_put_off_and_is_taken_afterwards() {
    let host = Host::start();
    let sender = Sender::new("one");
    host.says("/jwks", "503 Service Unavailable", "", "");
    let running = start(
        tempfile::tempdir().unwrap(),
        &auth(&host),
        &Registry::built_in(),
    )
    .await;
    let genuine = sender.request(&event("one"));
    let answer = exchange(running.public, &genuine).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(running.deliveries(), 0);
    host.says("/jwks", "200 OK", "", &set(&[&sender]));
    // the sender comes again; what waits in quarantine meanwhile is the same delivery
    assert_eq!(sent(&running, &genuine).await.status, 200);
    eventually(async || (quarantined(&running, "key_pending").await == 0).then_some(())).await;
    assert_eq!(running.deliveries(), 1);
    let forged = Sender::new("one").request(&event("two"));
    assert_eq!(exchange(running.public, &forged).await.status, 401);
    assert_eq!(running.deliveries(), 1);

    // another run, without the network
    host.says("/jwks", "503 Service Unavailable", "", "");
    let directory = running.finish_keeping().await;
    let running = start(directory, &auth(&host), &Registry::built_in()).await;
    assert_eq!(exchange(running.public, &genuine).await.status, 200);
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_sender_does_not_repeat_is_taken_in_when_the_key_has_come() {
    let host = Host::start();
    let sender = Sender::new("one");
    host.says("/jwks", "503 Service Unavailable", "", "");
    let running = start(
        tempfile::tempdir().unwrap(),
        &auth(&host),
        &Registry::built_in(),
    )
    .await;
    for n in 0..20 {
        let request = sender.request(&event(&format!("id-{n}")));
        assert_eq!(exchange(running.public, &request).await.status, 503);
        let forged = Sender::new("one").request(&event(&format!("forged-{n}")));
        assert_eq!(exchange(running.public, &forged).await.status, 503);
    }
    host.says("/jwks", "200 OK", "", &set(&[&sender]));
    taken(&running, 20).await;
    // nothing that is forged is among them, and it has not gone
    eventually(async || (quarantined(&running, "key_pending").await == 20).then_some(())).await;
    assert_eq!(running.deliveries(), 20);
    let ids: Vec<Option<String>> = deliveries(&running).await;
    let genuine = |id: &Option<String>| id.as_ref().is_some_and(|id| id.starts_with("id-"));
    assert!(ids.iter().all(genuine), "{ids:?}");
    running.finish().await;
}

/// The event ids of what is in the log.
async fn deliveries(running: &Running) -> Vec<Option<String>> {
    let find = Find {
        limit: 1000,
        ..Find::default()
    };
    let found = running.remote(OPERATE).find(find).await.unwrap().items;
    let ids = found.into_iter().map(|found| found.delivery.head.event_id);
    ids.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_key_is_taken_in_by_a_later_run() {
    let host = Host::start();
    let sender = Sender::new("one");
    host.says("/jwks", "503 Service Unavailable", "", "");
    let directory = tempfile::tempdir().unwrap();
    let running = start(directory, &auth(&host), &Registry::built_in()).await;
    let request = sender.request(&event("one"));
    assert_eq!(exchange(running.public, &request).await.status, 503);
    let directory = running.finish_keeping().await;
    host.says("/jwks", "200 OK", "", &set(&[&sender]));
    let running = start(directory, &auth(&host), &Registry::built_in()).await;
    taken(&running, 1).await;
    eventually(async || (quarantined(&running, "key_pending").await == 0).then_some(())).await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed_and_nothing_else_is_fetched() {
    let host = Host::start();
    let sender = Sender::new("one");
    let elsewhere = format!("location: {}\r\n", host.url("/elsewhere"));
    host.says("/jwks", "302 Found", &elsewhere, "");
    host.says("/elsewhere", "200 OK", "", &set(&[&sender]));
    let sources = format!("{}[sources.sns]\nprovider = \"aws-sns\"\n", auth(&host));
    let running = start(
        tempfile::tempdir().unwrap(),
        &sources,
        &Registry::built_in(),
    )
    .await;
    eventually(async || (host.asked("/jwks") > 0).then_some(())).await;
    assert_eq!(
        exchange(running.public, &sender.request(b"{}"))
            .await
            .status,
        503
    );
    // a certificate from a host that is not SNS
    let body = format!(
        r#"{{"Type":"Notification","MessageId":"1","SignatureVersion":"2","Signature":"AAAA","SigningCertURL":"{}"}}"#,
        host.url("/cert.pem")
    );
    let answer = exchange(
        running.public,
        &request("POST", "/in/sns", &[], body.as_bytes()),
    )
    .await;
    assert_eq!(answer.status, 401);
    let line = r#"creel_refused_total{source="sns",reason="untrusted_url"}"#;
    assert!(running.metric(line).await > 0.0);
    eventually(async || (host.asked("/jwks") > 1).then_some(())).await;
    assert_eq!(host.asked("/elsewhere"), 0);
    assert_eq!(host.asked("/cert.pem"), 0);
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_is_not_fetched_from_unless_it_is_allowed() {
    let host = Host::start();
    host.says("/jwks", "200 OK", "", &set(&[&Sender::new("one")]));
    let directory = tempfile::tempdir().unwrap();
    let mut config = with_sources(directory.path(), &auth(&host));
    config.receiver.keys_allow.clear();
    let registry = Registry::built_in();
    let running = start_from(directory, config, &registry, Changes::default(), |p| p).await;
    let line = r#"creel_key_fetches_total{outcome="failed"}"#;
    eventually(async || (running.metric(line).await > 0.0).then_some(())).await;
    assert_eq!(host.asked("/jwks"), 0);
    running.finish().await;
}

fn asana(secret: Option<&str>, body: &[u8]) -> Vec<u8> {
    match secret {
        None => request("POST", "/in/tasks", &[], body),
        Some(secret) => {
            let signature = github_signature(secret, body);
            let signature = signature.trim_start_matches("sha256=");
            request(
                "POST",
                "/in/tasks",
                &[("x-hook-signature", signature)],
                body,
            )
        }
    }
}

fn hook_secret(secret: &str) -> Vec<u8> {
    request("POST", "/in/tasks", &[("x-hook-secret", secret)], b"{}")
}

const TASKS: &str = "[sources.tasks]\nprovider = \"asana\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_first_secret_that_a_sender_names_is_kept_and_no_other_after_it() {
    let running = start(tempfile::tempdir().unwrap(), TASKS, &Registry::built_in()).await;
    let events = br#"{"events":[]}"#;
    let unsigned = exchange(running.public, &asana(None, events)).await;
    assert_eq!(unsigned.status, 401);
    let answer = exchange(running.public, &hook_secret("canary-named-secret")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-hook-secret"), Some("canary-named-secret"));
    let genuine = asana(Some("canary-named-secret"), events);
    assert_eq!(exchange(running.public, &genuine).await.status, 200);
    // the sender repeats itself, and somebody tries to be the sender
    let repeated = exchange(running.public, &hook_secret("canary-named-secret")).await;
    assert_eq!(repeated.status, 200);
    let usurper = exchange(running.public, &hook_secret("of-somebody-else")).await;
    assert_eq!(usurper.status, 403);
    let forged = asana(Some("of-somebody-else"), events);
    assert_eq!(exchange(running.public, &forged).await.status, 401);

    let directory = running.finish_keeping().await;
    let kept = std::fs::metadata(directory.path().join("keys/secrets")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&kept.permissions()) & 0o777,
        0o700
    );
    let running = start(directory, TASKS, &Registry::built_in()).await;
    assert_eq!(exchange(running.public, &genuine).await.status, 200);
    let sources = running.remote(OPERATE).sources().await.unwrap();
    assert_eq!(sources[0].keys.len(), 1);
    assert!(sources[0].keys[0].id.starts_with("learned:"));
    assert!(sources[0].keys[0].used > 0);
    let shown = serde_json::to_string(&sources).unwrap();
    assert!(!shown.contains("canary"), "{shown}");
    assert!(!super::logs::text().contains("canary-named-secret"));
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_a_configured_secret_learns_none() {
    let directory = tempfile::tempdir().unwrap();
    let sources = "[sources.tasks]\nprovider = \"asana\"\nsecrets = [{ file = \"token\" }]\n";
    let running = start(directory, sources, &Registry::built_in()).await;
    let answer = exchange(running.public, &hook_secret("of-somebody-else")).await;
    assert_eq!(answer.status, 403);
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_kept_is_not_confirmed() {
    let running = start(tempfile::tempdir().unwrap(), TASKS, &Registry::built_in()).await;
    let keys = running.directory.path().join("keys");
    std::fs::write(&keys, "in the way").unwrap();
    let answer = exchange(running.public, &hook_secret("canary-named-secret")).await;
    assert_eq!(answer.status, 503);
    let events = asana(Some("canary-named-secret"), b"{}");
    assert_eq!(exchange(running.public, &events).await.status, 401);
    // and the next try is not the second secret
    std::fs::remove_file(keys).unwrap();
    let answer = exchange(running.public, &hook_secret("canary-named-secret")).await;
    assert_eq!(answer.status, 200);
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learned_and_cannot_be_read_keeps_the_receiver_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let secrets = directory.path().join("keys/secrets");
    std::fs::create_dir_all(&secrets).unwrap();
    std::fs::write(secrets.join("00.json"), "canary-named-secret").unwrap();
    let config = with_sources(directory.path(), TASKS);
    let problems = creel_receiver::Prepared::new(&config, &Registry::built_in(), "0");
    let text = problems.unwrap_err().to_string();
    assert!(
        text.contains("receiver.keys") && text.contains("00.json"),
        "{text}"
    );
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learned_secret_stays_over_a_reload_and_gives_way_to_a_configured_one() {
    let running = start(tempfile::tempdir().unwrap(), TASKS, &Registry::built_in()).await;
    let answer = exchange(running.public, &hook_secret("canary-named-secret")).await;
    assert_eq!(answer.status, 200);
    let learned = asana(Some("canary-named-secret"), br#"{"events":[]}"#);
    let configured = asana(Some("canary-static-token"), br#"{"events":[]}"#);
    let path = running.directory.path().join("creel.toml");
    for (secrets, expected) in [
        ("", [200, 401]),
        ("secrets = [{ file = \"token\" }]", [401, 200]),
    ] {
        std::fs::write(&path, file(&format!("{TASKS}{secrets}\n"))).unwrap();
        let actor = Actor {
            who: "ops".into(),
            why: None,
        };
        running.remote(OPERATE).reload(actor).await.unwrap();
        for (request, status) in [&learned, &configured].into_iter().zip(expected) {
            let answer = exchange(running.public, request).await;
            assert_eq!(answer.status, status, "{secrets}");
        }
    }
    running.finish().await;
}

/// A sender that wants to be called back, at a host of ours.
fn calling(host: &Host) -> Registry {
    let pack = format!(
        r#"
[verify]
alg = "hmac-sha256"
sig = "header:X-Hub-Signature-256 | strip:sha256= | hex"
signed = "{{body}}"
[[handshake]]
when = ["method=POST", "json:/confirm"]
auth = "verify"
reply = {{ status = 200 }}
effect = "fetch:json:/confirm"
effect_url = '^https://localhost:{}/confirm\?token='
"#,
        host.port
    );
    let mut registry = Registry::built_in();
    registry.add("calling", &pack).unwrap();
    registry
}

const CALLING: &str =
    "[sources.calling]\nprovider = \"calling\"\nsecrets = [{ file = \"github\" }]\n";

fn confirm(url: &str, secret: &str) -> Vec<u8> {
    let body = format!(r#"{{"confirm":"{url}"}}"#);
    let signature = github_signature(secret, body.as_bytes());
    let headers = [("x-hub-signature-256", signature.as_str())];
    request("POST", "/in/calling", &headers, body.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_back_is_made_after_the_answer_until_it_succeeds_also_after_a_restart() {
    let host = Host::start();
    let path = "/confirm?token=1";
    host.says(path, "503 Service Unavailable", "", "");
    let registry = calling(&host);
    let running = start(tempfile::tempdir().unwrap(), CALLING, &registry).await;
    let secret = super::setup::GITHUB_SECRET;
    // neither unsigned nor to another host
    let forged = confirm(&host.url(path), "of-somebody-else");
    assert_eq!(exchange(running.public, &forged).await.status, 401);
    let elsewhere = confirm("https://localhost:1/confirm?token=1", secret);
    assert_eq!(exchange(running.public, &elsewhere).await.status, 401);
    let answer = exchange(running.public, &confirm(&host.url(path), secret)).await;
    assert_eq!(answer.status, 200);
    eventually(async || (host.asked(path) > 0).then_some(())).await;
    let directory = running.finish_keeping().await;

    host.says(path, "200 OK", "", "<ok/>");
    let before = host.asked(path);
    let running = start(directory, CALLING, &registry).await;
    let calls = running.directory.path().join("keys/calls");
    let open = || std::fs::read_dir(&calls).unwrap().count();
    eventually(async || (open() == 0).then_some(())).await;
    assert!(host.asked(path) > before);
    assert_eq!(running.deliveries(), 0);
    running.finish().await;
}

/// The same, signed with a key that is fetched.
fn calling_with_a_key(host: &Host) -> Registry {
    let pack = format!(
        r#"
[verify]
alg = "jwt"
key = "jwks"
jwks_url = "{}"
sig = "header:X-FusionAuth-Signature-JWT | text"
jwt = {{ algs = ["EdDSA"], hash = {{ request_body_sha256 = "sha256-b64:body" }} }}
[[handshake]]
when = ["method=POST", "json:/confirm"]
auth = "verify"
reply = {{ status = 200 }}
effect = "fetch:json:/confirm"
effect_url = '^https://localhost:{}/confirm\?token='
"#,
        host.url("/jwks"),
        host.port
    );
    let mut registry = Registry::built_in();
    registry.add("calling", &pack).unwrap();
    registry
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_that_came_before_its_key_is_made_when_the_key_has_come() {
    let host = Host::start();
    let sender = Sender::new("one");
    let path = "/confirm?token=1";
    host.says("/jwks", "503 Service Unavailable", "", "");
    host.says(path, "200 OK", "", "");
    let sources = "[sources.auth]\nprovider = \"calling\"\n";
    let registry = calling_with_a_key(&host);
    let running = start(tempfile::tempdir().unwrap(), sources, &registry).await;
    let body = format!(r#"{{"confirm":"{}"}}"#, host.url(path));
    let forged = Sender::new("one").request(body.replace("=1", "=2").as_bytes());
    for request in [forged, sender.request(body.as_bytes())] {
        assert_eq!(exchange(running.public, &request).await.status, 503);
    }
    assert_eq!(host.asked(path), 0);
    host.says("/jwks", "200 OK", "", &set(&[&sender]));
    eventually(async || (host.asked(path) > 0).then_some(())).await;
    eventually(async || (quarantined(&running, "key_pending").await == 1).then_some(())).await;
    assert_eq!(host.asked("/confirm?token=2"), 0);
    assert_eq!(running.deliveries(), 0);
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_no_key() {
    let host = Host::start();
    host.says("/jwks", "200 OK", "", &" ".repeat(300 << 10));
    let running = start(
        tempfile::tempdir().unwrap(),
        &auth(&host),
        &Registry::built_in(),
    )
    .await;
    let line = r#"creel_key_fetches_total{outcome="failed"}"#;
    eventually(async || (running.metric(line).await > 0.0).then_some(())).await;
    assert!(super::logs::text().contains("the answer is larger than 262144 bytes"));
    running.finish().await;
}
