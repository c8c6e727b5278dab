//! One number that decides all chance in a test, printed so that it can be had again.

use rand::SeedableRng;
use rand::rngs::StdRng;

const VARIABLE: &str = "CREEL_SEED";

/// Taken from `CREEL_SEED`, else from the system.
#[derive(Debug, Clone, Copy)]
pub struct Seed(pub u64);

impl Seed {
    /// Chooses and prints the seed of `test`.
    pub fn of(test: &str) -> Self {
        let given = std::env::var(VARIABLE).ok();
        let seed = match given {
            Some(text) => text.parse().expect("CREEL_SEED is a number"),
            None => rand::random(),
        };
        println!("{test}: seed {seed} (again with {VARIABLE}={seed})");
        Self(seed)
    }

    pub fn rng(self) -> StdRng {
        StdRng::seed_from_u64(self.0)
    }
}
