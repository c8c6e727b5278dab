//! What goes over the wire comes back as it was.

use std::time::Duration;

use bytes::Bytes;

use super::{DeliveryView, HeaderView, LeaseView, Refusal, bounded};
use crate::attempt::{ERROR_BYTES_MAX, RESPONSE_BYTES_MAX, Report};
use crate::delivery::{Delivery, Envelope, Head, Header, IdempotencyKey};
use crate::ids::LogId;
use crate::log::codec;
use crate::log::{Lease, Leased, OperateError, WorkError};
use crate::time::Timestamp;

fn delivery() -> Delivery {
    Delivery {
        envelope: Envelope {
            source: "github".into(),
            event_type: Some("push".into()),
            received_at: Timestamp(1_700_000_000_000),
        },
        head: Head {
            method: "POST".into(),
            target: "/in/github?a=1".into(),
            headers: vec![
                Header::new("x-a", "1"),
                Header::new("x-b", b"\xff".to_vec()),
                Header::new("x-a", "2"),
            ],
            remote: Some([127, 0, 0, 1].into()),
            event_id: Some("e1".into()),
            key: Some(IdempotencyKey("e1".into())),
            body_authenticated: true,
        },
        body: Bytes::from_static(b"\x00\xff"),
    }
}

#[test]
fn a_delivery_survives_json_byte_for_byte() {
    let text = serde_json::to_string(&DeliveryView::new(&delivery(), true)).unwrap();
    let view: DeliveryView = serde_json::from_str(&text).unwrap();
    assert_eq!(Delivery::try_from(view).unwrap(), delivery());
}

#[test]
fn a_lease_shows_its_whole_id_as_text() {
    let lease = Lease {
        id: u64::MAX,
        route: "r".into(),
        expires_in: Duration::from_secs(1),
        items: vec![Leased {
            offset: 9,
            attempt: 1,
            generation: 0,
            record: codec::encode(&delivery()).unwrap().into(),
        }],
    };
    let view = LeaseView::new(LogId::from_bits(1), &lease).unwrap();
    let json = serde_json::to_value(view).unwrap();
    assert_eq!(json["id"], u64::MAX.to_string());
    assert_eq!(json["items"][0]["id"], "0000000000000001-9");
    assert_eq!(json["items"][0]["delivery"]["body_base64"], "AP8=");
}

#[test]
fn errors_come_back_as_what_they_were() {
    for error in [
        WorkError::Stale(u64::MAX),
        WorkError::NoRoute("r".into()),
        WorkError::Unavailable("gone".into()),
        WorkError::Invalid("no".into()),
    ] {
        assert_eq!(WorkError::from(Refusal::from(error.clone())), error);
    }
    for error in [
        OperateError::NotFound("a".into()),
        OperateError::Invalid("b".into()),
        OperateError::Forbidden("c".into()),
        OperateError::Unavailable("d".into()),
    ] {
        assert_eq!(OperateError::from(Refusal::from(error.clone())), error);
    }
}

#[test]
fn a_report_is_cut_to_what_is_kept() {
    let report = bounded(Report {
        error: Some("é".repeat(ERROR_BYTES_MAX)),
        response: vec![0; RESPONSE_BYTES_MAX + 1],
        ..Report::default()
    });
    assert_eq!(report.response.len(), RESPONSE_BYTES_MAX);
    assert_eq!(report.error.unwrap().len(), ERROR_BYTES_MAX);
}

#[test]
fn a_header_with_two_values_is_refused() {
    let view = HeaderView {
        name: "a".into(),
        value: Some("x".into()),
        value_base64: Some("eA==".into()),
    };
    assert!(Header::try_from(view).is_err());
}
