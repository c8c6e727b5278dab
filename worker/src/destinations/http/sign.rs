//! Signs requests as the Standard Webhooks specification (v1, symmetric) says.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use creel_common::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;

use super::headers::put;
use crate::destinations::{Item, OpenError};

/// How a Standard Webhooks secret begins; base64 follows.
const PREFIX: &str = "whsec_";

/// Shortest and longest key that the specification allows, in bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Signs with one or several keys; several while one replaces the other.
pub(super) struct Signer {
    keys: Vec<Hmac<Sha256>>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} keys)", self.keys.len())
    }
}

impl Signer {
    /// `None` without a secret.
    ///
    /// # Errors
    /// [`OpenError::BadSecret`] when one is not `whsec_` and 24 to 64 bytes in base64.
    pub(super) fn new(secrets: &[Secret]) -> Result<Option<Self>, OpenError> {
        let keys: Vec<_> = secrets.iter().map(key).collect::<Result<_, _>>()?;
        Ok((!keys.is_empty()).then_some(Self { keys }))
    }

    /// Adds `webhook-id`, `webhook-timestamp` and `webhook-signature`.
    ///
    /// # Errors
    /// When a value is no header value, which cannot come from an id or a time.
    pub(super) fn sign(&self, map: &mut HeaderMap, item: &Item) -> Result<(), String> {
        let id = item.id.to_string();
        let timestamp = (item.started_at.millis() / 1000).to_string();
        let signatures: Vec<String> = self
            .keys
            .iter()
            .map(|key| signature(key, &id, &timestamp, &item.delivery.body))
            .collect();
        put(map, "webhook-id", &id)?;
        put(map, "webhook-timestamp", &timestamp)?;
        put(map, "webhook-signature", &signatures.join(" "))
    }
}

fn key(secret: &Secret) -> Result<Hmac<Sha256>, OpenError> {
    let wrong =
        OpenError::BadSecret("a signing secret must be `whsec_` and 24 to 64 bytes in base64");
    let bytes = secret
        .expose()
        .trim()
        .strip_prefix(PREFIX)
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .filter(|bytes| KEY_BYTES.contains(&bytes.len()));
    match bytes {
        Some(bytes) => Ok(Hmac::new_from_slice(&bytes).expect("HMAC takes keys of any length")),
        None => Err(wrong),
    }
}

fn signature(key: &Hmac<Sha256>, id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = key.clone();
    mac.update(id.as_bytes());
    mac.update(b".");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_reproduced() {
        let key = key(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        assert_eq!(
            signature(
                &key,
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "1614265330",
                br#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_in_another_form_is_refused_and_not_shown() {
        for text in [
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_",
            "whsec_short",
            "whsec_%%%",
        ] {
            let error = Signer::new(&[Secret::new(text)]).unwrap_err().to_string();
            assert!(
                !error.contains("MfKQ") && !error.contains("short"),
                "{error}"
            );
        }
    }
}
