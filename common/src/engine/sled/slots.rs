//! Slots: where the values of a volume are, numbered in the order of their inserts.
//!
//! sled splits a leaf that has 17 entries and writes both halves again, and writes a leaf anew at its
//! tenth change. Values inserted under ascending keys were so written five times. Here an empty
//! entry, a stake, is inserted for each slot well ahead of its value. The leaves split while they are
//! empty, 9 stakes in each; then each of the 9 is changed once, to its value, which is 9 changes
//! and no new entry. So a value is written once.
//!
//! A crash between stakes and values costs nothing: sled keeps a prefix, so the stakes of the values
//! that are there are there. A slot that has no stake would only be written more than once.

/// The number of a slot.
pub(super) type Slot = u32;

/// Stakes that are ahead of the next value at least, so that its leaf has split already: 16 are in the
/// last leaf at most.
const AHEAD_MIN: Slot = 32;
/// How many are inserted at once, which costs as much as one value.
const AT_ONCE: Slot = 63;

/// A slot's key.
pub(super) fn key(slot: Slot) -> [u8; 4] {
    slot.to_be_bytes()
}

/// The slot of a key.
pub(super) fn parse_key(key: &[u8]) -> Option<Slot> {
    key.try_into().ok().map(Slot::from_be_bytes)
}

/// What is taken and what is staked in a volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Slots {
    /// Where the next value goes.
    pub(super) next: Slot,
    /// One past the last stake.
    pub(super) staked: Slot,
}

impl Slots {
    /// Makes sure that the next slot is in a leaf that is not split any more.
    pub(super) fn stake(&mut self, db: &sled::Tree) -> sled::Result<()> {
        if self.staked >= self.next + AHEAD_MIN {
            return Ok(());
        }
        let end = self.next + AHEAD_MIN + AT_ONCE;
        for slot in self.staked.max(self.next)..end {
            db.insert(key(slot), &[])?;
        }
        self.staked = end;
        Ok(())
    }
}
