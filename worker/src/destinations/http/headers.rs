//! Which header lines travel on, and which creel adds.

use creel_common::delivery::Header;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::destinations::Item;

/// Belong to one connection, to its framing or to its host, or are credentials for creel itself.
const DROPPED: [&str; 16] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Never passed on: whoever reads them must know that creel said so.
const DROPPED_PREFIXES: [&str; 3] = ["creel-", "x-forwarded-", "proxy-"];

/// Passed on unless creel signs.
const SIGNED_PREFIX: &str = "webhook-";

/// The sender's header lines that travel on, order and repeats kept.
///
/// # Errors
/// Names the header that no client could send.
pub(super) fn forwarded(lines: &[Header], signing: bool) -> Result<HeaderMap, String> {
    let named = named_by_connection(lines);
    let mut map = HeaderMap::with_capacity(lines.len() + 8);
    for line in lines {
        if is_dropped(&line.name, signing) || named.contains(&line.name) {
            continue;
        }
        let name = HeaderName::from_bytes(line.name.as_bytes())
            .map_err(|_| "a header name cannot be sent".to_owned())?;
        let value = HeaderValue::from_bytes(&line.value)
            .map_err(|_| format!("the value of header `{name}` cannot be sent"))?;
        map.append(name, value);
    }
    Ok(map)
}

/// Adds creel's own: what a receiver needs to recognise repeats.
///
/// # Errors
/// When a name is no header value, which configuration does not let through.
pub(super) fn add_own(map: &mut HeaderMap, item: &Item) -> Result<(), String> {
    let delivery = &item.delivery;
    put(map, "creel-delivery-id", &item.id.to_string())?;
    if let Some(part) = item.id.part {
        put(map, "creel-item", &part.to_string())?;
        // a sender's text that no header can hold is in the body all the same
        let event = delivery.head.event_id.as_deref();
        let _ = event.map(|id| put(map, "creel-event-id", id));
    }
    put(map, "creel-attempt", &item.attempt.to_string())?;
    put(map, "creel-generation", &item.generation.to_string())?;
    put(map, "creel-source", &delivery.envelope.source)?;
    put(
        map,
        "creel-received-at",
        &delivery.envelope.received_at.to_string(),
    )
}

/// Sets one header.
pub(super) fn put(map: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), String> {
    let value =
        HeaderValue::from_str(value).map_err(|_| format!("`{name}` cannot be sent as a header"))?;
    map.insert(HeaderName::from_static(name), value);
    Ok(())
}

/// Whether configuration must not set it. Authorization and Cookie it may: they are the
/// destination's then, not the sender's.
pub(super) fn is_reserved(name: &HeaderName, signing: bool) -> bool {
    let name = name.as_str();
    !matches!(name, "authorization" | "cookie") && is_dropped(name, signing)
}

fn is_dropped(name: &str, signing: bool) -> bool {
    DROPPED.contains(&name)
        || DROPPED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
        || (signing && name.starts_with(SIGNED_PREFIX))
}

/// What `Connection` lines name is for the sender's connection only.
fn named_by_connection(lines: &[Header]) -> Vec<String> {
    lines
        .iter()
        .filter(|line| line.name == "connection")
        .flat_map(|line| line.value.split(|byte| *byte == b','))
        .filter_map(|token| std::str::from_utf8(token).ok())
        .map(|token| token.trim().to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(lines: &[(&str, &[u8])], signing: bool) -> Vec<(String, Vec<u8>)> {
        let lines: Vec<Header> = lines.iter().map(|(n, v)| Header::new(*n, *v)).collect();
        forwarded(&lines, signing)
            .unwrap()
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn order_and_repeats_are_kept_byte_for_byte() {
        let lines: [(&str, &[u8]); 3] = [("x-a", b"1"), ("x-a", b"2"), ("x-b", b"caf\xe9")];
        let expected: Vec<_> = lines
            .iter()
            .map(|(n, v)| ((*n).to_owned(), v.to_vec()))
            .collect();
        assert_eq!(sent(&lines, false), expected);
    }

    #[test]
    fn what_belongs_to_the_senders_connection_stays_behind() {
        let mut lines: Vec<(&str, &[u8])> = DROPPED.iter().map(|name| (*name, &b"x"[..])).collect();
        lines.extend([
            ("connection", &b"close, X-Named"[..]),
            ("x-named", b"1"),
            ("x-forwarded-for", b"10.0.0.1"),
            ("creel-delivery-id", b"forged"),
            ("x-kept", b"1"),
        ]);
        assert_eq!(sent(&lines, false), [("x-kept".to_owned(), b"1".to_vec())]);
    }

    #[test]
    fn the_senders_signature_stays_behind_only_where_creel_signs() {
        let lines: [(&str, &[u8]); 1] = [("webhook-signature", b"v1,abc")];
        assert_eq!(sent(&lines, false).len(), 1);
        assert_eq!(sent(&lines, true).len(), 0);
    }

    #[test]
    fn a_line_break_in_a_value_is_refused() {
        let lines = [Header::new("x-a", "1\r\nx-b: 2")];
        assert!(forwarded(&lines, false).is_err());
    }
}
