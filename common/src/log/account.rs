//! The account: what each source has in each volume of the log.
//!
//! Kept in memory, made from block indexes at the opening: a figure per source and volume that holds
//! something of it. A volume that goes takes its figures along, whoever removed it: the account asks
//! the engine which volumes there are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::{Engine, VolumeInfo};
use crate::ids::Offset;

/// Blocks whose volume has not been looked up yet; with more it is time to.
const FRESH_MAX: usize = 4096;

/// What of one source is kept in some place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Deliveries.
    pub deliveries: u64,
    /// Bytes of their records: heads and bodies, without what the log adds to find them again.
    pub bytes: u64,
    /// How many of `bytes` are an even share of blocks of several sources that do not say more:
    /// those of builds before there were quotas. `deliveries` are then a share as well.
    pub estimated_bytes: u64,
}

impl AddAssign for Kept {
    fn add_assign(&mut self, more: Self) {
        self.deliveries += more.deliveries;
        self.bytes += more.bytes;
        self.estimated_bytes += more.estimated_bytes;
    }
}

impl SubAssign for Kept {
    fn sub_assign(&mut self, less: Self) {
        self.deliveries = self.deliveries.saturating_sub(less.deliveries);
        self.bytes = self.bytes.saturating_sub(less.bytes);
        self.estimated_bytes = self.estimated_bytes.saturating_sub(less.estimated_bytes);
    }
}

/// Sources with what is kept of each.
pub type BySource = Vec<(Arc<str>, Kept)>;

/// What each source has in each volume.
#[derive(Debug, Default)]
pub struct Account {
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    sources: HashMap<Arc<str>, Kept>,
    volumes: BTreeMap<u64, BTreeMap<Arc<str>, Kept>>,
    /// Committed since the volumes were last looked at: first offset of a block, and what is in it.
    fresh: Vec<(Offset, BySource)>,
}

impl Account {
    /// Something of a source is in a volume.
    pub fn add(&self, volume: u64, source: &str, kept: Kept) {
        let mut books = self.books.lock();
        let source = books.name(source);
        books.total(&source, kept);
        books.put(volume, source, kept);
    }

    /// A volume was rewritten: this is all that is left in it.
    pub fn rewritten(&self, volume: u64, left: BySource) {
        let mut books = self.books.lock();
        for (source, kept) in books.volumes.remove(&volume).into_iter().flatten() {
            books.forget(&source, kept);
        }
        for (source, kept) in left {
            books.total(&source, kept);
            books.put(volume, source, kept);
        }
    }

    /// A block was committed whose first offset is `first`, to whatever volume. Answers whether it is
    /// time to [reconcile](Account::reconcile).
    pub fn committed(&self, first: Offset, block: BySource) -> bool {
        let mut books = self.books.lock();
        for (source, kept) in &block {
            books.total(source, *kept);
        }
        books.fresh.push((first, block));
        books.fresh.len() >= FRESH_MAX
    }

    /// Enters new blocks under their volumes and forgets volumes that have gone.
    pub fn reconcile(&self, engine: &dyn Engine) {
        let mut books = self.books.lock();
        let fresh = std::mem::take(&mut books.fresh);
        // asked after they were taken: each of their volumes has been there since before
        let volumes = engine.volumes();
        for (first, block) in fresh {
            let holds = |v: &&VolumeInfo| v.first <= first && first < v.end;
            let volume = volumes.iter().rev().find(holds).map(|v| v.number);
            for (source, kept) in block {
                match volume {
                    Some(number) => books.put(number, source, kept),
                    None => books.forget(&source, kept),
                }
            }
        }
        let there: HashSet<u64> = volumes.iter().map(|v| v.number).collect();
        let is_gone = |number: &u64, _: &mut _| !there.contains(number);
        let gone: Vec<_> = books.volumes.extract_if(.., is_gone).collect();
        for (source, kept) in gone.into_iter().flat_map(|(_, sources)| sources) {
            books.forget(&source, kept);
        }
    }

    /// What is kept of a source in the whole log.
    pub fn source(&self, source: &str) -> Kept {
        let books = self.books.lock();
        books.sources.get(source).copied().unwrap_or_default()
    }

    /// What is kept of a source in a volume, as of the last look at the volumes.
    pub fn in_volume(&self, volume: u64, source: &str) -> Kept {
        let books = self.books.lock();
        let sources = books.volumes.get(&volume);
        sources
            .and_then(|sources| sources.get(source).copied())
            .unwrap_or_default()
    }

    /// Every source of which something is kept, by name.
    pub fn sources(&self) -> BySource {
        let books = self.books.lock();
        let mut all: BySource = books.sources.iter().map(|(s, k)| (s.clone(), *k)).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// The sources in a volume, by name, as of the last look at the volumes.
    pub fn volume(&self, volume: u64) -> BySource {
        let books = self.books.lock();
        let sources = books.volumes.get(&volume).into_iter().flatten();
        sources
            .map(|(source, kept)| (source.clone(), *kept))
            .collect()
    }
}

impl Books {
    /// The one copy of a source's name.
    fn name(&self, source: &str) -> Arc<str> {
        let known = self.sources.get_key_value(source);
        known.map_or_else(|| Arc::from(source), |(name, _)| name.clone())
    }

    fn total(&mut self, source: &Arc<str>, kept: Kept) {
        match self.sources.get_mut(source) {
            Some(total) => *total += kept,
            None => drop(self.sources.insert(source.clone(), kept)),
        }
    }

    fn put(&mut self, volume: u64, source: Arc<str>, kept: Kept) {
        *self
            .volumes
            .entry(volume)
            .or_default()
            .entry(source)
            .or_default() += kept;
    }

    fn forget(&mut self, source: &Arc<str>, kept: Kept) {
        let Some(total) = self.sources.get_mut(source) else {
            return;
        };
        *total -= kept;
        if total.deliveries == 0 {
            self.sources.remove(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::{MemoryEngine, MemorySettings};
    use crate::testkit::engine::block;

    fn kept(deliveries: u64, bytes: u64) -> Kept {
        Kept {
            deliveries,
            bytes,
            estimated_bytes: 0,
        }
    }

    #[test]
    fn a_rewritten_volume_holds_what_is_left_and_no_more() {
        let account = Account::default();
        for (volume, source) in [(1, "a"), (1, "b"), (2, "a")] {
            account.add(volume, source, kept(10, 1000));
        }
        account.rewritten(1, vec![("a".into(), kept(2, 200))]);
        assert_eq!(account.source("a"), kept(12, 1200));
        assert_eq!(account.source("b"), Kept::default());
        assert_eq!(account.volume(1), [("a".into(), kept(2, 200))]);
    }

    #[test]
    fn a_volume_that_goes_takes_its_figures_along() {
        let settings = MemorySettings {
            volume_bytes: 100,
            ..MemorySettings::default()
        };
        let engine = MemoryEngine::new(settings, 1);
        let account = Account::default();
        for first in 1..=3 {
            engine.append(&[block(first, 1, 200)]).unwrap();
            account.committed(first, vec![("a".into(), kept(1, 10 * first))]);
        }
        account.committed(3, vec![("b".into(), kept(1, 7))]);
        assert_eq!(account.source("a"), kept(3, 60), "before volumes are known");
        account.reconcile(&engine);
        let volumes = engine.volumes();
        assert_eq!(account.in_volume(volumes[1].number, "a"), kept(1, 20));
        assert_eq!(
            account.volume(volumes[2].number),
            [("a".into(), kept(1, 30)), ("b".into(), kept(1, 7))]
        );
        engine.remove_volume(volumes[0].number).unwrap();
        account.reconcile(&engine);
        assert_eq!(account.source("a"), kept(2, 50));
        engine.remove_volume(volumes[1].number).unwrap();
        account.reconcile(&engine);
        let left = [("a".into(), kept(1, 30)), ("b".into(), kept(1, 7))];
        assert_eq!(account.sources(), left);
    }

    #[test]
    fn a_block_whose_volume_went_before_it_was_entered_counts_nothing() {
        let settings = MemorySettings {
            volume_bytes: 100,
            ..MemorySettings::default()
        };
        let engine = MemoryEngine::new(settings, 1);
        let account = Account::default();
        for first in 1..=2 {
            engine.append(&[block(first, 1, 200)]).unwrap();
            account.committed(first, vec![("a".into(), kept(1, 5))]);
        }
        engine.remove_volume(engine.volumes()[0].number).unwrap();
        account.reconcile(&engine);
        assert_eq!(account.source("a"), kept(1, 5));
    }
}
