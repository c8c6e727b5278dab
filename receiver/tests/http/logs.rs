//! What our own log says: the reason of a refusal, and never a secret or a body.

use std::io;
use std::sync::{Mutex, Once};

use super::client::{exchange, github, request};
use super::setup::{OPERATE, WORKER, start};

/// Everything that any test of this program logged, at TRACE.
static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is logged from now on, by all tests: one that comes and goes misses lines.
pub fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(|| Lines)
            .init();
    });
}

/// All of it so far.
pub fn text() -> String {
    String::from_utf8_lossy(&LINES.lock().unwrap()).into_owned()
}

/// The lines so far, of all tests, that have this in them.
pub fn lines_with(part: &str) -> String {
    let all = text();
    let found: Vec<&str> = all.lines().filter(|line| line.contains(part)).collect();
    found.join("\n")
}

#[tokio::test]
async fn refusals_are_told_with_their_reason_and_nothing_secret_is() {
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
    let wrong = [("x-token", "canary-wrong-token")];
    exchange(creel.public, &request("POST", "/in/tok", &wrong, body)).await;
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
    let text = text();
    let told = |words: [&str; 2]| {
        let mut lines = text.lines();
        lines.any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(told(["source=\"tok\"", "reason=\"no_match\""]), "{text}");
    assert!(told(["/in/nobody-here", "reason=\"no_source\""]), "{text}");
    // what the other tests have logged so far is looked at, too
    let ours: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("canary"))
        .collect();
    assert!(ours.is_empty(), "{ours:#?}");
}
