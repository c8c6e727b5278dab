//! Requests of the load generator: bodies signed beforehand, one name patched in per request.

use std::fmt::Write as _;

/// The header that names an event; it is not signed, and is delivered as it came.
pub const NAME: &str = "x-github-delivery";

/// How many different bodies there are.
pub const BODIES: usize = 512;

/// Digits of the counter in an event's name.
const DIGITS: usize = 12;

/// Ready requests.
pub struct Requests {
    /// Each with where its counter stands.
    ready: Vec<(Vec<u8>, usize)>,
    /// The same of other event types, each for the numbers that leave this remainder.
    rare: Vec<Rare>,
}

struct Rare {
    every: u64,
    remainder: u64,
    ready: Vec<(Vec<u8>, usize)>,
}

/// A body and how it is signed.
pub struct SignedBody {
    /// The body.
    pub body: Vec<u8>,
    /// The value of `X-Hub-Signature-256`.
    pub signature: String,
}

impl Requests {
    /// Requests as GitHub sends them, to `path`. `run` makes names differ from run to run.
    pub fn new(path: &str, run: u64, bodies: &[SignedBody]) -> Self {
        Self {
            ready: ready(path, run, bodies, "push"),
            rare: Vec::new(),
        }
    }

    /// Lets one in `every`, those whose number leaves `remainder`, be of another event type.
    pub fn with_rare(
        mut self,
        (path, run): (&str, u64),
        bodies: &[SignedBody],
        event: &str,
        (every, remainder): (u64, u64),
    ) -> Self {
        self.rare.push(Rare {
            every,
            remainder,
            ready: ready(path, run, bodies, event),
        });
        self
    }

    /// Writes request number `number` into `out`.
    pub fn write(&self, number: u64, out: &mut Vec<u8>) {
        let rare = self.rare.iter();
        let mut rare = rare.filter(|rare| number % rare.every == rare.remainder);
        let ready = rare.next().map_or(&self.ready, |rare| &rare.ready);
        let index = usize::try_from(number).unwrap_or(0) % ready.len();
        let (bytes, at) = &ready[index];
        out.clear();
        out.extend_from_slice(bytes);
        put_hex(&mut out[*at..*at + DIGITS], number);
    }
}

/// The number of the request that an event's name was patched into.
pub fn number(name: &str) -> Option<u64> {
    let at = name.len().checked_sub(DIGITS)?;
    u64::from_str_radix(name.get(at..)?, 16).ok()
}

fn ready(path: &str, run: u64, bodies: &[SignedBody], event: &str) -> Vec<(Vec<u8>, usize)> {
    let request = |body| request(path, run, body, event);
    bodies.iter().map(request).collect()
}

fn request(path: &str, run: u64, signed: &SignedBody, event: &str) -> (Vec<u8>, usize) {
    let run = format!("{run:016x}");
    let mut head = String::new();
    // writing to a string cannot fail
    let _ = write!(
        head,
        "POST {path} HTTP/1.1\r\nHost: hooks.example.com\r\nUser-Agent: GitHub-Hookshot/bench\r\n\
         Accept: */*\r\nContent-Type: application/json\r\nX-GitHub-Event: {event}\r\n\
         X-GitHub-Hook-ID: 123456789\r\nX-Hub-Signature-256: {}\r\nContent-Length: {}\r\n\
         X-GitHub-Delivery: {}-{}-{}-8000-",
        signed.signature,
        signed.body.len(),
        &run[..8],
        &run[8..12],
        &run[12..16],
    );
    let at = head.len();
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&[b'0'; DIGITS]);
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(&signed.body);
    (bytes, at)
}

fn put_hex(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

/// Different JSON bodies of exactly `size` bytes (at least 64).
pub fn bodies(size: usize, run: u64) -> Vec<Vec<u8>> {
    (0..BODIES)
        .map(|index| {
            let start =
                format!(r#"{{"ref":"refs/heads/main","run":"{run:016x}","n":{index},"pad":""#);
            let pad = size.saturating_sub(start.len() + 2);
            // neither all the same nor incompressible, like a real body
            let filler = (0..pad).map(|at| b"abcdefghijklmnop"[(at * 7 + at / 64 + index) & 15]);
            start.bytes().chain(filler).chain(*b"\"}").collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_their_size_are_json_and_differ() {
        let all = bodies(1024, 7);
        assert!(all.iter().all(|body| body.len() == 1024));
        assert_ne!(all[0], all[1]);
        let parsed: serde_json::Value = serde_json::from_slice(&all[3]).expect("JSON");
        assert_eq!(parsed["n"], 3);
    }

    #[test]
    fn rare_ones_are_of_another_event_type() {
        let body = |body: &[u8]| SignedBody {
            body: body.to_vec(),
            signature: "sha256=00".into(),
        };
        let bodies = [body(b"{}"), body(b"[]")];
        let requests = Requests::new("/", 1, &bodies);
        let requests = requests.with_rare(("/", 1), &bodies, "issues", (10, 3));
        let of = |number| {
            let mut out = Vec::new();
            requests.write(number, &mut out);
            let text = String::from_utf8(out).expect("text");
            text.contains("X-GitHub-Event: issues\r\n")
        };
        assert_eq!((0..30).filter(|n| of(*n)).collect::<Vec<_>>(), [3, 13, 23]);
    }

    #[test]
    fn two_requests_differ_in_name_and_are_whole() {
        let signed = SignedBody {
            body: b"{}".to_vec(),
            signature: "sha256=00".into(),
        };
        let requests = Requests::new("/in/bench", 1, &[signed]);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        requests.write(0x0abc, &mut one);
        requests.write(0x0abd, &mut two);
        let text = String::from_utf8(one.clone()).expect("text");
        assert!(
            text.contains("X-GitHub-Delivery: 00000000-0000-0001-8000-000000000abc\r\n"),
            "{text}"
        );
        assert!(text.ends_with("\r\n\r\n{}"), "{text}");
        assert_eq!(number("00000000-0000-0001-8000-000000000abc"), Some(0x0abc));
        assert_ne!(one, two);
    }
}
