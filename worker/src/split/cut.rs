//! From a body to its items: slices of it, byte for byte.

use bytes::Bytes;
use creel_common::config::{Otherwise, Split};
use creel_common::delivery::{Delivery, Envelope, Head, Header};
use creel_common::json::{self, Pointer};
use serde::de::IgnoredAny;

use crate::destinations::{Item, ItemId, Part};

/// Most items of one delivery.
const ITEMS_MAX: usize = 10_000;

/// Longer ids and types of items are taken for none.
const TEXT_BYTES_MAX: usize = 1024;

/// Say something of the whole body that holds for no item.
const OF_THE_BODY: [&str; 5] = [
    "content-digest",
    "content-length",
    "content-md5",
    "digest",
    "repr-digest",
];

const BATCH_OF_CLOUDEVENTS: &[u8] = b"application/cloudevents-batch+json";

/// Knows where the items are.
#[derive(Debug)]
pub(super) struct Cutter {
    path: Pointer,
    /// The pointer as typed, for people.
    shown: String,
    form: Option<String>,
    id: Option<Pointer>,
    event_type: Option<Pointer>,
    otherwise: Otherwise,
    events: Vec<String>,
}

/// What a delivery turned out to be.
pub(super) enum Cut {
    /// Several items, or none.
    Items(Vec<Piece>),
    /// To be sent as it is.
    Whole,
}

/// One item, before it is made ready to be sent.
pub(super) struct Piece {
    body: Bytes,
    id: Option<String>,
    /// `None`: that of the delivery.
    event_type: Option<Option<String>>,
}

impl Cutter {
    pub fn new(split: &Split) -> Result<Self, String> {
        let Some(path) = &split.path else {
            return Err(
                "this creel knows no provider packs: say where the items are, split = { path = \"/…\" }"
                    .into(),
            );
        };
        let pointer = |text: &Option<String>| text.as_deref().map(Pointer::parse).transpose();
        Ok(Self {
            path: Pointer::parse(path)?,
            shown: path.clone(),
            form: split.form.clone(),
            id: pointer(&split.id)?,
            event_type: pointer(&split.event_type)?,
            otherwise: split.otherwise,
            events: split.events.clone(),
        })
    }

    /// The items of a delivery. Takes time by the size of its body.
    ///
    /// # Errors
    /// Why there are none; holds nothing of the body.
    pub fn cut(&self, delivery: &Delivery) -> Result<Cut, String> {
        match self.pieces(&delivery.body) {
            Ok(pieces) => Ok(Cut::Items(pieces)),
            Err(_) if self.otherwise == Otherwise::Whole => Ok(Cut::Whole),
            Err(why) => Err(format!("cannot be split: {why}")),
        }
    }

    fn pieces(&self, body: &Bytes) -> Result<Vec<Piece>, String> {
        let json = match &self.form {
            None => body.clone(),
            Some(field) => field_of(body, field)
                .ok_or_else(|| format!("the body is no form with a field `{field}`"))?,
        };
        let items = json::items(&json, &self.path, ITEMS_MAX + 1);
        let items = items.ok_or_else(|| self.why_none(&json))?;
        if items.len() > ITEMS_MAX {
            return Err(format!("more than {ITEMS_MAX} items"));
        }
        let text = |item: &str, pointer: &Pointer| json::text(item, pointer, TEXT_BYTES_MAX);
        let piece = |item: &str| Piece {
            body: json.slice_ref(item.as_bytes()),
            id: self.id.as_ref().and_then(|at| text(item, at)),
            event_type: self.event_type.as_ref().map(|at| text(item, at)),
        };
        Ok(items.into_iter().map(piece).collect())
    }

    fn why_none(&self, json: &[u8]) -> String {
        match serde_json::from_slice::<IgnoredAny>(json) {
            Ok(_) => format!("no array at `{}`", self.shown),
            Err(_) => "it is not JSON".into(),
        }
    }

    /// Whether the route wants what has this event type.
    pub fn wants(&self, event_type: Option<&str>) -> bool {
        let wanted = |event: &str| self.events.iter().any(|wanted| wanted == event);
        self.events.is_empty() || event_type.is_some_and(wanted)
    }

    /// The header lines of every item: those of the delivery, but for what is said of its body.
    pub fn headers(&self, lines: &[Header]) -> Vec<Header> {
        let kept = lines
            .iter()
            .filter(|line| !OF_THE_BODY.contains(&line.name.as_str()));
        kept.map(|line| match line.name.as_str() {
            "content-type" => Header::new("content-type", self.media_type(&line.value)),
            _ => line.clone(),
        })
        .collect()
    }

    fn media_type(&self, of_all: &[u8]) -> Vec<u8> {
        let kind = of_all.split(|byte| *byte == b';').next().unwrap_or(of_all);
        if self.form.is_some() {
            return b"application/json".to_vec();
        }
        if kind.trim_ascii().eq_ignore_ascii_case(BATCH_OF_CLOUDEVENTS) {
            let parameters = &of_all[kind.len()..];
            return [b"application/cloudevents+json", parameters].concat();
        }
        of_all.to_vec()
    }
}

impl Piece {
    /// Its event type; that of its delivery where items have none of their own.
    pub fn event_type<'a>(&'a self, delivery: &'a Delivery) -> Option<&'a str> {
        match &self.event_type {
            Some(own) => own.as_deref(),
            None => delivery.envelope.event_type.as_deref(),
        }
    }

    /// The item as it is sent.
    pub fn into_item(self, of: &Item, part: Part, headers: &[Header]) -> Item {
        let (envelope, head) = (&of.delivery.envelope, &of.delivery.head);
        let event_type = self.event_type(&of.delivery).map(str::to_owned);
        Item {
            id: ItemId {
                part: Some(part),
                ..of.id
            },
            route: of.route.clone(),
            attempt: of.attempt,
            generation: of.generation,
            started_at: of.started_at,
            delivery: Delivery {
                envelope: Envelope {
                    event_type,
                    ..envelope.clone()
                },
                head: Head {
                    method: head.method.clone(),
                    target: head.target.clone(),
                    headers: headers.to_vec(),
                    remote: head.remote,
                    event_id: self.id,
                    // names the delivery and none of its items
                    key: None,
                    body_authenticated: head.body_authenticated,
                },
                body: self.body,
            },
        }
    }
}

/// The first value of a form's field, decoded.
fn field_of(body: &[u8], field: &str) -> Option<Bytes> {
    url::form_urlencoded::parse(body)
        .find(|(name, _)| name == field)
        .map(|(_, value)| Bytes::from(value.into_owned()))
}

#[cfg(test)]
mod tests {
    use creel_common::testkit::sample;
    use creel_common::time::Timestamp;

    use super::*;

    fn split(path: &str) -> Split {
        Split {
            path: Some(path.into()),
            form: None,
            id: Some("/id".into()),
            event_type: Some("/type".into()),
            otherwise: Otherwise::DeadLetter,
            events: Vec::new(),
        }
    }

    fn delivery(body: &str) -> Delivery {
        let mut delivery = sample::delivery("shop", body.to_owned(), Timestamp(1));
        delivery.envelope.event_type = None;
        delivery
    }

    /// Body, id and type of each.
    fn cut(split: &Split, body: &str) -> Result<Vec<(String, Option<String>, String)>, String> {
        let delivery = delivery(body);
        match Cutter::new(split)?.cut(&delivery)? {
            Cut::Whole => Ok(Vec::new()),
            Cut::Items(pieces) => Ok(pieces
                .into_iter()
                .map(|piece| {
                    let kind = piece.event_type(&delivery).unwrap_or("-").to_owned();
                    let body = String::from_utf8(piece.body.to_vec()).unwrap();
                    (body, piece.id, kind)
                })
                .collect()),
        }
    }

    #[test]
    fn items_are_slices_of_the_body_byte_for_byte() {
        let body = r#"{"events": [ {"id":"a", "type":"x"} , {"id":7},"text",[1, 2] ]}"#;
        let expected = [
            (r#"{"id":"a", "type":"x"}"#, Some("a"), "x"),
            (r#"{"id":7}"#, Some("7"), "-"),
            (r#""text""#, None, "-"),
            ("[1, 2]", None, "-"),
        ];
        let expected = expected
            .map(|(body, id, kind)| (body.to_owned(), id.map(str::to_owned), kind.to_owned()));
        assert_eq!(cut(&split("/events"), body).unwrap(), expected);
    }

    #[test]
    fn what_has_no_array_there_says_why_and_nothing_of_the_body() {
        for (body, why) in [
            (r#"{"events":"canary"}"#, "no array at `/events`"),
            (r#"{"canary":[1]}"#, "no array at `/events`"),
            ("canary", "it is not JSON"),
            (r#"{"events":[canary"#, "it is not JSON"),
        ] {
            let told = cut(&split("/events"), body).unwrap_err();
            assert_eq!(told, format!("cannot be split: {why}"), "{body}");
        }
        let whole = Split {
            otherwise: Otherwise::Whole,
            ..split("/events")
        };
        let cutter = Cutter::new(&whole).unwrap();
        assert!(matches!(cutter.cut(&delivery("canary")), Ok(Cut::Whole)));
    }

    #[test]
    fn a_field_of_a_form_holds_the_items() {
        let form = Split {
            form: Some("mandrill_events".into()),
            ..split("/")
        };
        let body = "a=1&mandrill_events=%5B%7B%22id%22%3A%22x+y%22%7D%2C2%5D";
        let bodies: Vec<String> = cut(&form, body)
            .unwrap()
            .into_iter()
            .map(|(body, ..)| body)
            .collect();
        assert_eq!(bodies, [r#"{"id":"x y"}"#, "2"]);
        let told = cut(&form, "a=1").unwrap_err();
        assert!(
            told.ends_with("no form with a field `mandrill_events`"),
            "{told}"
        );
        let cutter = Cutter::new(&form).unwrap();
        let lines = [Header::new(
            "content-type",
            "application/x-www-form-urlencoded",
        )];
        assert_eq!(
            cutter.headers(&lines),
            [Header::new("content-type", "application/json")]
        );
    }

    #[test]
    fn more_items_than_may_be_are_not_sent_in_part() {
        let many = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
        assert_eq!(cut(&split("/"), &many(ITEMS_MAX)).unwrap().len(), ITEMS_MAX);
        let told = cut(&split("/"), &many(ITEMS_MAX + 1)).unwrap_err();
        assert_eq!(told, "cannot be split: more than 10000 items");
    }

    #[test]
    fn what_is_said_of_the_whole_body_stays_behind() {
        let cutter = Cutter::new(&split("/")).unwrap();
        let lines = [
            Header::new("x-a", "1"),
            Header::new("content-length", "100"),
            Header::new("content-digest", "sha-256=:x:"),
            Header::new(
                "content-type",
                "application/CloudEvents-Batch+json; charset=utf-8",
            ),
            Header::new("x-a", "2"),
        ];
        let kept = [
            Header::new("x-a", "1"),
            Header::new(
                "content-type",
                "application/cloudevents+json; charset=utf-8",
            ),
            Header::new("x-a", "2"),
        ];
        assert_eq!(cutter.headers(&lines), kept);
    }

    #[test]
    fn a_path_that_only_a_pack_knows_is_asked_for() {
        let told = Cutter::new(&Split {
            path: None,
            ..split("/")
        });
        assert!(told.unwrap_err().contains("say where the items are"));
    }
}
