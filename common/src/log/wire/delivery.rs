//! Deliveries, with their headers and bodies.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{WireError, decode64};
use crate::delivery::{Delivery, Envelope, Head, Header, IdempotencyKey};
use crate::time::Timestamp;

/// One header line in JSON. Exactly one of the values is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HeaderView {
    /// Name in lower case.
    pub name: String,
    /// The value, when it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value in base64, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

impl From<&Header> for HeaderView {
    fn from(header: &Header) -> Self {
        let text = std::str::from_utf8(&header.value).ok().map(str::to_owned);
        Self {
            name: header.name.clone(),
            value_base64: text.is_none().then(|| STANDARD.encode(&header.value)),
            value: text,
        }
    }
}

impl TryFrom<HeaderView> for Header {
    type Error = WireError;
    fn try_from(view: HeaderView) -> Result<Self, WireError> {
        let value = match (view.value, view.value_base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(coded)) => decode64(&coded)?,
            _ => return Err(WireError("a header needs exactly one value")),
        };
        Ok(Self::new(view.name, value))
    }
}

/// A delivery in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeliveryView {
    /// Name of the source.
    pub source: String,
    /// Event type as the sender names it.
    pub event_type: Option<String>,
    /// When the request had been received whole.
    pub received_at: Timestamp,
    /// HTTP method.
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// Header lines in order; credentials are replaced by their digest.
    pub headers: Vec<HeaderView>,
    /// The sender's address.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub remote: Option<IpAddr>,
    /// The sender's own name for the event.
    pub event_id: Option<String>,
    /// The name under which a repeat is recognised.
    pub key: Option<String>,
    /// Whether the signature covered the body.
    pub body_authenticated: bool,
    /// The body in base64; absent where bodies were not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

impl DeliveryView {
    /// Shows a delivery, with or without its body.
    pub fn new(delivery: &Delivery, with_body: bool) -> Self {
        let Delivery {
            envelope,
            head,
            body,
        } = delivery;
        Self {
            source: envelope.source.clone(),
            event_type: envelope.event_type.clone(),
            received_at: envelope.received_at,
            method: head.method.clone(),
            target: head.target.clone(),
            headers: head.headers.iter().map(HeaderView::from).collect(),
            remote: head.remote,
            event_id: head.event_id.clone(),
            key: head.key.as_ref().map(|key| key.0.clone()),
            body_authenticated: head.body_authenticated,
            body_base64: with_body.then(|| STANDARD.encode(body)),
        }
    }
}

impl TryFrom<DeliveryView> for Delivery {
    type Error = WireError;
    fn try_from(view: DeliveryView) -> Result<Self, WireError> {
        let body = view.body_base64.as_deref().unwrap_or_default();
        Ok(Self {
            envelope: Envelope {
                source: view.source,
                event_type: view.event_type,
                received_at: view.received_at,
            },
            head: Head {
                method: view.method,
                target: view.target,
                headers: view
                    .headers
                    .into_iter()
                    .map(Header::try_from)
                    .collect::<Result<_, _>>()?,
                remote: view.remote,
                event_id: view.event_id,
                key: view.key.map(IdempotencyKey),
                body_authenticated: view.body_authenticated,
            },
            body: Bytes::from(decode64(body)?),
        })
    }
}
