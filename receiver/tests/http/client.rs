//! A client that sends exactly the bytes it is given.

use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer, read to the end of its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Header lines in lower case, without `date`.
    pub headers: Vec<String>,
    pub body: String,
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer in {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let mut headers: Vec<String> = lines.map(str::to_lowercase).collect();
        headers.retain(|line| !line.starts_with("date:"));
        Self {
            status: status.parse().unwrap(),
            headers,
            body: body.to_owned(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.headers
            .iter()
            .find_map(|line| line.strip_prefix(&prefix))
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// The same over a connection of the caller's.
pub async fn exchange_over(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
) -> Answer {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // under TLS an end without a farewell is an error, and the answer is there nevertheless
    let _ = stream.read_to_end(&mut answer).await;
    Answer::parse(&answer)
}

/// Sends bytes and reads until the other side closes.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    Answer::parse(&read_to_end(&mut stream).await)
}

pub async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

/// A whole request with its length, on a connection of its own.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: hooks.example.com\r\nconnection: close\r\n\
         content-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}

/// GitHub's signature.
pub fn github_signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// A delivery as GitHub sends it.
pub fn github(id: &str, body: &[u8]) -> Vec<u8> {
    let signature = github_signature(super::setup::GITHUB_SECRET, body);
    let headers = [
        ("x-github-event", "push"),
        ("x-github-delivery", id),
        ("x-hub-signature-256", &signature),
    ];
    request("POST", "/in/gh", &headers, body)
}

/// Twilio's signature of a request without a form.
pub fn twilio_signature(url: &str) -> String {
    use base64::Engine;
    let token = super::setup::TWILIO_TOKEN.as_bytes();
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(token).unwrap();
    mac.update(url.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes())
}
