//! Who sent a request and under which address, believing only trusted proxies.
//!
//! `X-Forwarded-*` counts only when the socket's peer is a trusted proxy, and
//! then from the right: each trusted hop vouches for the entry before it. What stands to the left of
//! what such a hop has written is a stranger's, whatever it is: it is not even looked at.
//!
//! `Forwarded` (RFC 7239) is not read, on purpose: a proxy that writes one of the two passes the other
//! on as it came, so of two that are there one is a stranger's.

use std::net::IpAddr;

use http::header::HOST;
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

/// Entries of a forwarded header that are looked at, from the right.
const HOPS_MAX: usize = 32;
/// Longest host name with port.
const HOST_BYTES_MAX: usize = 261;

/// Where a request came from, as far as it can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'r> {
    /// The sender's address.
    pub remote: IpAddr,
    /// That address is a trusted proxy's, which did not say for whom it sends.
    pub is_proxy: bool,
    /// `http` or `https`, as the sender used it.
    pub scheme: &'r str,
    /// Host and port, as the sender used them; empty when there was none.
    pub host: &'r str,
}

impl<'r> Origin<'r> {
    /// Reads where a request came from. `secure` says that the connection was under TLS; `authority`
    /// is the one of an absolute request target, or of HTTP/2.
    pub fn of(
        peer: IpAddr,
        secure: bool,
        headers: &'r HeaderMap,
        authority: Option<&'r str>,
        trusted: &[IpNet],
    ) -> Self {
        let peer = peer.to_canonical();
        let host = authority.or_else(|| text(headers, HOST.as_str()));
        let direct = Self {
            remote: peer,
            is_proxy: false,
            scheme: scheme(secure),
            host: host.unwrap_or_default(),
        };
        if trusted.is_empty() || !is_trusted(peer, trusted) {
            return direct;
        }
        let (remote, hops) = walk(peer, headers, trusted);
        let proto = entry(headers, "x-forwarded-proto", hops);
        let host = entry(headers, "x-forwarded-host", hops).filter(|host| is_host(host));
        Self {
            remote,
            is_proxy: is_trusted(remote, trusted),
            scheme: proto.map_or(direct.scheme, |proto| {
                scheme(proto.eq_ignore_ascii_case("https"))
            }),
            host: host.unwrap_or(direct.host),
        }
    }
}

fn scheme(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
}

/// Whether an address is that of a trusted proxy.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// The first address from the right that is no trusted proxy, and how many proxies stood before it.
fn walk(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> (IpAddr, usize) {
    let mut remote = peer;
    let mut hops = 0;
    for entry in from_the_right(headers, "x-forwarded-for").take(HOPS_MAX) {
        if !is_trusted(remote, trusted) {
            break;
        }
        let Some(address) = address(entry) else { break };
        remote = address;
        hops += 1;
    }
    (remote, hops.max(1))
}

/// What the outermost trusted proxy wrote: `hops` from the right, or the first there is.
fn entry<'r>(headers: &'r HeaderMap, name: &str, hops: usize) -> Option<&'r str> {
    let entry = from_the_right(headers, name).take(hops).last()?;
    std::str::from_utf8(entry).ok()
}

/// The entries of all lines of a header. Bytes: a line that a stranger began with what is no text ends
/// with what a proxy has written.
fn from_the_right<'r>(headers: &'r HeaderMap, name: &str) -> impl Iterator<Item = &'r [u8]> {
    let lines = headers
        .get_all(name)
        .iter()
        .rev()
        .map(HeaderValue::as_bytes);
    lines
        .flat_map(|line| line.rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty())
}

/// `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1` or `[2001:db8::1]:5`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    let bare = text.strip_prefix('[')?.strip_suffix(']')?;
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn is_host(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    text.len() <= HOST_BYTES_MAX && text.bytes().all(known)
}

fn text<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        headers
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_stranger_cannot_forge_where_it_comes_from() {
        let headers = headers(&[
            ("host", "hooks.example.com"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
        ]);
        let nets = ["10.0.0.0/8".parse().unwrap()];
        let origin = Origin::of(ip("203.0.113.9"), false, &headers, None, &nets);
        assert_eq!(origin.remote, ip("203.0.113.9"));
        assert_eq!((origin.scheme, origin.host), ("http", "hooks.example.com"));
    }

    #[test]
    fn what_a_sender_put_before_the_trusted_proxies_is_not_believed() {
        let headers = headers(&[
            ("host", "internal:8080"),
            ("x-forwarded-for", "10.0.0.7, 198.51.100.4"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "hooks.example.com"),
        ]);
        let nets = ["10.0.0.0/8".parse().unwrap()];
        let origin = Origin::of(ip("::ffff:10.0.0.3"), false, &headers, None, &nets);
        assert_eq!(origin.remote, ip("198.51.100.4"));
        assert_eq!((origin.scheme, origin.host), ("https", "hooks.example.com"));
    }

    #[test]
    fn under_tls_it_is_https_unless_a_trusted_proxy_says_otherwise() {
        let nets = ["10.0.0.0/8".parse().unwrap()];
        let plain = headers(&[]);
        let told = headers(&[("x-forwarded-proto", "http")]);
        for (peer, secure, headers, scheme) in [
            ("203.0.113.9", true, &told, "https"),
            ("203.0.113.9", false, &plain, "http"),
            ("10.0.0.3", true, &plain, "https"),
            ("10.0.0.3", true, &told, "http"),
        ] {
            let origin = Origin::of(ip(peer), secure, headers, None, &nets);
            assert_eq!(origin.scheme, scheme, "{peer} {secure}");
        }
    }

    #[test]
    fn nonsense_ends_the_walk() {
        let headers = headers(&[("x-forwarded-for", "198.51.100.4, unknown")]);
        let nets = ["10.0.0.0/8".parse().unwrap()];
        let origin = Origin::of(ip("10.0.0.3"), false, &headers, None, &nets);
        assert_eq!(origin.remote, ip("10.0.0.3"));
    }

    /// The address seen by a receiver that trusts `10.0.0.0/8`, of which its peer is.
    fn seen(lines: &[&[u8]]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line).unwrap();
            headers.append("x-forwarded-for", value);
        }
        let nets = ["10.0.0.0/8".parse().unwrap()];
        let origin = Origin::of(ip("10.0.0.3"), false, &headers, None, &nets);
        (origin.remote.to_string(), origin.is_proxy)
    }

    #[test]
    fn whatever_a_stranger_wrote_what_the_proxy_wrote_after_it_counts() {
        let sender = ("198.51.100.4".to_owned(), false);
        let proxy = ("10.0.0.3".to_owned(), true);
        let cases: [(&[&[u8]], _); 12] = [
            (&[b"198.51.100.4"], &sender),
            (&[b"10.9.9.9, 198.51.100.4"], &sender),
            (&[b"10.9.9.9", b"198.51.100.4"], &sender),
            (&[b"10.9.9.9", b"198.51.100.4:4711, 10.0.0.2"], &sender),
            (&[b"10.9.9.9, \xff\xfe, 198.51.100.4"], &sender),
            (&[b"\xff", b"198.51.100.4"], &sender),
            (&[b",, ,", b" 198.51.100.4 ,"], &sender),
            (&[b"[::ffff:198.51.100.4]:80"], &sender),
            (&[], &proxy),
            (&[b"198.51.100.4, \xff"], &proxy),
            (&[b"198.51.100.4, unknown"], &proxy),
            (&[b"198.51.100.4, for=10.0.0.2"], &proxy),
        ];
        for (lines, expected) in cases {
            assert_eq!(&seen(lines), expected, "{lines:?}");
        }
        let (of_six, _) = seen(&[b"10.9.9.9, [2001:db8::7]:9, 10.0.0.2"]);
        assert_eq!(of_six, "2001:db8::7");
        let long = vec![b"10.0.0.2, ".as_slice(); 5000].concat();
        assert_eq!(seen(&[b"198.51.100.4,", &long]).0, "10.0.0.2");
    }

    #[test]
    fn the_other_header_is_not_believed_from_anybody() {
        let headers = headers(&[
            (
                "forwarded",
                "for=198.51.100.4;proto=https;host=evil.example",
            ),
            ("host", "hooks.example.com"),
        ]);
        let nets = ["10.0.0.0/8".parse().unwrap()];
        let origin = Origin::of(ip("10.0.0.3"), false, &headers, None, &nets);
        assert_eq!(origin.remote, ip("10.0.0.3"));
        assert_eq!((origin.scheme, origin.host), ("http", "hooks.example.com"));
    }

    #[test]
    fn ports_and_brackets_are_no_part_of_an_address() {
        for text in ["192.0.2.1", "192.0.2.1:99"] {
            assert_eq!(address(text.as_bytes()), Some(ip("192.0.2.1")));
        }
        for text in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:9"] {
            assert_eq!(address(text.as_bytes()), Some(ip("2001:db8::1")));
        }
        for text in [
            "a",
            "192.0.2.1:",
            "192.0.2.1:x",
            "[192.0.2.1",
            "010.0.2.1",
            "1.2.3",
        ] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
        for text in [
            "fe80::1%eth0",
            "[2001:db8::1",
            "\"[2001:db8::1]\"",
            "_hidden",
        ] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
    }
}
