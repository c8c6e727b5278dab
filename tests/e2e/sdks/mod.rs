//! What the senders' own libraries sign is accepted, and what `creel send` signs they accept.
//!
//! No signature in here is made by code of this repository: one language's library signs as the
//! sender does, at the time of the test, over bodies that nobody wrote.

mod library;
mod place;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::harness::{Answer, Process, Receiver, Seed, Sink, Site};
use library::{Language, Libraries, Signed};
use place::{SENDERS, Sender, with_other_body};

/// Bodies of each sender and language.
const BODIES: usize = 24;
const PUBLIC: &str = "https://hooks.example.com";
/// Most of a large body; a source takes 1 MiB.
const LARGE_BYTES: usize = 700 << 10;

/// A site with a source for each sender.
fn site() -> Site {
    let source = |sender: &Sender| {
        format!(
            "[sources.{0}-sdk]\nprovider = \"{0}\"\nsecrets = [{{ file = \"{0}\" }}]\n\
             public_url = \"{PUBLIC}\"\n\n",
            sender.sdk
        )
    };
    let site = Site::new("", &SENDERS.iter().map(source).collect::<String>());
    for sender in &SENDERS {
        let file = site.path(sender.sdk);
        fs::write(&file, sender.secret).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    site
}

/// Text of any characters, control characters included.
fn text(rng: &mut StdRng, characters: usize) -> String {
    let any = |rng: &mut StdRng| match rng.random_range(0..4) {
        0 => rng.random_range(' '..='~'),
        1 => rng.random_range('\0'..='\u{ff}'),
        2 => rng.random_range('\u{100}'..='\u{d7ff}'),
        _ => rng.random_range('\u{1f300}'..='\u{1faff}'),
    };
    (0..characters).map(|_| any(rng)).collect()
}

/// Bodies of every kind: none, one byte, text, JSON, large.
fn bodies(rng: &mut StdRng) -> Vec<String> {
    let mut bodies = vec![String::new(), "0".to_owned(), "\u{feff}{}".to_owned()];
    let large = text(rng, LARGE_BYTES / 4);
    bodies.push(json!({ "id": "large", "text": large }).to_string());
    while bodies.len() < BODIES {
        let (id, characters) = (rng.random::<u64>(), rng.random_range(0..200));
        let text = text(rng, characters);
        bodies.push(match bodies.len() % 2 {
            0 => text,
            _ => json!({ "id": format!("evt_{id:x}"), "type": "some.type", "text": text })
                .to_string(),
        });
    }
    bodies
}

/// Fields of a form with names of their own.
fn fields(rng: &mut StdRng) -> Value {
    let count = rng.random_range(1..12);
    let field = |n: usize| json!([format!("Field {}&{n}", n * 7 % 5), text(rng, n * 3)]);
    (0..count).map(field).collect()
}

fn now_unix() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// What a library is asked to sign for a sender.
fn questions(rng: &mut StdRng, sender: &Sender) -> Vec<Value> {
    let bodies = bodies(rng).into_iter();
    let asked = bodies.map(|body| {
        let number: u64 = rng.random();
        let fields = match sender.sdk == "twilio" && number.is_multiple_of(2) {
            true => fields(rng),
            false => Value::Null,
        };
        json!({
            "sdk": sender.sdk, "secret": sender.secret, "unix": now_unix(),
            "url": format!("{PUBLIC}/in/{}-sdk?n={number}", sender.sdk),
            "id": format!("msg_{number:x}"), "body": STANDARD.encode(body), "fields": fields,
        })
    });
    asked.collect()
}

/// The status that a request is answered with, on a connection of its own.
async fn post(address: SocketAddr, signed: &Signed) -> u16 {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = Request::post(signed.url.strip_prefix(PUBLIC).unwrap());
    request = request.header("host", "creel.internal");
    for (name, value) in &signed.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(bytes::Bytes::from(signed.body.clone())));
    let answer = sender.send_request(request.unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    connection.abort();
    status
}

/// What libraries do not sign: Slack's and Shopify's exist for one language only, and some take an
/// empty body for a missing one.
fn may_leave_out(language: Language, sdk: &str, body_bytes: usize) -> bool {
    match (language, sdk) {
        (Language::Node, "slack") | (Language::Python, "github" | "shopify") => true,
        (Language::Node, "github") => body_bytes == 0,
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_senders_own_libraries_sign_is_accepted_and_any_flipped_bit_refused() {
    let test = "what_the_senders_own_libraries_sign_is_accepted_and_any_flipped_bit_refused";
    let Some(libraries) = Libraries::or_left_out(test) else {
        return;
    };
    let mut rng = Seed::of(test).rng();
    let site = site();
    let mut receiver = Receiver::start(&site).await;
    let (mut accepted, mut refused) = (0u32, 0u32);
    for (sender, language) in SENDERS
        .iter()
        .flat_map(|sender| Language::ALL.map(|language| (sender, language)))
    {
        let asked = questions(&mut rng, sender);
        for (ask, signed) in asked.iter().zip(libraries.sign(language, &asked)) {
            let what = format!("{} by {language:?}: {}", sender.sdk, ask["id"]);
            let body_bytes = ask["body"].as_str().unwrap().len();
            let signed = match signed {
                Ok(signed) => signed,
                Err(why) => {
                    assert!(
                        may_leave_out(language, sender.sdk, body_bytes),
                        "{what}: {why}"
                    );
                    continue;
                }
            };
            let other_body = with_other_body(&mut rng, &signed);
            let other_signature = sender.signature.changed(&mut rng, &signed);
            let other_time = sender.time.map(|time| time.changed(&mut rng, &signed));
            for lie in [other_body, other_signature].into_iter().chain(other_time) {
                let status = post(receiver.public, &lie).await;
                assert_eq!(status, 401, "{what}: {lie:?}");
                refused += 1;
            }
            let status = post(receiver.public, &signed).await;
            assert_eq!(status, 200, "{what}: {signed:?}");
            accepted += 1;
        }
    }
    println!("{accepted} accepted, {refused} with one bit changed refused");
    assert!(accepted >= 11 * (BODIES as u32 - 1), "only {accepted}");
    let ended = receiver.terminate(Duration::from_secs(20)).await;
    assert_eq!(ended.code(), Some(0));
}

/// What `creel send` sent, as the sender's library is given it.
async fn sent(site: &Site, sink: &Sink, sender: &Sender) -> Vec<Signed> {
    let before = sink.count();
    let url = format!("http://{}/in/{}-sdk", sink.address(), sender.sdk);
    let source = format!("{}-sdk", sender.sdk);
    let arguments = ["send", &source, "--url", &url, "--count", "4"];
    let exit = Process::run(
        "creel send",
        site.creel(&arguments),
        Duration::from_secs(60),
    )
    .await;
    assert_eq!(exit.code(), Some(0), "{}: {}", sender.sdk, exit.stderr);
    let arrivals = sink.arrivals().split_off(before);
    let signed = arrivals.into_iter().map(|arrival| Signed {
        url: format!("{PUBLIC}{}", arrival.path),
        headers: arrival
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
        body: arrival.body.to_vec(),
    });
    signed.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_creel_send_signs_the_senders_own_libraries_accept() {
    let test = "what_creel_send_signs_the_senders_own_libraries_accept";
    let Some(libraries) = Libraries::or_left_out(test) else {
        return;
    };
    let mut rng = Seed::of(test).rng();
    let site = site();
    let sink = Sink::start(|_| Answer::Status(200)).await;
    let (mut accepted, mut refused) = (0u32, 0u32);
    for sender in &SENDERS {
        let good = sent(&site, &sink, sender).await;
        assert_eq!(good.len(), 4, "{}", sender.sdk);
        let bad = good.iter().map(|signed| with_other_body(&mut rng, signed));
        let all: Vec<Signed> = bad.chain(good.iter().cloned()).collect();
        let asked: Vec<Value> = all
            .iter()
            .map(|one| one.asked(sender.sdk, sender.secret))
            .collect();
        for language in Language::ALL {
            let verdicts = libraries.verify(language, &asked);
            for (at, verdict) in verdicts.into_iter().enumerate() {
                let Some(verdict) = verdict else {
                    let checks_nothing = language == Language::Python;
                    assert!(checks_nothing && ["github", "shopify"].contains(&sender.sdk));
                    continue;
                };
                assert_eq!(
                    verdict,
                    at >= 4,
                    "{} by {language:?}: {:?}",
                    sender.sdk,
                    all[at]
                );
                if verdict { accepted += 1 } else { refused += 1 }
            }
        }
    }
    println!("{accepted} accepted, {refused} with one bit changed refused");
    assert_eq!((accepted, refused), (48, 48));
}
