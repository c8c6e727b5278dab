//! Just enough DER to take a public key out of its `SubjectPublicKeyInfo`.

/// Object identifiers, as encoded.
pub(crate) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
pub(crate) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
pub(crate) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const OBJECT: u8 = 0x06;

/// The key inside `spki`, if it is one of the algorithm `object`.
pub(crate) fn public_key(spki: &[u8], object: &[u8]) -> Option<Vec<u8>> {
    let (outer, rest) = element(spki, SEQUENCE)?;
    if !rest.is_empty() {
        return None;
    }
    let (algorithm, rest) = element(outer, SEQUENCE)?;
    let (found, _) = element(algorithm, OBJECT)?;
    let (bits, rest) = element(rest, BIT_STRING)?;
    let (unused_bits, key) = bits.split_first()?;
    (found == object && *unused_bits == 0 && rest.is_empty()).then(|| key.to_vec())
}

/// Content and remainder of an element of this kind.
fn element(text: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let [found, first, rest @ ..] = text else {
        return None;
    };
    if *found != kind {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 | 0x82 => {
            let count = usize::from(first & 0x7f);
            let (digits, rest) = rest.split_at_checked(count)?;
            let length = digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
