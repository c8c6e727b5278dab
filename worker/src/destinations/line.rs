//! One delivery as one line of JSON, for kinds that write lines.
//!
//! Written straight into a buffer: no tree of values in between.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use creel_common::delivery::Header;
use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use super::Item;

/// Appends the item's line, newline included.
pub(super) fn append(out: &mut Vec<u8>, item: &Item) {
    serde_json::to_writer(&mut *out, &Line(item))
        .expect("writing to memory does not fail, and all keys are texts");
    out.push(b'\n');
}

/// About how long the item's line will be.
pub(super) fn bytes_guess(item: &Item) -> usize {
    512 + item.delivery.body.len() * 5 / 4
}

struct Line<'a>(&'a Item);
struct Headers<'a>(&'a [Header]);
struct HeaderLine<'a>(&'a Header);
struct Encoded<'a>(&'a [u8]);
struct Shown<T>(T);

impl<T: std::fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self(item) = self;
        let (envelope, head) = (&item.delivery.envelope, &item.delivery.head);
        let mut line = to.serialize_struct("Line", 13)?;
        line.serialize_field("id", &Shown(item.id))?;
        if let Some(part) = item.id.part {
            line.serialize_field("item", &Shown(part))?;
        }
        line.serialize_field("source", &envelope.source)?;
        line.serialize_field("route", &*item.route)?;
        line.serialize_field("event_type", &envelope.event_type)?;
        line.serialize_field("event_id", &head.event_id)?;
        line.serialize_field("received_at", &Shown(envelope.received_at))?;
        line.serialize_field("attempt", &item.attempt)?;
        line.serialize_field("generation", &item.generation)?;
        line.serialize_field("method", &head.method)?;
        line.serialize_field("target", &head.target)?;
        line.serialize_field("headers", &Headers(&head.headers))?;
        match std::str::from_utf8(&item.delivery.body) {
            Ok(text) => line.serialize_field("body", text)?,
            Err(_) => line.serialize_field("body_base64", &encoded(&item.delivery.body))?,
        }
        line.end()
    }
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(self.0.len()))?;
        for header in self.0 {
            list.serialize_element(&HeaderLine(header))?;
        }
        list.end()
    }
}

impl Serialize for HeaderLine<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0.value) {
            Ok(text) => (&self.0.name, text).serialize(to),
            Err(_) => (&self.0.name, Encoded(&self.0.value)).serialize(to),
        }
    }
}

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_struct("Encoded", 1)?;
        object.serialize_field("base64", &encoded(self.0))?;
        object.end()
    }
}

fn encoded(bytes: &[u8]) -> Shown<Base64Display<'_, '_, base64::engine::GeneralPurpose>> {
    Shown(Base64Display::new(bytes, &STANDARD))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use creel_common::delivery::{Delivery, Envelope, Head};
    use creel_common::ids::{DeliveryId, LogId};
    use creel_common::time::Timestamp;

    use super::*;
    use crate::destinations::Part;

    fn item(body: &'static [u8]) -> Item {
        Item {
            id: DeliveryId {
                log: LogId::from_bits(1),
                offset: 7,
            }
            .into(),
            route: Arc::from("github-archive"),
            attempt: 2,
            generation: 1,
            started_at: Timestamp(0),
            delivery: Delivery {
                envelope: Envelope {
                    source: "github".into(),
                    event_type: Some("push".into()),
                    received_at: Timestamp(1_700_000_000_120),
                },
                head: Head {
                    method: "POST".into(),
                    target: "/in/github".into(),
                    headers: vec![
                        Header::new("x-a", "1"),
                        Header::new("x-b", b"\xff".to_vec()),
                        Header::new("x-a", "2"),
                    ],
                    remote: None,
                    event_id: None,
                    key: None,
                    body_authenticated: true,
                },
                body: Bytes::from_static(body),
            },
        }
    }

    fn line(body: &'static [u8]) -> String {
        let mut out = Vec::new();
        append(&mut out, &item(body));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_has_every_field_in_its_documented_form() {
        assert_eq!(
            line(b"{\"a\":\"\n\"}"),
            concat!(
                r#"{"id":"0000000000000001-7","source":"github","route":"github-archive","#,
                r#""event_type":"push","event_id":null,"received_at":"2023-11-14T22:13:20.120Z","#,
                r#""attempt":2,"generation":1,"method":"POST","target":"/in/github","#,
                r#""headers":[["x-a","1"],["x-b",{"base64":"/w=="}],["x-a","2"]],"#,
                r#""body":"{\"a\":\"\n\"}"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn the_line_of_an_item_has_its_own_id_and_its_place() {
        let mut part = item(b"{}");
        part.id.part = Some(Part { number: 3, of: 5 });
        let mut out = Vec::new();
        append(&mut out, &part);
        let begins = br#"{"id":"0000000000000001-7-3","item":"3/5","source":"github""#;
        assert!(out.starts_with(begins));
    }

    #[test]
    fn a_body_that_is_no_text_is_written_as_base64() {
        assert!(line(b"\x00\xff").contains(r#""body_base64":"AP8=""#));
        assert!(!line(b"\x00\xff").contains(r#""body":"#));
    }
}
