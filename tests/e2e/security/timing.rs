//! How long a refusal takes tells nobody which sources there are.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Receiver, Site};

/// Of each kind, in turns.
const REQUESTS: usize = 1000;
/// Most that the medians may differ.
const PART_MAX: f64 = 0.10;

/// A connection that stays, and a request with a signature that nobody made.
struct Guess {
    stream: TcpStream,
    request: Vec<u8>,
}

impl Guess {
    async fn new(address: SocketAddr, source: &str, body: &str) -> Self {
        let request = format!(
            "POST /in/{source} HTTP/1.1\r\nhost: hooks.example.com\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\
             x-hub-signature-256: sha256={}\r\nx-github-event: push\r\n\r\n{body}",
            body.len(),
            "0".repeat(64),
        );
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            request: request.into_bytes(),
        }
    }

    /// From the first byte sent to the last byte of the answer.
    async fn ask(&mut self) -> Duration {
        const END: &[u8] = b"{\"error\":\"not verified\"}";
        let started = Instant::now();
        self.stream.write_all(&self.request).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(END) {
            let read = self.stream.read_buf(&mut answer).await.unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        }
        let took = started.elapsed();
        assert!(answer.starts_with(b"HTTP/1.1 401"));
        took
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_source_takes_as_long_to_refuse_as_a_bad_signature() {
    let _alone = crate::faults::alone().await;
    let site = Site::new("", "");
    let receiver = Receiver::start(&site).await;
    let body = format!("{{\"x\":\"{}\"}}", "a".repeat(1000));
    let mut known = Guess::new(receiver.public, "github", &body).await;
    let mut unknown = Guess::new(receiver.public, "gitnub", &body).await;
    let (mut of_known, mut of_unknown) = (Vec::new(), Vec::new());
    for _ in 0..REQUESTS {
        of_known.push(known.ask().await);
        of_unknown.push(unknown.ask().await);
    }
    let (of_known, of_unknown) = (median(of_known), median(of_unknown));
    println!("a bad signature takes {of_known:?}, an unknown source {of_unknown:?}");
    let apart = of_known.as_secs_f64() / of_unknown.as_secs_f64() - 1.0;
    assert!(apart.abs() <= PART_MAX, "{of_known:?} and {of_unknown:?}");
}
