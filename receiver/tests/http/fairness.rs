//! What one sender takes, and what is left for the others: rates, networks, memory, places in line,
//! connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use creel_common::config::Rate;
use creel_common::delivery::Delivery;
use creel_common::log::{Actor, AppendError, Appended, Intake};
use creel_common::testkit::clock::ManualClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use super::client::{Answer, exchange, github, read_to_end, request};
use super::setup::{Changes, OPERATE, Running, start, start_with};

const FORWARDED: &str = "x-forwarded-for";

fn rate(per_second: f64, burst: u32) -> Option<Rate> {
    Some(Rate { per_second, burst })
}

fn open(headers: &[(&str, &str)]) -> Vec<u8> {
    request("POST", "/in/open", headers, b"x")
}

fn to_tok(body: &[u8]) -> Vec<u8> {
    request(
        "POST",
        "/in/tok",
        &[("x-token", "canary-static-token")],
        body,
    )
}

async fn status(creel: &Running, request: &[u8]) -> u16 {
    exchange(creel.public, request).await.status
}

/// The same from another address of this machine.
async fn exchange_from(address: &str, to: SocketAddr, request: &[u8]) -> Option<Answer> {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(address.parse().unwrap(), 0))
        .unwrap();
    let mut stream = socket.connect(to).await.ok()?;
    stream.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    (!answer.is_empty()).then(|| Answer::parse(&answer))
}

async fn refused(creel: &Running, source: &str, reason: &str) -> f64 {
    let line = format!("creel_refused_total{{source=\"{source}\",reason=\"{reason}\"}}");
    creel.metric(&line).await
}

/// Row 17: per source.
#[tokio::test]
async fn a_source_over_its_rate_is_told_when_to_come_back_and_another_is_not_affected() {
    let clock = Arc::new(ManualClock::default());
    let creel = start_with(Changes {
        config: |config| config.sources.get_mut("open").unwrap().rate = rate(0.5, 5),
        clock: clock.clone(),
        ..Changes::default()
    })
    .await;
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(status(&creel, &open(&[])).await);
    }
    assert_eq!(statuses, [[200; 5], [429; 5]].concat());
    let over = exchange(creel.public, &open(&[])).await;
    assert_eq!((over.status, over.header("retry-after")), (429, Some("2")));
    assert_eq!(over.body, r#"{"error":"too many requests"}"#);
    assert_eq!(status(&creel, &to_tok(b"x")).await, 200);
    assert_eq!(status(&creel, &github("1", b"{}")).await, 200);
    assert_eq!(refused(&creel, "open", "rate").await, 6.0);
    clock.advance(Duration::from_secs(2));
    assert_eq!(status(&creel, &open(&[])).await, 200);
    assert_eq!(status(&creel, &open(&[])).await, 429);
    assert_eq!(creel.deliveries(), 8);
    creel.finish().await;
}

#[tokio::test]
async fn a_sender_that_comes_back_for_503_alone_is_told_503() {
    let creel = start_with(Changes {
        config: |config| {
            let again = config.sources["gh"].clone();
            config.sources.insert("bitbucket".into(), again);
            let added = config.sources.get_mut("bitbucket").unwrap();
            (added.name, added.provider) = ("bitbucket".into(), "bitbucket".into());
            for source in config.sources.values_mut() {
                source.rate_per_address = rate(0.001, 1);
            }
        },
        clock: Arc::new(ManualClock::default()),
        ..Changes::default()
    })
    .await;
    let over = async |path: &str| {
        let request = request("POST", path, &[], b"");
        exchange(creel.public, &request).await;
        exchange(creel.public, &request).await
    };
    // by what their packs say: for nothing; for 4xx as for 5xx; for 5xx
    for (path, status) in [("/in/gh", 429), ("/in/slack", 429), ("/in/bitbucket", 503)] {
        let answer = over(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("retry-after"), Some("1000"), "{path}");
    }
    creel.finish().await;
}

#[tokio::test]
async fn a_stranger_uses_up_nothing_of_a_sources_rate() {
    let creel = start_with(Changes {
        config: |config| config.sources.get_mut("gh").unwrap().rate = rate(0.001, 2),
        clock: Arc::new(ManualClock::default()),
        ..Changes::default()
    })
    .await;
    let lie = request(
        "POST",
        "/in/gh",
        &[("x-hub-signature-256", "sha256=00")],
        b"{}",
    );
    for _ in 0..20 {
        assert_eq!(status(&creel, &lie).await, 401);
    }
    assert_eq!(status(&creel, &github("1", b"{}")).await, 200);
    assert_eq!(status(&creel, &github("2", b"{}")).await, 200);
    // over it now, without a look at the body
    let mut stream = TcpStream::connect(creel.public).await.unwrap();
    let head = b"POST /in/gh HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let answer = Answer::parse(&read_to_end(&mut stream).await);
    assert_eq!(
        (answer.status, answer.header("connection")),
        (429, Some("close"))
    );
    creel.finish().await;
}

/// Row 17: per address.
#[tokio::test]
async fn an_address_over_its_rate_is_refused_for_all_sources_and_another_address_for_none() {
    let clock = Arc::new(ManualClock::default());
    let creel = start_with(Changes {
        config: |config| config.receiver.rate_per_address = rate(1.0, 3),
        clock: clock.clone(),
        ..Changes::default()
    })
    .await;
    let lie = request("POST", "/in/gh", &[], b"{}");
    assert_eq!(status(&creel, &lie).await, 401);
    assert_eq!(status(&creel, &open(&[])).await, 200);
    let nobody = request("POST", "/in/nobody", &[], b"{}");
    assert_eq!(status(&creel, &nobody).await, 401);
    for over in [&lie, &open(&[]), &nobody, &github("1", b"{}")] {
        assert_eq!(status(&creel, over).await, 429);
    }
    let other = exchange_from("127.0.0.2", creel.public, &github("2", b"{}")).await;
    assert_eq!(other.unwrap().status, 200);
    assert_eq!(refused(&creel, "gh", "rate_per_address").await, 2.0);
    assert_eq!(refused(&creel, "-", "rate_per_address").await, 1.0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(status(&creel, &github("3", b"{}")).await, 200);
    creel.finish().await;
}

#[tokio::test]
async fn a_source_may_have_a_rate_per_address_of_its_own() {
    let creel = start_with(Changes {
        config: |config| {
            config.receiver.rate_per_address = rate(1.0, 1);
            config.sources.get_mut("open").unwrap().rate_per_address = rate(1.0, 4);
        },
        clock: Arc::new(ManualClock::default()),
        ..Changes::default()
    })
    .await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(status(&creel, &open(&[])).await);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 429]);
    assert_eq!(status(&creel, &to_tok(b"x")).await, 200);
    assert_eq!(status(&creel, &to_tok(b"x")).await, 429);
    creel.finish().await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_senders_have_a_rate_each_and_the_proxy_has_none() {
    let creel = start_with(Changes {
        config: |config| {
            config.receiver.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
            config.receiver.rate_per_address = rate(1.0, 1);
        },
        clock: Arc::new(ManualClock::default()),
        ..Changes::default()
    })
    .await;
    for sender in ["192.0.2.1", "192.0.2.2", "[2001:db8::1]:80"] {
        assert_eq!(status(&creel, &open(&[(FORWARDED, sender)])).await, 200);
        assert_eq!(status(&creel, &open(&[(FORWARDED, sender)])).await, 429);
    }
    // the same network of 64 bits, and one that says another sender first
    let same = open(&[(FORWARDED, "2001:db8::2")]);
    assert_eq!(status(&creel, &same).await, 429);
    let forged = open(&[(FORWARDED, "192.0.2.77, 192.0.2.1")]);
    assert_eq!(status(&creel, &forged).await, 429);
    // it does not say for whom: nobody is refused for it
    for _ in 0..5 {
        assert_eq!(status(&creel, &open(&[])).await, 200);
    }
    creel.finish().await;
}

/// Row 19.
#[tokio::test]
async fn an_address_in_none_of_a_sources_networks_gets_403() {
    let creel = start_with(Changes {
        config: |config| {
            let source = config.sources.get_mut("open").unwrap();
            source.allow = vec!["127.0.0.1/32".parse().unwrap()];
        },
        ..Changes::default()
    })
    .await;
    assert_eq!(status(&creel, &open(&[])).await, 200);
    let other = exchange_from("127.0.0.2", creel.public, &open(&[])).await;
    let other = other.unwrap();
    assert_eq!(other.status, 403);
    assert_eq!(other.body, r#"{"error":"address not allowed"}"#);
    let elsewhere = exchange_from("127.0.0.2", creel.public, &to_tok(b"x")).await;
    assert_eq!(elsewhere.unwrap().status, 200);
    assert_eq!(refused(&creel, "open", "address").await, 1.0);
    assert_eq!(creel.deliveries(), 2);
    creel.finish().await;
}

/// Row 18.
#[tokio::test]
async fn what_an_untrusted_peer_says_of_its_address_opens_nothing() {
    let creel = start_with(Changes {
        config: |config| {
            let source = config.sources.get_mut("open").unwrap();
            source.allow = vec!["10.0.0.0/8".parse().unwrap()];
        },
        ..Changes::default()
    })
    .await;
    let forge = [
        (FORWARDED, "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("true-client-ip", "10.0.0.1"),
    ];
    assert_eq!(status(&creel, &open(&forge)).await, 403);
    assert_eq!(creel.deliveries(), 0);
    creel.finish().await;
    let told = super::logs::lines_with("reason=\"address\"");
    assert!(told.contains("remote=127.0.0.1"), "{told}");
}

#[tokio::test]
async fn networks_are_about_the_sender_behind_trusted_proxies() {
    let creel = start_with(Changes {
        config: |config| {
            config.receiver.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
            let source = config.sources.get_mut("open").unwrap();
            source.allow = vec!["192.0.2.0/24".parse().unwrap()];
        },
        ..Changes::default()
    })
    .await;
    for (line, expected) in [
        ("192.0.2.9", 200),
        ("198.51.100.1", 403),
        ("192.0.2.9, 198.51.100.1", 403),
        ("198.51.100.1, 192.0.2.9, 127.0.0.9", 200),
        ("192.0.2.9, junk", 403),
    ] {
        let answer = status(&creel, &open(&[(FORWARDED, line)])).await;
        assert_eq!(answer, expected, "{line}");
    }
    assert_eq!(status(&creel, &open(&[])).await, 403);
    creel.finish().await;
}

#[tokio::test]
async fn a_source_that_does_not_exist_has_the_terms_of_one_that_does() {
    let creel = start_with(Changes {
        config: |config| {
            for source in config.sources.values_mut() {
                source.allow = vec!["127.0.0.1/32".parse().unwrap()];
                source.rate_per_address = rate(0.001, 1);
            }
        },
        clock: Arc::new(ManualClock::default()),
        ..Changes::default()
    })
    .await;
    let lie = |path: &str| request("POST", path, &[], b"{}");
    for path in ["/in/gh", "/in/nobody"] {
        let outside = exchange_from("127.0.0.2", creel.public, &lie(path)).await;
        assert_eq!(outside.unwrap().status, 403, "{path}");
    }
    let name = |nth: u32| format!("/in/nobody-{nth}");
    // whichever it is like, it has one request
    let mut answers = Vec::new();
    for nth in 0..40 {
        answers.push(exchange(creel.public, &lie(&name(nth))).await);
    }
    let first = answers.iter().filter(|answer| answer.status == 401).count();
    assert!((1..=4).contains(&first), "{first}");
    let real = exchange(creel.public, &lie("/in/gh")).await;
    let like_it = answers.iter().filter(|answer| **answer == real).count();
    assert!(like_it >= 30, "{real:?}\n{answers:?}");
    creel.finish().await;
}

/// A request to a source of which so many bytes are there and the last one is not.
async fn half(creel: &Running, source: &str, bytes: usize) -> TcpStream {
    let before = creel.metric("creel_bodies_bytes ").await;
    let mut stream = TcpStream::connect(creel.public).await.unwrap();
    let head = format!(
        "POST /in/{source} HTTP/1.1\r\nhost: a\r\nx-token: canary-static-token\r\n\
         content-length: {}\r\n\r\n",
        bytes + 1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; bytes]).await.unwrap();
    while creel.metric("creel_bodies_bytes ").await < before + bytes as f64 {
        tokio::task::yield_now().await;
    }
    stream
}

#[tokio::test]
async fn a_source_that_floods_leaves_memory_for_the_bodies_of_another() {
    let creel = start_with(Changes {
        config: |config| config.receiver.bodies_bytes_max = 1000,
        ..Changes::default()
    })
    .await;
    let mut held = vec![half(&creel, "open", 300).await];
    held.push(half(&creel, "open", 200).await);
    // it has its half; whether what it sends is genuine is not even known yet
    for _ in 0..20 {
        let over = exchange(
            creel.public,
            &request("POST", "/in/open", &[], &[b'y'; 100]),
        )
        .await;
        assert_eq!((over.status, over.header("retry-after")), (503, Some("1")));
        assert_eq!(status(&creel, &to_tok(&[b'z'; 100])).await, 200);
    }
    // and names that do not exist are no way around it
    let guess = request("POST", "/in/guess", &[], &[b'y'; 200]);
    assert_eq!(status(&creel, &guess).await, 401);
    assert_eq!(status(&creel, &to_tok(&[b'z'; 400])).await, 200);
    assert_eq!(refused(&creel, "open", "source_share").await, 20.0);
    assert_eq!(creel.deliveries(), 21);
    drop(held);
    while creel.metric("creel_bodies_bytes ").await > 0.0 {
        tokio::task::yield_now().await;
    }
    let again = request("POST", "/in/open", &[], &[b'y'; 400]);
    assert_eq!(status(&creel, &again).await, 200);
    creel.finish().await;
}

/// A log whose disk does not get to the deliveries of `open`.
struct Slow {
    log: Arc<dyn Intake>,
    gate: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

#[async_trait]
impl Intake for Slow {
    async fn append(&self, new: Delivery) -> Result<Appended, AppendError> {
        if new.envelope.source == "open" {
            self.waiting.add_permits(1);
            let passed = self.gate.acquire().await;
            passed.map_err(|_| AppendError::Stopped)?.forget();
        }
        self.log.append(new).await
    }
}

#[tokio::test]
async fn a_source_that_floods_leaves_places_in_line_for_another() {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::new(Semaphore::new(0));
    let (opens, waits) = (gate.clone(), waiting.clone());
    let creel = start_with(Changes {
        config: |config| config.receiver.waiting_max = 4,
        log: Box::new(move |mut parts| {
            parts.intake = Arc::new(Slow {
                log: parts.intake,
                gate: opens,
                waiting: waits,
            });
            parts
        }),
        ..Changes::default()
    })
    .await;
    let send = || {
        let to = creel.public;
        tokio::spawn(async move { exchange(to, &open(&[])).await.status })
    };
    let held = [send(), send()];
    waiting.acquire_many(2).await.unwrap().forget();
    for _ in 0..10 {
        assert_eq!(status(&creel, &open(&[])).await, 503);
        assert_eq!(status(&creel, &to_tok(b"x")).await, 200);
        assert_eq!(status(&creel, &github("1", b"{}")).await, 200);
    }
    assert_eq!(refused(&creel, "open", "source_share").await, 10.0);
    gate.add_permits(10);
    for one in held {
        assert_eq!(one.await.unwrap(), 200);
    }
    assert_eq!(status(&creel, &open(&[])).await, 200);
    creel.finish().await;
}

#[tokio::test]
async fn an_address_with_too_many_connections_gets_no_more_and_another_gets_its_own() {
    let creel = start_with(Changes {
        config: |config| config.receiver.connections_per_address_max = 2,
        ..Changes::default()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(creel.public).await.unwrap();
        let keep = b"POST /in/open HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx";
        stream.write_all(keep).await.unwrap();
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        assert_eq!(Answer::parse(&answer[..read]).status, 200);
        held.push(stream);
    }
    let third = exchange_from("127.0.0.1", creel.public, &open(&[])).await;
    assert_eq!(third, None);
    let other = exchange_from("127.0.0.2", creel.public, &open(&[])).await;
    assert_eq!(other.unwrap().status, 200);
    assert_eq!(refused(&creel, "-", "connections_per_address").await, 1.0);
    drop(held.pop());
    while creel
        .metric(r#"creel_open_connections{listener="public"}"#)
        .await
        > 1.0
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&creel, &open(&[])).await, 200);
    creel.finish().await;
}

#[tokio::test]
async fn connections_of_a_trusted_proxy_are_not_counted() {
    let creel = start_with(Changes {
        config: |config| {
            config.receiver.connections_per_address_max = 1;
            config.receiver.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        },
        ..Changes::default()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(TcpStream::connect(creel.public).await.unwrap());
    }
    assert_eq!(status(&creel, &open(&[])).await, 200);
    creel.finish().await;
}

#[tokio::test]
async fn rates_and_networks_change_with_a_reload_and_what_is_used_up_stays_so() {
    let creel = start().await;
    let reload = async |more: &str, of_receiver: &str| {
        creel.write_config(|config| {
            let config = config.replace(
                "[sources.open]\nprovider = \"none\"",
                &format!("[sources.open]\nprovider = \"none\"\n{more}"),
            );
            config.replacen("[receiver]", &format!("[receiver]\n{of_receiver}"), 1)
        });
        let actor = Actor {
            who: "mara".into(),
            why: None,
        };
        creel.remote(OPERATE).reload(actor).await.unwrap()
    };
    assert_eq!(status(&creel, &open(&[])).await, 200);
    let view = reload("allow = \"192.0.2.0/24\"", "").await;
    assert_eq!(view.to_string(), "sources ~open");
    assert_eq!(status(&creel, &open(&[])).await, 403);
    reload("rate = \"4/h\"\nburst = 2", "").await;
    assert_eq!(status(&creel, &open(&[])).await, 200);
    reload("rate = \"4/h\"\nburst = 2\nbody_max = \"1KiB\"", "").await;
    assert_eq!(status(&creel, &open(&[])).await, 200);
    assert_eq!(status(&creel, &open(&[])).await, 429);
    reload("", "rate_per_address = \"4/h\"\nburst_per_address = 1").await;
    assert_eq!(status(&creel, &to_tok(b"x")).await, 200);
    assert_eq!(status(&creel, &to_tok(b"x")).await, 429);
    reload("", "").await;
    assert_eq!(status(&creel, &to_tok(b"x")).await, 200);
    creel.finish().await;
}
