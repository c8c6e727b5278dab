//! Idempotency keys: which deliveries are repeats.
//!
//! A repeat is the same key (source, event type, the sender's id) with the same
//! body. A known key with another body is another event: stored, and counted.
//!
//! New keys stand in a table in memory, which is rebuilt from the log's block
//! indexes after a restart. A full table is frozen, written as a sorted run
//! with a filter in front, and dropped; runs are merged in tiers, so that a
//! look-up asks few filters however many keys there are. How many are kept is
//! bounded, the oldest go first; for how long that holds is always known.

mod filter;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod horizon;
mod merge;
mod page;
mod run;
mod runs;
mod table;
mod tender;

pub use horizon::{Dedupe, Horizon, hours};
pub use run::RunError;
pub use runs::{Runs, Stock};
pub use table::{Frozen, KeyTable, TABLE_KEYS_MAX};
pub use tender::Tender;

use sha2::{Digest, Sha256};

use crate::ids::Offset;
use crate::time::Timestamp;

/// A delivery's key and the digest of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyMark {
    /// Hash of source, event type and the sender's id.
    pub key: u128,
    /// Hash of the body.
    pub digest: u64,
}

impl KeyMark {
    /// Hashes a key and its body. Lengths go in too, so that no two triples share a text.
    pub fn new(source: &str, event_type: Option<&str>, id: &str, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        for part in [source, event_type.unwrap_or(""), id] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.update([u8::from(event_type.is_some())]);
        Self {
            key: u128_of(&hash.finalize()),
            digest: u128_of(&Sha256::digest(body)) as u64,
        }
    }

    /// The mark under which a later body of the same key is kept.
    pub fn conflicting(self) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.key.to_le_bytes());
        hash.update(self.digest.to_le_bytes());
        Self {
            key: u128_of(&hash.finalize()),
            digest: self.digest,
        }
    }
}

fn u128_of(hash: &[u8]) -> u128 {
    let (start, _) = hash
        .split_first_chunk::<16>()
        .expect("SHA-256 gives 32 bytes");
    u128::from_le_bytes(*start)
}

/// Where a key was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Digest of the body it came with.
    pub digest: u64,
    /// The delivery.
    pub offset: Offset,
    /// When it was received.
    pub at: Timestamp,
}

/// What a look-up says of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Never seen within its window.
    New,
    /// Seen, with the same body.
    Repeat(Offset),
    /// The key was seen with another body.
    Conflict,
}

/// Judges a mark against whatever `seen` finds, within a window that ends at `now`.
///
/// # Errors
/// Whatever `seen` says.
pub fn judge<E>(
    mark: KeyMark,
    since: Timestamp,
    mut seen: impl FnMut(u128) -> Result<Option<Seen>, E>,
) -> Result<Verdict, E> {
    let mut lookup = |key| Ok(seen(key)?.filter(|seen: &Seen| seen.at >= since));
    let Some(first) = lookup(mark.key)? else {
        return Ok(Verdict::New);
    };
    if first.digest == mark.digest {
        return Ok(Verdict::Repeat(first.offset));
    }
    let other = lookup(mark.conflicting().key)?;
    Ok(other.map_or(Verdict::Conflict, |seen| Verdict::Repeat(seen.offset)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn no_two_triples_share_a_key() {
        let mark = |s, e, i| KeyMark::new(s, e, i, b"").key;
        let keys = [
            mark("a", Some("b"), "c"),
            mark("ab", None, "c"),
            mark("a", None, "bc"),
            mark("a", Some(""), "bc"),
            mark("a", Some("bc"), ""),
        ];
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[..n].contains(key), "{n}");
        }
    }

    #[test]
    fn a_known_key_with_another_body_is_another_event_and_its_repeat_a_repeat() {
        let one = KeyMark::new("s", None, "id", b"one");
        let two = KeyMark::new("s", None, "id", b"two");
        let mut table = HashMap::new();
        let at = Timestamp(5);
        let judge = |table: &HashMap<u128, Seen>, mark| {
            judge(mark, Timestamp(0), |key| {
                Ok::<_, ()>(table.get(&key).copied())
            })
            .unwrap()
        };
        assert_eq!(judge(&table, one), Verdict::New);
        table.insert(
            one.key,
            Seen {
                digest: one.digest,
                offset: 1,
                at,
            },
        );
        assert_eq!(judge(&table, one), Verdict::Repeat(1));
        assert_eq!(judge(&table, two), Verdict::Conflict);
        table.insert(
            two.conflicting().key,
            Seen {
                digest: two.digest,
                offset: 2,
                at,
            },
        );
        assert_eq!(judge(&table, two), Verdict::Repeat(2));
        assert_eq!(judge(&table, one), Verdict::Repeat(1));
    }

    #[test]
    fn a_key_older_than_the_window_is_new_again() {
        let mark = KeyMark::new("s", None, "id", b"");
        let seen = Seen {
            digest: mark.digest,
            offset: 1,
            at: Timestamp(100),
        };
        let judge = |since| judge(mark, Timestamp(since), |_| Ok::<_, ()>(Some(seen))).unwrap();
        assert_eq!(judge(100), Verdict::Repeat(1));
        assert_eq!(judge(101), Verdict::New);
    }
}
