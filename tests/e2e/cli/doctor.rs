//! `creel doctor`: what stands between a sender and the receiver.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::creel;
use crate::harness::{Exit, Receiver, Site};

const SOON: Duration = Duration::from_secs(30);

/// A proxy that passes each request on as `change` makes it. Answers where it is.
async fn proxy(to: SocketAddr, change: fn(String, Vec<u8>) -> (String, Vec<u8>)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut sender, _)) = listener.accept().await {
            let (head, body) = request(&mut sender).await;
            let (head, body) = change(head, body);
            let mut receiver = TcpStream::connect(to).await.unwrap();
            let head = format!(
                "{head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            receiver.write_all(head.as_bytes()).await.unwrap();
            receiver.write_all(&body).await.unwrap();
            let mut answer = Vec::new();
            receiver.read_to_end(&mut answer).await.unwrap();
            sender.write_all(&answer).await.unwrap();
        }
    });
    url
}

/// Reads a request: its head without lengths, and its body.
async fn request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.unwrap();
        bytes.extend_from_slice(&part[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            assert!(count > 0, "a request that breaks off");
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().ok())?
        });
        let length: usize = length.expect("a request with its length");
        if bytes.len() < end + 4 + length {
            continue;
        }
        let kept = head
            .lines()
            .filter(|line| !line.to_ascii_lowercase().starts_with("content-length"));
        let kept: Vec<&str> = kept.collect();
        return (kept.join("\r\n"), bytes[end + 4..].to_vec());
    }
}

async fn doctor(site: &Site, url: &str) -> (Exit, serde_json::Value) {
    let exit = creel(site, &["doctor", "github", "--url", url, "--json"]).await;
    let findings = serde_json::from_str(&exit.stdout);
    let findings = findings.unwrap_or_else(|_| panic!("{}", exit.stderr));
    (exit, findings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_proxies_change_is_named_and_nothing_is_stored() {
    let site = Site::new("", "");
    let mut receiver = Receiver::start(&site).await;
    let direct = creel(&site, &["doctor", "github"]).await;
    assert_eq!(direct.code(), Some(0), "{}", direct.stderr);
    assert!(
        direct.stdout.contains("nothing was changed"),
        "{}",
        direct.stdout
    );

    let honest = proxy(receiver.public, |head, body| {
        (format!("{head}\r\nx-forwarded-for: 192.0.2.1"), body)
    })
    .await;
    let (exit, found) = doctor(&site, &format!("{honest}/in/github")).await;
    assert_eq!((exit.code(), &found["genuine"]), (Some(0), &true.into()));
    assert_eq!(found["changes"][0]["what"], "header x-forwarded-for");
    let advice = found["advice"][0].as_str().unwrap();
    assert!(advice.contains("receiver.trusted_proxies"), "{advice}");

    let meddling = proxy(receiver.public, |head, mut body| {
        body.push(b'\n');
        (head.replace("x-github-event", "x-other"), body)
    })
    .await;
    let (exit, found) = doctor(&site, &format!("{meddling}/in/github")).await;
    assert_eq!((exit.code(), &found["genuine"]), (Some(1), &false.into()));
    let changes: Vec<&str> = found["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["what"].as_str().unwrap())
        .collect();
    assert_eq!(changes, ["body", "header x-github-event", "header x-other"]);
    assert_eq!(found["seen"]["diagnosis"], "body_changed");

    let elsewhere = proxy(receiver.public, |head, body| {
        (head.replace("/in/github", "/hooks"), body)
    })
    .await;
    let (exit, found) = doctor(&site, &format!("{elsewhere}/in/github")).await;
    assert_eq!((exit.code(), &found["arrived"]), (Some(1), &false.into()));
    assert!(found["advice"][0].as_str().unwrap().contains("404"));

    let read = ["doctor", "github", "--token-file", "tokens/read"];
    let refused = creel(&site, &read).await;
    assert!(
        refused.stderr.contains("does not allow"),
        "{}",
        refused.stderr
    );
    let api = receiver.api(&site, crate::harness::Role::Read);
    assert_eq!(api.get("/v1/log").await.json()["deliveries"], 0);
    let page = api.get("/v1/quarantine").await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 0);
    assert_eq!(receiver.terminate(SOON).await.code(), Some(0));
}
