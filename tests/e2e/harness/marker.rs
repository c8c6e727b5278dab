//! A few bytes by which one body can be found again, on the wire and on disk.

use std::fmt;

const PREFIX: &[u8] = b"marker-";
const DIGITS: usize = 9;

/// `marker-000000017`: unique to one body of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Marker(u64);

impl Marker {
    /// At most 999,999,999, so that all are equally long.
    pub fn new(number: u64) -> Self {
        assert!(number < 10u64.pow(9), "markers have nine digits");
        Self(number)
    }

    pub fn number(self) -> u64 {
        self.0
    }

    /// The markers in `bytes`, in order.
    pub fn all_in(bytes: &[u8]) -> impl Iterator<Item = Self> {
        memchr::memmem::find_iter(bytes, PREFIX).filter_map(|at| {
            let digits = bytes.get(at + PREFIX.len()..)?.get(..DIGITS)?;
            std::str::from_utf8(digits).ok()?.parse().ok().map(Self)
        })
    }

    /// The first marker in `bytes`.
    pub fn first_in(bytes: &[u8]) -> Option<Self> {
        Self::all_in(bytes).next()
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "marker-{:09}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_again_among_other_bytes() {
        let bytes = format!("\u{0}{}{}marker-12", Marker::new(7), Marker::new(123_456));
        let found: Vec<_> = Marker::all_in(bytes.as_bytes()).collect();
        assert_eq!(found, [Marker::new(7), Marker::new(123_456)]);
    }
}
