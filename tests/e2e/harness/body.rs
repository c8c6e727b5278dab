//! Bodies that can be made again from their marker alone.

use super::Marker;

/// How large bodies are.
#[derive(Debug, Clone, Copy)]
pub enum Sizes {
    /// All of this many bytes.
    Fixed(usize),
    /// Between these, decided by the marker.
    Between(usize, usize),
}

impl Sizes {
    /// The body for `marker`: the marker in JSON, then bytes of every value.
    ///
    /// The same marker always makes the same body, so that what is read back can
    /// be compared byte for byte without having been kept.
    pub fn body(self, marker: Marker) -> Vec<u8> {
        let mut state = Mix(marker.number().wrapping_add(1));
        let mut body = format!("{{\"marker\":\"{marker}\"}}").into_bytes();
        let len = match self {
            Self::Fixed(len) => len,
            Self::Between(least, most) => least + state.below(most - least + 1),
        };
        let len = len.max(body.len());
        while body.len() < len {
            body.extend_from_slice(&state.next().to_le_bytes());
        }
        body.truncate(len);
        body
    }
}

/// Sebastiano Vigna's SplitMix64: enough to make bodies differ.
struct Mix(u64);

impl Mix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a size fits into 64 bits");
        usize::try_from(self.next() % bound).expect("below a size")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_can_be_made_again_and_differs_from_its_neighbour() {
        let sizes = Sizes::Between(100, 5000);
        let one = sizes.body(Marker::new(1));
        assert_eq!(one, sizes.body(Marker::new(1)));
        assert_ne!(one, sizes.body(Marker::new(2)));
        assert!((100..=5000).contains(&one.len()));
        assert_eq!(Marker::first_in(&one), Some(Marker::new(1)));
        assert_eq!(Sizes::Fixed(1024).body(Marker::new(3)).len(), 1024);
    }
}
