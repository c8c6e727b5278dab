//! What a secret makes of something, which is compared in constant time and in no other way.
//!
//! A [`Tag`] has no `==` and no order, and shows nothing of itself: whoever wants to know whether it is the one that
//! somebody gave asks [`Tag::is`], which looks at every byte. No other file compares secrets, or
//! names the crate that does it here; `receiver/tests/constant_time.rs` reads all of them.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A keyed hash, a digest, or the digest of a credential.
pub(crate) struct Tag(Vec<u8>);

impl Tag {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// SHA-256. Of a credential, so that comparing tells nothing about its length, and none is kept.
    pub fn sha256(of: &[u8]) -> Self {
        Self::new(Sha256::digest(of).as_slice())
    }

    /// Whether `given` is this, whole. The time it takes tells nothing but lengths.
    pub fn is(&self, given: &[u8]) -> bool {
        self.0.ct_eq(given).into()
    }

    /// Whether `credential` is the one that this is the digest of.
    pub fn is_of(&self, credential: &[u8]) -> bool {
        self.is(&Self::sha256(credential).0)
    }

    /// To be written out, by the one who signs.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl std::fmt::Debug for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tag")
    }
}

/// Whether two values are the same, in a time that tells nothing but lengths.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// Does not compile once `Tag` has a `==`: then it would be ambiguous whose `unequalled` is meant.
const _: fn() = || {
    trait Unequalled<Whose> {
        fn unequalled() {}
    }
    struct Equal;
    impl<T> Unequalled<()> for T {}
    impl<T: PartialEq> Unequalled<Equal> for T {}
    let _ = <Tag as Unequalled<_>>::unequalled;
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_itself_and_nothing_shorter_longer_or_empty() {
        let tag = Tag::new(*b"abcd");
        assert!(tag.is(b"abcd"));
        for other in [&b""[..], b"abc", b"abcde", b"abcc", b"bbcd"] {
            assert!(!tag.is(other), "{other:?}");
        }
        assert!(!Tag::new([]).is(b"a"));
    }

    #[test]
    fn a_credential_is_known_by_its_digest() {
        let tag = Tag::sha256(b"secret");
        assert!(tag.is_of(b"secret"));
        assert!(!tag.is_of(b"secre") && !tag.is(b"secret"));
    }
}
