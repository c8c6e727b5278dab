//! What our own log says: the reason of a refusal, and never a secret or a body.

use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

use super::client::{exchange, github, request};
use super::setup::{OPERATE, WORKER, start};

/// Log lines in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn refusals_are_told_with_their_reason_and_nothing_secret_is() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    let told = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();
    let creel = start().await;
    let body = b"{\"x\":\"canary-body\"}";
    exchange(creel.public, &github("1", body)).await;
    let lie = [("x-hub-signature-256", "sha256=canary-signature")];
    exchange(
        creel.public,
        &request("POST", "/in/gh?canary-query", &lie, body),
    )
    .await;
    exchange(creel.public, &request("POST", "/in/nobody-here", &[], body)).await;
    let token = [("x-token", "canary-static-token")];
    exchange(creel.public, &request("POST", "/in/tok", &token, body)).await;
    for token in [WORKER, OPERATE, "canary-unknown"] {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &bearer[..])];
        let url = format!("/v1/routes?token={token}");
        exchange(creel.private, &request("GET", "/v1/routes", &headers, b"")).await;
        exchange(creel.private, &request("GET", &url, &headers, b"")).await;
    }
    let remote = creel.remote(OPERATE);
    creel_common::log::Operate::routes(&remote).await.unwrap();
    creel.finish().await;
    drop(told);
    let text = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    assert!(text.contains("refused: bad_encoding"), "{text}");
    assert!(text.contains("no_source"), "{text}");
    let ours: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("canary"))
        .collect();
    assert!(ours.is_empty(), "{ours:#?}");
}
