//! What a source has under way and has used up of its rate, also over reloads.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::budget::Lot;
use super::pace::{Bucket, Pace};

/// The account of one source, or of all that do not exist together.
#[derive(Debug, Default)]
pub struct Account {
    /// Its bytes of bodies in memory.
    pub bodies: Lot,
    /// Its deliveries that wait for the disk.
    pub waiting: Lot,
    bucket: Mutex<Option<Arc<Bucket>>>,
}

impl Account {
    /// What it has left of a rate. It begins anew when that is another one than before.
    pub fn bucket(&self, pace: Pace) -> Arc<Bucket> {
        let mut bucket = self.bucket.lock();
        let same = bucket.take().filter(|bucket| bucket.pace() == pace);
        let same = same.unwrap_or_else(|| Arc::new(Bucket::new(pace)));
        bucket.insert(same).clone()
    }
}

/// All accounts by name: as many as there ever were sources in this process.
#[derive(Debug, Default)]
pub struct Accounts(Mutex<HashMap<String, Arc<Account>>>);

impl Accounts {
    /// The account of that name.
    pub fn of(&self, name: &str) -> Arc<Account> {
        self.0.lock().entry(name.to_owned()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use creel_common::config::Rate;

    use super::*;

    #[test]
    fn what_is_used_up_stays_so_until_the_rate_is_another_one() {
        let accounts = Accounts::default();
        let pace = |per_second| {
            Pace::new(Rate {
                per_second,
                burst: 1,
            })
        };
        let take = |name, pace| {
            let bucket = accounts.of(name).bucket(pace);
            bucket.take(Duration::ZERO).is_ok()
        };
        assert!(take("a", pace(0.001)));
        assert!(!take("a", pace(0.001)));
        assert!(take("b", pace(0.001)));
        assert!(take("a", pace(10.0)));
        assert!(!take("a", pace(10.0)));
    }
}
