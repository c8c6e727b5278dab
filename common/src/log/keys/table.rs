//! The keys in memory: the newest table and those on their way to disk.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::ids::Offset;
use crate::log::keys::{KeyMark, Seen, Verdict, judge};
use crate::time::Timestamp;

/// A table is frozen when it holds this many keys: about 20 MB.
pub const TABLE_KEYS_MAX: usize = 1 << 18;

/// Keys are hashes already; their low half spreads as well as any hash of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

type Map = HashMap<u128, Seen, BuildHasherDefault<KeyHasher>>;

/// A full table on its way to disk.
#[derive(Debug)]
pub struct Frozen {
    /// Its keys.
    pub keys: Map,
    /// All offsets below are covered by it, the tables before it and the runs.
    pub end: Offset,
}

/// The newest keys. Owned by the committer; frozen tables are shared with the thread that writes them.
#[derive(Debug, Default)]
pub struct KeyTable {
    newest: Map,
    frozen: Vec<Arc<Frozen>>,
}

impl KeyTable {
    /// Notes a key under the verdict it got.
    pub fn note(&mut self, mark: KeyMark, verdict: Verdict, offset: Offset, at: Timestamp) {
        let kept = if verdict == Verdict::Conflict {
            mark.conflicting()
        } else {
            mark
        };
        self.newest.insert(
            kept.key,
            Seen {
                digest: mark.digest,
                offset,
                at,
            },
        );
    }

    /// Notes a key read back from the log; `in_runs` finds those that are on disk.
    pub fn restore(
        &mut self,
        mark: KeyMark,
        offset: Offset,
        at: Timestamp,
        in_runs: impl Fn(u128) -> Option<Seen>,
    ) {
        let seen = |key| Ok::<_, std::convert::Infallible>(self.get(key).or_else(|| in_runs(key)));
        let verdict = judge(mark, Timestamp(0), seen).unwrap_or_else(|never| match never {});
        let verdict = match verdict {
            // the same key in the log twice: its window had passed in between
            Verdict::Repeat(_) => Verdict::New,
            verdict => verdict,
        };
        self.note(mark, verdict, offset, at);
    }

    /// Where a key was seen, newest first.
    pub fn get(&self, key: u128) -> Option<Seen> {
        let in_frozen = || {
            self.frozen
                .iter()
                .rev()
                .find_map(|table| table.keys.get(&key))
        };
        self.newest.get(&key).or_else(in_frozen).copied()
    }

    /// Judges a mark by what is in memory alone.
    pub fn judge(&self, mark: KeyMark, since: Timestamp) -> Verdict {
        let verdict = judge(mark, since, |key| {
            Ok::<_, std::convert::Infallible>(self.get(key))
        });
        verdict.unwrap_or_else(|never| match never {})
    }

    /// Freezes the newest table when it is full, or when `force`d; `end` is one past the last offset noted.
    pub fn freeze(&mut self, end: Offset, force: bool) -> Option<Arc<Frozen>> {
        let full = self.newest.len() >= TABLE_KEYS_MAX;
        if self.newest.is_empty() || !(full || force) {
            return None;
        }
        let frozen = Arc::new(Frozen {
            keys: std::mem::take(&mut self.newest),
            end,
        });
        self.frozen.push(frozen.clone());
        Some(frozen)
    }

    /// Drops the frozen tables that the runs cover by now.
    pub fn drop_covered(&mut self, covered: Offset) {
        self.frozen.retain(|table| table.end > covered);
    }

    /// Keys in memory.
    pub fn len(&self) -> usize {
        self.newest.len()
            + self
                .frozen
                .iter()
                .map(|table| table.keys.len())
                .sum::<usize>()
    }

    /// Nothing in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
