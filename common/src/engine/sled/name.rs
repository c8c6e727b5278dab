//! Names of volumes' directories.
//!
//! A volume is called by its number, `0000000005`. One that holds what was left of volumes 5 to 7
//! when they were rewritten is called `0000000005-0000000007.1`: the numbers it stands for, and how
//! often that was done. So a single rename says that the new one is there and the old ones are not
//! needed any more, whatever else a crash leaves in the directory.

use std::fmt;

/// The name of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct VolumeName {
    /// Its number, which is its place in the chain.
    pub(super) number: u64,
    /// Counts rewritings; 0 for a volume that was appended to.
    generation: u32,
    /// The last of the numbers that it stands for; the same as `number` unless it was rewritten.
    pub(super) last: u64,
}

impl VolumeName {
    /// Of a volume that is appended to.
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            generation: 0,
            last: number,
        }
    }

    /// Of what is left of the neighbours `first` to `last`.
    pub(super) fn rest(first: Self, last: Self) -> Self {
        Self {
            number: first.number,
            generation: first.generation + 1,
            last: last.last,
        }
    }

    /// Whether it holds what was left of others.
    pub(super) fn is_rest(self) -> bool {
        self.generation > 0
    }

    /// Whether it stands for another one, which may go.
    pub(super) fn replaces(self, other: Self) -> bool {
        let is_newer = self.generation > other.generation || self.number != other.number;
        self.is_rest() && is_newer && self.number <= other.number && other.last <= self.last
    }

    /// Reads a directory's name; `None` when it is none of a volume.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let Some((numbers, generation)) = name.split_once('.') else {
            return Some(Self::new(name.parse().ok()?));
        };
        let (number, last) = numbers.split_once('-')?;
        let name = Self {
            number: number.parse().ok()?,
            generation: generation.parse().ok()?,
            last: last.parse().ok()?,
        };
        (name.is_rest() && name.number <= name.last).then_some(name)
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}", self.number)?;
        if self.is_rest() {
            write!(f, "-{:010}.{}", self.last, self.generation)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> VolumeName {
        let name = VolumeName::parse(text).unwrap();
        assert_eq!(name.to_string(), text);
        name
    }

    #[test]
    fn names_read_back_and_nothing_else_is_one() {
        let five = name("0000000005");
        let rest = VolumeName::rest(five, name("0000000007"));
        assert_eq!(rest, name("0000000005-0000000007.1"));
        let again = VolumeName::rest(rest, name("0000000008-0000000009.4"));
        assert_eq!(again, name("0000000005-0000000009.2"));
        for other in [
            "",
            "making-0000000005",
            "5-4.1",
            "5-6.0",
            "5.1",
            "5-6",
            "5-6.x",
        ] {
            assert_eq!(VolumeName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_rest_replaces_what_it_stands_for_and_earlier_rests() {
        let rest = name("0000000005-0000000007.2");
        for other in [
            "0000000005",
            "0000000006",
            "0000000007",
            "0000000005-0000000006.1",
            "0000000006-0000000007.3",
        ] {
            assert!(rest.replaces(name(other)), "{other}");
            assert!(!name(other).replaces(rest), "{other}");
        }
        for other in ["0000000004", "0000000008", "0000000005-0000000007.2"] {
            assert!(!rest.replaces(name(other)), "{other}");
        }
        assert!(!name("0000000005").replaces(name("0000000005")));
    }
}
