//! What a power cut leaves of all that was not sure.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::content::Edit;
use super::state::Left;

/// Sizes of what a disk writes all or nothing.
const SECTORS_BYTES: [u64; 2] = [512, 4096];

/// Decides, and counts how.
#[derive(Debug)]
pub(super) struct Dice {
    /// Without it nothing is left.
    rng: Option<StdRng>,
    /// How likely a change survives, the same for one cut: those that leave nearly all or nearly
    /// nothing find other faults than those in between.
    keep: f64,
    /// Writes survive in order, the last one perhaps torn; else each by itself.
    in_order: bool,
    pub(super) left: Left,
}

impl Dice {
    pub(super) fn seeded(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let keep = [0.0, 0.1, 0.5, 0.9, 1.0][rng.random_range(0..5)];
        Self {
            keep,
            in_order: rng.random(),
            rng: Some(rng),
            left: Left::default(),
        }
    }

    pub(super) fn strict() -> Self {
        Self {
            rng: None,
            keep: 0.0,
            in_order: true,
            left: Left::default(),
        }
    }

    /// What is left of the edits of one file.
    pub(super) fn of_edits(&mut self, edits: &[Edit]) -> Vec<Edit> {
        let mut left = Vec::new();
        let mut edits = edits.iter();
        for edit in edits.by_ref() {
            match self.fate(edit) {
                Fate::Kept => {
                    self.left.writes_kept += 1;
                    left.push(edit.clone());
                    continue;
                }
                Fate::Torn(end) => {
                    self.left.writes_torn += 1;
                    left.push(edit.torn_at(end));
                }
                Fate::Dropped => self.left.writes_dropped += 1,
            }
            if self.in_order {
                break;
            }
        }
        self.left.writes_dropped += edits.count() as u64;
        left
    }

    /// How many of a directory's changes, from the first, are left.
    pub(super) fn of_names(&mut self, changes: usize) -> usize {
        let kept = (0..changes).take_while(|_| self.keeps()).count();
        self.left.names_kept += kept as u64;
        self.left.names_dropped += (changes - kept) as u64;
        kept
    }

    fn keeps(&mut self) -> bool {
        let keep = self.keep;
        self.rng.as_mut().is_some_and(|rng| rng.random_bool(keep))
    }

    fn fate(&mut self, edit: &Edit) -> Fate {
        if self.keeps() {
            return Fate::Kept;
        }
        let (Some(rng), Edit::Write { at, bytes }) = (&mut self.rng, edit) else {
            return Fate::Dropped;
        };
        let sector = SECTORS_BYTES[rng.random_range(0..SECTORS_BYTES.len())];
        let ends = (at / sector + 1)..(at + bytes.len() as u64).div_ceil(sector);
        match !ends.is_empty() && rng.random() {
            true => Fate::Torn(rng.random_range(ends) * sector),
            false => Fate::Dropped,
        }
    }
}

enum Fate {
    Kept,
    /// Only up to this place in the file.
    Torn(u64),
    Dropped,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(count: u64, bytes: usize) -> Vec<Edit> {
        let write = |nth: u64| Edit::Write {
            at: nth * bytes as u64,
            bytes: vec![nth as u8 + 1; bytes],
        };
        (0..count).map(write).collect()
    }

    #[test]
    fn nothing_is_left_by_strict_dice() {
        let mut dice = Dice::strict();
        assert!(dice.of_edits(&writes(3, 9000)).is_empty());
        assert_eq!(dice.of_names(4), 0);
        assert_eq!((dice.left.writes_dropped, dice.left.names_dropped), (3, 4));
    }

    #[test]
    fn writes_are_kept_dropped_and_torn_at_sectors_and_the_same_seed_decides_alike() {
        let mut all = Left::default();
        for seed in 0..200 {
            let edits = writes(6, 9000);
            let mut dice = Dice::seeded(seed);
            let left = dice.of_edits(&edits);
            assert_eq!(left, Dice::seeded(seed).of_edits(&edits));
            for edit in &left {
                let Edit::Write { at, bytes } = edit else {
                    panic!("{edit:?}")
                };
                let end = at + bytes.len() as u64;
                assert!(
                    bytes.len() == 9000 || end.is_multiple_of(512),
                    "{at} to {end}"
                );
            }
            all += dice.left;
        }
        assert_eq!(all.writes_kept + all.writes_dropped + all.writes_torn, 1200);
        assert!(all.writes_kept > 100 && all.writes_dropped > 100 && all.writes_torn > 50);
    }
}
