//! A delivery: one accepted webhook, immutable.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// One header line. The value is bytes: headers are not text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Name in lower case, as the HTTP library hands it on.
    pub name: String,
    /// Value as received; a credential is replaced by its digest before it gets here.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
}

impl Header {
    /// A header line.
    pub fn new(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ({} bytes)", self.name, self.value.len())
    }
}

/// What a delivery is looked up and matched by; the small part that is read often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Name of the source.
    pub source: String,
    /// Event type as the sender names it, if it does.
    pub event_type: Option<String>,
    /// When the request had been received whole.
    pub received_at: Timestamp,
}

/// The sender's own name for a delivery, within its source.
///
/// Present only where the pack declares the id unique per event, or where the
/// source's config names a key. Its event type is the envelope's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdempotencyKey(pub String);

/// The rest of a delivery's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// HTTP method.
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// Header lines in order of their first appearance; repeated names keep all their values.
    pub headers: Vec<Header>,
    /// The sender's address, from trusted proxies where there are any.
    pub remote: Option<IpAddr>,
    /// The sender's own name for the event, shown to people; not necessarily unique.
    pub event_id: Option<String>,
    /// The name under which a repeat is recognised, if there is one.
    pub key: Option<IdempotencyKey>,
    /// Whether the signature covered the body.
    pub body_authenticated: bool,
}

/// One accepted webhook: what was signed is what is stored is what is delivered.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What it is matched by.
    pub envelope: Envelope,
    /// Method, target, headers, names.
    pub head: Head,
    /// The body byte for byte, at most the source's `body_max`.
    pub body: Bytes,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("envelope", &self.envelope)
            .field("head", &self.head)
            .field("body", &format_args!("({} bytes)", self.body.len()))
            .finish()
    }
}
