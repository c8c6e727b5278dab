//! Just enough DER to take a public key out of its `SubjectPublicKeyInfo`, to read a certificate, and
//! to write an RSA key.

/// Object identifiers, as encoded.
pub(crate) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
pub(crate) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
pub(crate) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const OBJECT: u8 = 0x06;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

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

/// The algorithm of the key inside `spki`.
pub(crate) fn algorithm(spki: &[u8]) -> Option<&[u8]> {
    let (outer, _) = element(spki, SEQUENCE)?;
    let (algorithm, _) = element(outer, SEQUENCE)?;
    element(algorithm, OBJECT).map(|(object, _)| object)
}

/// Content and remainder of an element of this kind.
pub(crate) fn element(text: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any(text)?;
    (found == kind).then_some((content, rest))
}

/// Kind, content and remainder of an element.
pub(crate) fn any(text: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [kind, first, rest @ ..] = text else {
        return None;
    };
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
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*kind, content, rest))
}

/// An element with all that belongs to it, and the remainder.
pub(crate) fn whole(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, _, rest) = any(text)?;
    Some(text.split_at(text.len() - rest.len()))
}

/// An RSA public key as its modulus and exponent make it; both without a sign, big end first.
pub(crate) fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    written(SEQUENCE, &[number(modulus), number(exponent)].concat())
}

fn number(digits: &[u8]) -> Vec<u8> {
    let from = digits.iter().position(|digit| *digit != 0);
    let digits = &digits[from.unwrap_or(digits.len())..];
    // a first bit that is set would be a sign
    let sign: &[u8] = match digits.first() {
        Some(0..=0x7f) => &[],
        _ => &[0],
    };
    written(INTEGER, &[sign, digits].concat())
}

fn written(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let digits = length.to_be_bytes();
        let from = digits.iter().position(|digit| *digit != 0).unwrap_or(0);
        out.push(0x80 | (digits.len() - from) as u8);
        out.extend_from_slice(&digits[from..]);
    }
    out.extend_from_slice(content);
    out
}
