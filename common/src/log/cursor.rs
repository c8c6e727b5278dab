//! What a route has looked at, and what of that is still in the air.
//!
//! A cursor is `next` (everything below has been looked at) and the few
//! offsets below it that are held by a lease and not settled. Everything below
//! `next` that is not among them is settled, waiting or dead. So the record
//! that is written with every settlement is bounded by the route's `open_max`,
//! whatever the backlog, and nothing has to be rewritten when a slow delivery
//! holds the floor back for a week.

use std::collections::BTreeSet;

use crate::ids::Offset;

/// Most offsets in the air that a cursor takes: its record must stay one small value.
pub const AIR_MAX: usize = 4096;

/// A route's place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    next: Offset,
    air: BTreeSet<Offset>,
}

impl Cursor {
    /// A cursor that has looked at nothing at or after `next`.
    pub fn at(next: Offset) -> Self {
        Self {
            next,
            air: BTreeSet::new(),
        }
    }

    /// The next offset to look at.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Everything below is settled, waiting or dead.
    pub fn floor(&self) -> Offset {
        self.air.first().copied().unwrap_or(self.next)
    }

    /// Whether an offset is done with as far as the cursor goes.
    pub fn has_passed(&self, offset: Offset) -> bool {
        offset < self.next && !self.air.contains(&offset)
    }

    /// Offsets in the air, in order.
    pub fn air(&self) -> impl Iterator<Item = Offset> {
        self.air.iter().copied()
    }

    /// How many are in the air.
    pub fn air_len(&self) -> usize {
        self.air.len()
    }

    /// Looks past everything below `to`.
    pub fn skip_to(&mut self, to: Offset) {
        self.next = self.next.max(to);
    }

    /// Takes the offset at or after `next` into the air.
    pub fn take(&mut self, offset: Offset) {
        debug_assert!(offset >= self.next, "an offset is taken once");
        self.next = offset + 1;
        self.air.insert(offset);
    }

    /// An offset in the air came down: settled, waiting or dead. False when it was not in the air.
    pub fn land(&mut self, offset: Offset) -> bool {
        self.air.remove(&offset)
    }

    /// Goes back, so that everything from `to` on is looked at again. What is in the air below
    /// `to` stays there.
    pub fn rewind(&mut self, to: Offset) {
        if to < self.next {
            self.next = to;
            self.air.split_off(&to);
        }
    }

    /// The record that is kept: `next`, then the distances between offsets in the air as varints.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + 2 * self.air.len());
        out.extend_from_slice(&self.next.to_le_bytes());
        let mut before = 0;
        for &offset in &self.air {
            put_varint(&mut out, offset - before);
            before = offset;
        }
        out
    }

    /// Reads a record back; `None` when it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (next, mut rest) = bytes.split_first_chunk::<8>()?;
        let mut cursor = Self::at(u64::from_le_bytes(*next));
        let mut before = 0u64;
        while !rest.is_empty() {
            before = before.checked_add(take_varint(&mut rest)?)?;
            if before >= cursor.next {
                return None;
            }
            cursor.air.insert(before);
        }
        Some(cursor)
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_floor_waits_for_the_slowest() {
        let mut cursor = Cursor::at(1);
        cursor.take(1);
        cursor.take(2);
        cursor.skip_to(5);
        cursor.take(7);
        assert!(cursor.land(2));
        assert_eq!((cursor.floor(), cursor.next()), (1, 8));
        assert!(cursor.has_passed(2) && cursor.has_passed(6) && !cursor.has_passed(7));
        assert!(cursor.land(1));
        assert_eq!(cursor.floor(), 7);
        assert!(!cursor.land(1), "it lands once");
    }

    #[test]
    fn a_rewind_brings_back_everything_from_there_on() {
        let mut cursor = Cursor::at(1);
        (1..10).for_each(|offset| cursor.take(offset));
        (4..10).for_each(|offset| assert!(cursor.land(offset)));
        cursor.rewind(3);
        assert_eq!(cursor.next(), 3);
        assert_eq!(cursor.air().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_full_cursor_is_one_small_value() {
        let mut cursor = Cursor::at(1 << 40);
        (0..AIR_MAX as u64).for_each(|i| cursor.take((1 << 40) + i * 10_000));
        assert!(cursor.encode().len() < 16 << 10);
    }

    proptest! {
        #[test]
        fn a_record_reads_back(next in 0u64..1 << 50, steps in proptest::collection::vec(0u64..1 << 20, 0..50)) {
            let mut cursor = Cursor::at(next);
            for step in steps {
                cursor.take(cursor.next() + step);
            }
            prop_assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Cursor::decode(&bytes);
        }
    }
}
