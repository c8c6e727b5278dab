//! Sample deliveries.

use bytes::Bytes;

use crate::delivery::{Delivery, Envelope, Head, Header, IdempotencyKey};
use crate::time::Timestamp;

/// A delivery of a source with a body and nothing special.
pub fn delivery(source: &str, body: impl Into<Bytes>, at: Timestamp) -> Delivery {
    Delivery {
        envelope: Envelope {
            source: source.to_owned(),
            event_type: Some("push".to_owned()),
            received_at: at,
        },
        head: Head {
            method: "POST".to_owned(),
            target: format!("/in/{source}"),
            headers: vec![Header::new("content-type", "application/json")],
            remote: None,
            event_id: None,
            key: None,
            body_authenticated: true,
        },
        body: body.into(),
    }
}

/// The same with an idempotency key.
pub fn keyed(source: &str, key: &str, body: impl Into<Bytes>, at: Timestamp) -> Delivery {
    let mut delivery = delivery(source, body, at);
    delivery.head.key = Some(IdempotencyKey(key.to_owned()));
    delivery
}

/// The same of another event type.
pub fn of_event(mut delivery: Delivery, event: &str) -> Delivery {
    delivery.envelope.event_type = Some(event.to_owned());
    delivery
}
