//! X.509 certificates, as far as a signature needs them: the key, whose it is, and until when.
//!
//! No chain is followed: a certificate comes over TLS from a host that the pack pins, and that
//! connection was checked against the machine's roots.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::der::{self, OBJECT, SEQUENCE};
use super::reason::Reason;

const UTC_TIME: u8 = 0x17;
const GENERAL_TIME: u8 = 0x18;
const SET: u8 = 0x31;
/// `[0]`, around the version.
const VERSION: u8 = 0xa0;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// What is read of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// `SubjectPublicKeyInfo`.
    pub public_key: Vec<u8>,
    pub common_name: Option<String>,
    not_before_unix_ms: i64,
    not_after_unix_ms: i64,
}

impl Certificate {
    /// The first certificate of a PEM text, or one in DER.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes.first() {
            Some(&SEQUENCE) => Self::read(bytes),
            _ => Self::read(&pem(std::str::from_utf8(bytes).ok()?)?),
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (outer, _) = der::element(bytes, SEQUENCE)?;
        let (rest, _) = der::element(outer, SEQUENCE)?;
        let rest = der::element(rest, VERSION).map_or(rest, |(_, rest)| rest);
        // serial number, signature algorithm, issuer
        let rest = (0..3).try_fold(rest, |rest, _| der::whole(rest).map(|(_, rest)| rest))?;
        let (validity, rest) = der::element(rest, SEQUENCE)?;
        let (not_before, validity) = time(validity)?;
        let (not_after, _) = time(validity)?;
        let (subject, rest) = der::element(rest, SEQUENCE)?;
        let (public_key, _) = der::whole(rest)?;
        der::algorithm(public_key)?;
        Some(Self {
            public_key: public_key.to_vec(),
            common_name: common_name(subject),
            not_before_unix_ms: not_before,
            not_after_unix_ms: not_after,
        })
    }

    /// # Errors
    /// [`Reason::KeyNotValid`] outside of its time.
    pub fn valid_at(&self, unix_ms: i64) -> Result<(), Reason> {
        match (self.not_before_unix_ms..=self.not_after_unix_ms).contains(&unix_ms) {
            true => Ok(()),
            false => Err(Reason::KeyNotValid),
        }
    }
}

fn pem(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let joined: String = body.split_whitespace().collect();
    STANDARD.decode(joined).ok()
}

/// The last common name, which is the most specific.
fn common_name(mut subject: &[u8]) -> Option<String> {
    let mut found = None;
    while let Some((set, rest)) = der::element(subject, SET) {
        subject = rest;
        let Some((pair, _)) = der::element(set, SEQUENCE) else {
            continue;
        };
        let Some((object, value)) = der::element(pair, OBJECT) else {
            continue;
        };
        if object == COMMON_NAME {
            let (_, text, _) = der::any(value)?;
            found = Some(String::from_utf8(text.to_vec()).ok()?);
        }
    }
    found
}

/// Milliseconds since 1970, and the remainder.
fn time(text: &[u8]) -> Option<(i64, &[u8])> {
    let (tag, digits, rest) = der::any(text)?;
    let digits = std::str::from_utf8(digits).ok()?.strip_suffix('Z')?;
    let (year, rest_of_it) = match tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            // RFC 5280, 4.1.2.5.1
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERAL_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest_of_it.len() != 10 || !rest_of_it.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |at: usize| rest_of_it[at..at + 2].parse::<i8>().ok();
    let civil = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    let instant = TimeZone::UTC.to_timestamp(civil).ok()?;
    Some((instant.as_millisecond(), rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The certificate of a vector.
    fn pem_of(vectors: &str) -> String {
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        let certs = vectors[0]["config"]["certs"].as_object().unwrap();
        certs.values().next().unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn key_name_and_time_are_read() {
        let pem = pem_of(include_str!("../../tests/vectors/paypal.json"));
        let read = Certificate::parse(pem.as_bytes()).unwrap();
        assert_eq!(
            read.common_name.as_deref(),
            Some("messageverificationcerts.paypal.com")
        );
        assert_eq!(der::algorithm(&read.public_key), Some(der::RSA));
        let (first, last) = (read.not_before_unix_ms, read.not_after_unix_ms);
        assert!(first < last);
        for (at, valid) in [
            (first, true),
            (last, true),
            (first - 1, false),
            (last + 1, false),
        ] {
            assert_eq!(read.valid_at(at).is_ok(), valid, "{at}");
        }
        assert_eq!(Certificate::parse(&super::pem(&pem).unwrap()), Some(read));
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            at in any::<prop::sample::Index>(),
            other in any::<u8>(),
        ) {
            Certificate::parse(&bytes);
            let pem = pem_of(include_str!("../../tests/vectors/aws-sns.json"));
            let mut changed = super::pem(&pem).unwrap();
            let at = at.index(changed.len());
            changed[at] = other;
            Certificate::parse(&changed);
            Certificate::parse(&changed[..at]);
        }
    }
}
