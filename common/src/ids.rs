//! Names of things: the log's id, offsets, delivery ids, lease ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The place of a delivery in the log. Starts at 1, grows by one, is never used twice.
pub type Offset = u64;

/// The random name of a log, made at creation and renewed on restore.
///
/// Written as 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LogId(u64);

impl LogId {
    /// A log id from random bits; the caller brings the dice.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits behind the name.
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// The public name of a delivery: `<log id>-<offset>`. A look-up needs no index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct DeliveryId {
    /// The log that took the delivery in.
    pub log: LogId,
    /// Its place there.
    pub offset: Offset,
}

/// A text that is no id of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not {1}")]
pub struct NotAnId(String, &'static str);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({self})")
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.log, self.offset)
    }
}

impl FromStr for LogId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let wrong = || NotAnId(text.to_owned(), "a log id (16 hexadecimal digits)");
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| wrong())
    }
}

impl FromStr for DeliveryId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let wrong = || NotAnId(text.to_owned(), "a delivery id (<log id>-<offset>)");
        let (log, offset) = text.split_once('-').ok_or_else(wrong)?;
        Ok(Self {
            log: log.parse().map_err(|_| wrong())?,
            offset: offset.parse().map_err(|_| wrong())?,
        })
    }
}

/// The name of a request in quarantine; grows in order of arrival, is never given twice.
///
/// Written as `q-` and hexadecimal digits.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct QuarantineId(pub u64);

impl fmt::Display for QuarantineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "q-{:x}", self.0)
    }
}

impl FromStr for QuarantineId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let wrong = || {
            let what = "the id of a request in quarantine (q-<hexadecimal digits>)";
            NotAnId(text.to_owned(), what)
        };
        let digits = text.strip_prefix("q-").ok_or_else(wrong)?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u64::from_str_radix(digits, 16)
            .map(Self)
            .map_err(|_| wrong())
    }
}

impl From<QuarantineId> for String {
    fn from(id: QuarantineId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for QuarantineId {
    type Error = NotAnId;
    fn try_from(text: String) -> Result<Self, NotAnId> {
        text.parse()
    }
}

impl From<LogId> for String {
    fn from(id: LogId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for LogId {
    type Error = NotAnId;
    fn try_from(text: String) -> Result<Self, NotAnId> {
        text.parse()
    }
}

impl From<DeliveryId> for String {
    fn from(id: DeliveryId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for DeliveryId {
    type Error = NotAnId;
    fn try_from(text: String) -> Result<Self, NotAnId> {
        text.parse()
    }
}

#[cfg(feature = "openapi")]
mod openapi {
    //! Ids are text on the wire.
    use super::{DeliveryId, LogId, QuarantineId};
    use utoipa::openapi::RefOr;
    use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
    use utoipa::{PartialSchema, ToSchema};

    fn text(example: &str) -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .examples([example])
            .build()
            .into()
    }

    impl PartialSchema for LogId {
        fn schema() -> RefOr<Schema> {
            text("00c0ffee00c0ffee")
        }
    }
    impl ToSchema for LogId {}

    impl PartialSchema for DeliveryId {
        fn schema() -> RefOr<Schema> {
            text("00c0ffee00c0ffee-42")
        }
    }
    impl ToSchema for DeliveryId {}

    impl PartialSchema for QuarantineId {
        fn schema() -> RefOr<Schema> {
            text("q-690b6f3c1f400")
        }
    }
    impl ToSchema for QuarantineId {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_id_reads_back_what_it_wrote() {
        let id = DeliveryId {
            log: LogId::from_bits(0xab),
            offset: 42,
        };
        assert_eq!(id.to_string(), "00000000000000ab-42");
        assert_eq!(id.to_string().parse::<DeliveryId>().unwrap(), id);
    }

    #[test]
    fn the_id_of_a_quarantined_request_reads_back_what_it_wrote() {
        let id = QuarantineId(0x0069_0b6f_3c1f_4001);
        assert_eq!(id.to_string(), "q-690b6f3c1f4001");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "q-", "q-+1", "690b", "q-x", "q-11112222333344445"] {
            assert!(text.parse::<QuarantineId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_id_is_refused() {
        for text in [
            "",
            "-",
            "ab-1",
            "00000000000000ab",
            "00000000000000ab-",
            "00000000000000ab--1",
            "00000000000000zz-1",
        ] {
            assert!(text.parse::<DeliveryId>().is_err(), "{text}");
        }
    }
}
