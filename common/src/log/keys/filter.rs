//! A filter in front of a run: says of most absent keys that they are absent.
//!
//! A Bloom filter in blocks of one cache line. Keys are hashes already, so their
//! bits are used as they are. At [`BITS_PER_KEY`] about two absent keys in a
//! thousand are looked up in vain. Built key by key, so that a merge of a hundred
//! million keys needs no memory but the filter's own.

/// Bits per key.
const BITS_PER_KEY: u64 = 16;
/// Bits set per key.
const PROBES: u32 = 7;
const LINE_WORDS: usize = 8;

/// A set of keys that may answer "perhaps" for one that is not in it, and never "no" for one that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    words: Vec<u64>,
}

impl Filter {
    /// An empty filter for about `keys` keys.
    pub fn for_keys(keys: u64) -> Self {
        let lines = (keys * BITS_PER_KEY).div_ceil(512).max(1);
        Self {
            words: vec![0; lines as usize * LINE_WORDS],
        }
    }

    /// Adds a key.
    pub fn insert(&mut self, key: u128) {
        let (line, bits) = self.place(key);
        for n in 0..PROBES {
            let bit = bit(bits, n);
            self.words[line + bit / 64] |= 1 << (bit % 64);
        }
    }

    /// Whether a key may be in it.
    pub fn may_contain(&self, key: u128) -> bool {
        let (line, bits) = self.place(key);
        (0..PROBES).all(|n| {
            let bit = bit(bits, n);
            self.words[line + bit / 64] >> (bit % 64) & 1 == 1
        })
    }

    /// The high half of the key chooses the line, the low half the bits in it.
    fn place(&self, key: u128) -> (usize, u64) {
        let lines = (self.words.len() / LINE_WORDS) as u128;
        let line = (u128::from((key >> 64) as u64) * lines) >> 64;
        (line as usize * LINE_WORDS, key as u64)
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.words.len() as u64 * 8
    }

    /// Whether a filter can have this size.
    pub fn is_size(bytes: u64) -> bool {
        bytes > 0 && bytes.is_multiple_of(8 * LINE_WORDS as u64)
    }

    /// Its words, to be kept.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// A filter from its words; `None` when they are no whole lines.
    pub fn from_words(words: Vec<u64>) -> Option<Self> {
        Self::is_size(words.len() as u64 * 8).then_some(Self { words })
    }
}

fn bit(bits: u64, n: u32) -> usize {
    (bits >> (9 * n) & 511) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::keys::KeyMark;

    fn key(n: u64) -> u128 {
        KeyMark::new("s", None, &n.to_string(), b"").key
    }

    #[test]
    fn no_key_is_ever_denied_and_few_strangers_are_let_through() {
        let mut filter = Filter::for_keys(20_000);
        (0..20_000).for_each(|n| filter.insert(key(n)));
        assert!((0..20_000).all(|n| filter.may_contain(key(n))));
        let let_through = (20_000..40_000)
            .filter(|&n| filter.may_contain(key(n)))
            .count();
        assert!(let_through < 100, "{let_through} of 20,000");
    }

    #[test]
    fn it_reads_back() {
        let mut filter = Filter::for_keys(100);
        filter.insert(key(1));
        assert_eq!(Filter::from_words(filter.words().to_vec()), Some(filter));
        assert_eq!(Filter::from_words(vec![0; 7]), None);
    }
}
