//! How deliveries and small records become bytes and back.
//!
//! The only place that knows bincode. Slices only, fixed-width integers, a
//! limit, trailing bytes refused: `deserialize_from` on eight hostile bytes
//! would allocate eight gigabytes.
//!
//! A record is `version u8 · envelope length u32 · envelope · head length u32 ·
//! head · body`, little endian, so that routes are matched by decoding the
//! envelope alone and the body is never copied to be looked at.

use bincode::Options;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::delivery::{Delivery, Envelope, Head};
use crate::time::Timestamp;

/// Version of the record layout.
pub const RECORD_VERSION: u8 = 1;

/// Largest encoded part (envelope, head, state record) that is read: 4 MiB.
pub const PART_BYTES_MAX: u64 = 4 << 20;

/// Bytes that are no record of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a readable record: {0}")]
pub struct CodecError(&'static str);

fn options() -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_little_endian()
        .with_limit(PART_BYTES_MAX)
        .reject_trailing_bytes()
}

/// Encodes a small record (state, envelope, head).
///
/// # Errors
/// When it would be larger than [`PART_BYTES_MAX`].
pub fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    options()
        .serialize(value)
        .map_err(|_| CodecError("too large to encode"))
}

/// Decodes a small record.
///
/// # Errors
/// When the bytes are not exactly one such record.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    options()
        .deserialize(bytes)
        .map_err(|_| CodecError("undecodable"))
}

/// An envelope that borrows from its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct EnvelopeRef<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// Event type.
    pub event_type: Option<&'a str>,
    /// When it was received.
    pub received_at: Timestamp,
}

/// Encodes a delivery.
///
/// # Errors
/// When its head is larger than [`PART_BYTES_MAX`]; listeners bound it far below.
pub fn encode(delivery: &Delivery) -> Result<Vec<u8>, CodecError> {
    let head_guess: usize = delivery
        .head
        .headers
        .iter()
        .map(|h| h.name.len() + h.value.len() + 16)
        .sum();
    let mut out = Vec::with_capacity(256 + head_guess + delivery.body.len());
    out.push(RECORD_VERSION);
    put_part(&mut out, &delivery.envelope)?;
    put_part(&mut out, &delivery.head)?;
    out.extend_from_slice(&delivery.body);
    Ok(out)
}

/// Reads the envelope of a record without touching the rest.
///
/// # Errors
/// When the bytes are no record.
pub fn envelope(record: &[u8]) -> Result<EnvelopeRef<'_>, CodecError> {
    let (part, _) = first_part(record)?;
    options()
        .deserialize(part)
        .map_err(|_| CodecError("undecodable envelope"))
}

/// Reads a whole record; the body shares its memory.
///
/// # Errors
/// When the bytes are no record.
pub fn decode(record: &Bytes) -> Result<Delivery, CodecError> {
    let (envelope, rest) = first_part(record)?;
    let (head, body) = part(rest)?;
    let body_at = record.len() - body.len();
    Ok(Delivery {
        envelope: from_slice::<Envelope>(envelope)?,
        head: from_slice::<Head>(head)?,
        body: record.slice(body_at..),
    })
}

/// Size of the body in a record.
///
/// # Errors
/// When the bytes are no record.
pub fn body_bytes(record: &[u8]) -> Result<usize, CodecError> {
    let (_, rest) = first_part(record)?;
    part(rest).map(|(_, body)| body.len())
}

fn put_part<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Result<(), CodecError> {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    options()
        .serialize_into(&mut *out, value)
        .map_err(|_| CodecError("too large to encode"))?;
    let bytes = u32::try_from(out.len() - at - 4).map_err(|_| CodecError("too large to encode"))?;
    out[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
    Ok(())
}

fn first_part(record: &[u8]) -> Result<(&[u8], &[u8]), CodecError> {
    match record.split_first() {
        Some((&RECORD_VERSION, rest)) => part(rest),
        Some(_) => Err(CodecError("another record version")),
        None => Err(CodecError("empty")),
    }
}

fn part(bytes: &[u8]) -> Result<(&[u8], &[u8]), CodecError> {
    let (len, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or(CodecError("cut short"))?;
    let len = u32::from_le_bytes(*len) as usize;
    rest.split_at_checked(len).ok_or(CodecError("cut short"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Header, IdempotencyKey};
    use proptest::prelude::*;

    fn sample(body: &'static [u8]) -> Delivery {
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
            body: Bytes::from_static(body),
        }
    }

    #[test]
    fn a_delivery_reads_back_byte_for_byte() {
        for body in [&b""[..], b"x", b"\x00\xff\xfe"] {
            let delivery = sample(body);
            let record = Bytes::from(encode(&delivery).unwrap());
            assert_eq!(decode(&record).unwrap(), delivery);
            assert_eq!(body_bytes(&record).unwrap(), body.len());
            let envelope = envelope(&record).unwrap();
            assert_eq!(
                (envelope.source, envelope.event_type),
                ("github", Some("push"))
            );
        }
    }

    #[test]
    fn the_record_layout_does_not_change_by_accident() {
        let record = encode(&sample(b"hi")).unwrap();
        assert_eq!(
            hex::encode(&record),
            concat!(
                "0123000000",
                "0600000000000000676974687562", // source
                "010400000000000000707573680068e5cf8b010000",
                "860000000400000000000000",
                "504f53540e000000000000002f696e2f6769746875623f613d310300000000000000",
                "0300000000000000782d6101000000000000003103000000000000",
                "00782d620100000000000000ff0300000000000000782d6101000000000000003201000000",
                "007f00000101020000000000000065310102000000000000006531016869"
            )
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = envelope(&bytes);
            let _ = decode(&Bytes::from(bytes));
        }

        #[test]
        fn a_cut_record_never_reads_as_another(cut in 0usize..100) {
            let record = encode(&sample(b"")).unwrap();
            let cut = cut.min(record.len() - 1);
            prop_assert!(decode(&Bytes::from(record[..cut].to_vec())).is_err());
        }
    }
}
