//! HTTP/2 frames, as one likes: also those that no client sends.

use std::io;

use creel_common::testkit::certificates::{HOST, Secured};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

/// Kinds of frame (RFC 9113, 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_HEADERS: u8 = 4;

/// A connection over which frames are sent, and nothing of what comes is heeded.
pub struct Frames {
    to: WriteHalf<Secured>,
    reading: JoinHandle<Vec<u8>>,
}

impl Frames {
    /// Greets the server.
    pub async fn begin(stream: Secured) -> io::Result<Self> {
        let (from, mut to) = tokio::io::split(stream);
        to.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        let mut begun = Self {
            to,
            reading: tokio::spawn(kinds(from)),
        };
        begun.send(&frame(SETTINGS, 0, 0, &[])).await?;
        Ok(begun)
    }

    /// Sends whole frames.
    pub async fn send(&mut self, frames: &[u8]) -> io::Result<()> {
        self.to.write_all(frames).await?;
        self.to.flush().await
    }

    /// The kinds of all frames that came, once the server has closed.
    pub async fn heard(self) -> Vec<u8> {
        self.reading.await.expect("the reader does not panic")
    }
}

async fn kinds(mut from: ReadHalf<Secured>) -> Vec<u8> {
    let mut kinds = Vec::new();
    let mut head = [0; 9];
    while from.read_exact(&mut head).await.is_ok() {
        kinds.push(head[3]);
        let bytes = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; bytes as usize];
        if from.read_exact(&mut payload).await.is_err() {
            break;
        }
    }
    kinds
}

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small payload");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The head of `POST /in/github`, packed: names from HPACK's static table, values as they are.
pub fn post() -> Vec<u8> {
    let mut packed = vec![0x83, 0x87];
    for (name, value) in [(0x04, "/in/github"), (0x01, HOST)] {
        packed.extend_from_slice(&[name, u8::try_from(value.len()).expect("short")]);
        packed.extend_from_slice(value.as_bytes());
    }
    packed
}
