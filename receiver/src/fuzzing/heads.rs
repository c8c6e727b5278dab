//! Headers of strangers: where a request came from, and heads that can be read in two ways.

use std::net::IpAddr;

use super::message::Message;
use crate::forwarded::{Origin, is_trusted};
use crate::framing::Framing;

/// The peer's address on the first line, headers after it.
pub fn headers(data: &[u8]) {
    framing(data);
    let Some(message) = Message::read(data) else {
        return;
    };
    let peer = std::str::from_utf8(message.first).unwrap_or_default();
    let peer: IpAddr = peer.parse().unwrap_or(IpAddr::from([10, 0, 0, 3]));
    let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network"));
    let origin = Origin::of(peer, false, &message.headers, None, &trusted);
    assert!(["http", "https"].contains(&origin.scheme));
    if !is_trusted(peer.to_canonical(), &trusted) {
        let host = message
            .headers
            .get("host")
            .and_then(|host| host.to_str().ok());
        assert_eq!(origin.remote, peer.to_canonical(), "a stranger is believed");
        assert_eq!(
            (origin.scheme, origin.host),
            ("http", host.unwrap_or_default())
        );
    }
    let nobody = Origin::of(peer, false, &message.headers, None, &[]);
    assert_eq!(nobody.remote, peer.to_canonical());
}

/// However the bytes come, a head that can be read in two ways is seen, and nothing else.
fn framing(data: &[u8]) {
    let piece_bytes = 1 + usize::from(data.first().copied().unwrap_or_default()) % 70;
    let mut framing = Framing::default();
    let pieces = data.chunks(piece_bytes);
    let seen = pieces.fold(false, |_, piece| framing.read(piece));
    assert_eq!(seen, is_doubtful(data));
}

/// The same on a head that is there as a whole: two lengths, or a line that ends without a CR.
fn is_doubtful(data: &[u8]) -> bool {
    let is_empty = |line: &&[u8]| matches!(*line, b"\n" | b"\r\n");
    let lines = data.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.filter(|line| line.ends_with(b"\n"));
    let (mut length, mut encoding, mut bare, mut begun) = (false, false, false, false);
    for line in lines {
        bare |= !line.ends_with(b"\r\n");
        if is_empty(&line) {
            if begun {
                break;
            }
            continue;
        }
        begun = true;
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let named = line.contains(&b':');
        length |= named && name.eq_ignore_ascii_case(b"content-length");
        encoding |= named && name.eq_ignore_ascii_case(b"transfer-encoding");
    }
    bare || length && encoding
}
