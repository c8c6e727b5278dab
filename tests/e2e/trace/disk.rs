//! A disk that keeps what was synced and decides by dice about the rest.
//!
//! The rules are those of the least friendly file system that POSIX allows:
//! a completed fsync or fdatasync keeps what was written to that file before
//! the sync *started*, size included; each later write may be there, missing,
//! or torn at a sector; a new, renamed or removed name is sure only once its
//! directory was synced, and of the names changed since then a prefix (in the
//! order of that directory) survives. `sync_file_range` promises nothing. What
//! a failed sync covered is never sure again: Linux reports a lost page once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::ops::AddAssign;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::history::{Change, Edit, Event, NameChange};
use super::namespace::{Inode, Namespace, Node, ROOT};
use super::{History, Tick};

/// The size of what a disk writes all or nothing.
const SECTOR_BYTES: u64 = 512;

/// Which syncs of a trace are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// All that returned well.
    AllSyncs,
    /// Only those of directories: the control that shows that a test bites.
    DirectoriesOnly,
}

/// What was left undecided at a cut, and how it was decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    pub kept: usize,
    pub dropped: usize,
    pub torn: usize,
    /// Changes of names that did not survive.
    pub names_lost: usize,
}

impl AddAssign for Cut {
    fn add_assign(&mut self, other: Self) {
        self.kept += other.kept;
        self.dropped += other.dropped;
        self.torn += other.torn;
        self.names_lost += other.names_lost;
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kept,
            dropped,
            torn,
            names_lost,
        } = self;
        write!(
            f,
            "unsure writes {kept} kept, {dropped} dropped, {torn} torn, {names_lost} names lost"
        )
    }
}

/// The disk under a [`History`].
pub struct Disk<'h> {
    history: &'h History,
    trust: Trust,
    /// By file, what was done to it: indexes into the events.
    edits: BTreeMap<Inode, Vec<usize>>,
    /// By file or directory.
    syncs: BTreeMap<Inode, Vec<Sync>>,
    /// Every change of a name, in order.
    renames: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Sync {
    start: Tick,
    end: Option<Tick>,
    done: bool,
}

impl<'h> Disk<'h> {
    pub fn new(history: &'h History, trust: Trust) -> Self {
        let mut disk = Self {
            history,
            trust,
            edits: BTreeMap::new(),
            syncs: BTreeMap::new(),
            renames: Vec::new(),
        };
        for (index, event) in history.events.iter().enumerate() {
            match event.change {
                Change::Data { inode, .. } => disk.edits.entry(inode).or_default().push(index),
                Change::Name(_) => disk.renames.push(index),
                Change::Sync { inode, done } => {
                    let sync = Sync {
                        start: event.start,
                        end: event.end,
                        done,
                    };
                    disk.syncs.entry(inode).or_default().push(sync);
                }
                Change::Ack { .. } => {}
            }
        }
        for syncs in disk.syncs.values_mut() {
            syncs.sort_by_key(|sync| sync.start);
        }
        disk
    }

    /// Puts into `dir`, which must not exist, what may be left after a power cut
    /// just after the moment `at`; `seed` decides what was not sure.
    ///
    /// # Errors
    /// Those of writing `dir`.
    pub fn cut(&self, at: Tick, seed: u64, dir: &Path) -> io::Result<Cut> {
        self.materialise(at, &mut Dice::seeded(seed), dir)
    }

    /// As [`Disk::cut`], but nothing survives that was not sure.
    pub fn cut_strict(&self, at: Tick, dir: &Path) -> io::Result<Cut> {
        self.materialise(at, &mut Dice::strict(), dir)
    }

    /// The directory as the running kernel showed it at `at`, nothing lost: where
    /// this differs from the real one, the trace was not understood.
    pub fn uncut(&self, at: Tick, dir: &Path) -> io::Result<()> {
        self.materialise(at, &mut Dice::sparing(), dir).map(drop)
    }

    fn materialise(&self, at: Tick, dice: &mut Dice, dir: &Path) -> io::Result<Cut> {
        let names = self.names(at, dice);
        self.write_dir(ROOT, &names, at, dice, dir)?;
        Ok(dice.cut)
    }

    fn write_dir(
        &self,
        inode: Inode,
        names: &Namespace,
        at: Tick,
        dice: &mut Dice,
        dir: &Path,
    ) -> io::Result<()> {
        fs::create_dir(dir)?;
        for (name, child) in names.names(inode) {
            let path = dir.join(name);
            if names.is_dir(child) {
                self.write_dir(child, names, at, dice, &path)?;
            } else {
                fs::write(path, self.content(child, at, dice))?;
            }
        }
        Ok(())
    }

    /// The bytes of a file as the cut leaves them.
    fn content(&self, inode: Inode, at: Tick, dice: &mut Dice) -> Vec<u8> {
        let mut content = match self.history.snapshot.nodes.get(inode) {
            Some(Node::File(content)) => content.to_vec(),
            _ => Vec::new(),
        };
        let sure = self.sure_before(inode, at);
        for &index in self.edits.get(&inode).into_iter().flatten() {
            let event = &self.history.events[index];
            let Change::Data { edit, .. } = &event.change else {
                continue;
            };
            if event.start > at {
                continue;
            }
            if event.ended_before(sure) && !self.spoiled(inode, event) {
                apply(&mut content, edit);
            } else if let Some(edit) = dice.fate(edit) {
                apply(&mut content, &edit);
            }
        }
        content
    }

    /// What ended before this moment was synced by `at`: the latest start of a
    /// sync that had returned well; 0 if there is none.
    fn sure_before(&self, inode: Inode, at: Tick) -> Tick {
        if self.trust == Trust::DirectoriesOnly && self.edits.contains_key(&inode) {
            return 0;
        }
        let counts = |sync: &&Sync| sync.done && sync.end.is_some_and(|end| end <= at);
        let syncs = self.syncs.get(&inode).into_iter().flatten().filter(counts);
        syncs.map(|sync| sync.start).max().unwrap_or(0)
    }

    /// Whether the first sync after `event` failed.
    fn spoiled(&self, inode: Inode, event: &Event) -> bool {
        let Some(syncs) = self.syncs.get(&inode) else {
            return false;
        };
        let next = syncs.partition_point(|sync| !event.ended_before(sync.start));
        syncs.get(next).is_some_and(|sync| !sync.done)
    }

    /// The names as the cut leaves them.
    fn names(&self, at: Tick, dice: &mut Dice) -> Namespace {
        let begun = |&&index: &&usize| self.history.events[index].start <= at;
        let begun: Vec<usize> = self.renames.iter().filter(begun).copied().collect();
        let surviving = dice.prefixes(&self.per_dir(&begun), &self.sure_names(&begun, at));
        let mut names = Namespace::new(&self.history.snapshot);
        let mut stopped = BTreeSet::new();
        let mut seen: BTreeMap<Inode, usize> = BTreeMap::new();
        self.know_dirs(&mut names);
        for index in begun {
            let change = self.rename(index);
            let dirs = change.dirs();
            for &dir in &dirs {
                let nth = seen.entry(dir).or_default();
                if *nth >= surviving[&dir] {
                    stopped.insert(dir);
                }
                *nth += 1;
            }
            if dirs.iter().any(|dir| stopped.contains(dir)) {
                stopped.extend(dirs);
                dice.cut.names_lost += 1;
            } else {
                change.apply(&mut names);
            }
        }
        names
    }

    /// A directory is one even while no name in it has survived.
    fn know_dirs(&self, names: &mut Namespace) {
        for &dir in &self.history.dirs {
            names.add_dir(dir);
        }
    }

    fn rename(&self, index: usize) -> &NameChange {
        match &self.history.events[index].change {
            Change::Name(change) => change,
            _ => unreachable!("only changes of names are listed"),
        }
    }

    /// How many changes of names each directory has seen.
    fn per_dir(&self, begun: &[usize]) -> BTreeMap<Inode, usize> {
        let mut counts = BTreeMap::new();
        for dir in begun.iter().flat_map(|&index| self.rename(index).dirs()) {
            *counts.entry(dir).or_default() += 1;
        }
        counts
    }

    /// How many of them are sure. A move between two directories is one
    /// transaction: sure in one it is sure in both, with all that came before.
    fn sure_names(&self, begun: &[usize], at: Tick) -> BTreeMap<Inode, usize> {
        let mut sure: BTreeMap<Inode, usize> = BTreeMap::new();
        loop {
            let before = sure.clone();
            let mut seen: BTreeMap<Inode, usize> = BTreeMap::new();
            for &index in begun {
                let event = &self.history.events[index];
                let dirs = self.rename(index).dirs();
                for &dir in &dirs {
                    *seen.entry(dir).or_default() += 1;
                }
                let synced = |dir: &Inode| event.ended_before(self.sure_before(*dir, at));
                let bound = |dir: &Inode| sure.get(dir).is_some_and(|&count| count >= seen[dir]);
                if dirs.iter().any(|dir| synced(dir) || bound(dir)) {
                    for dir in dirs {
                        let count = sure.entry(dir).or_default();
                        *count = (*count).max(seen[&dir]);
                    }
                }
            }
            if sure == before {
                return sure;
            }
        }
    }
}

/// What decides about all that no sync has made sure.
struct Dice {
    /// `None`: `keep` decides, and is 0 or 1.
    rng: Option<StdRng>,
    /// How likely a write survives whole, the same for one cut: cuts that keep
    /// nearly all or nearly nothing find other faults than those in between.
    keep: f64,
    cut: Cut,
}

impl Dice {
    fn seeded(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let keep = [0.0, 0.1, 0.5, 0.9, 1.0][rng.random_range(0..5)];
        Self {
            rng: Some(rng),
            keep,
            cut: Cut::default(),
        }
    }

    fn strict() -> Self {
        Self {
            rng: None,
            keep: 0.0,
            cut: Cut::default(),
        }
    }

    fn sparing() -> Self {
        Self {
            rng: None,
            keep: 1.0,
            cut: Cut::default(),
        }
    }

    /// What is left of an edit that no sync covered.
    fn fate(&mut self, edit: &Edit) -> Option<Edit> {
        let keep = match &mut self.rng {
            Some(rng) => rng.random_bool(self.keep),
            None => self.keep > 0.0,
        };
        if keep {
            self.cut.kept += 1;
            return Some(edit.clone());
        }
        if let Some(rng) = &mut self.rng
            && rng.random_bool(0.5)
            && let Some(torn) = tear(edit, rng)
        {
            self.cut.torn += 1;
            return Some(torn);
        }
        self.cut.dropped += 1;
        None
    }

    /// How many changes of names survive in each directory: at least the sure
    /// ones, at most all.
    fn prefixes(
        &mut self,
        all: &BTreeMap<Inode, usize>,
        sure: &BTreeMap<Inode, usize>,
    ) -> BTreeMap<Inode, usize> {
        let mut prefix = |(&dir, &all): (&Inode, &usize)| {
            let least = sure.get(&dir).copied().unwrap_or(0);
            let survive = match &mut self.rng {
                Some(rng) => rng.random_range(least..=all),
                None if self.keep > 0.0 => all,
                None => least,
            };
            (dir, survive)
        };
        all.iter().map(&mut prefix).collect()
    }
}

/// One side of a write, cut at a sector; `None` if it lies within one.
fn tear(edit: &Edit, rng: &mut StdRng) -> Option<Edit> {
    let Edit::Write { offset, data } = edit else {
        return None;
    };
    let first = offset / SECTOR_BYTES + 1;
    let last = (offset + data.len() as u64).checked_sub(1)? / SECTOR_BYTES;
    if first > last {
        return None;
    }
    let boundary = rng.random_range(first..=last) * SECTOR_BYTES;
    let split = usize::try_from(boundary - offset).expect("a boundary within the data");
    Some(if rng.random_bool(0.5) {
        Edit::Write {
            offset: *offset,
            data: data.slice(..split),
        }
    } else {
        Edit::Write {
            offset: boundary,
            data: data.slice(split..),
        }
    })
}

fn apply(content: &mut Vec<u8>, edit: &Edit) {
    match edit {
        Edit::Write { offset, data } => {
            let from = length(*offset);
            let to = from + data.len();
            if content.len() < to {
                content.resize(to, 0);
            }
            content[from..to].copy_from_slice(data);
        }
        Edit::Resize { size } => content.resize(length(*size), 0),
        Edit::Zero { offset, len } => {
            let to = length(offset + len).min(content.len());
            let from = length(*offset).min(to);
            content[from..to].fill(0);
        }
    }
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).expect("files of a test fit into memory")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::trace::Snapshot;
    use crate::trace::script::Script;

    /// What the file holds after each of many cuts; `None` where it is missing.
    fn outcomes(script: &Script, at: Tick, name: &str) -> BTreeSet<Option<Vec<u8>>> {
        let history = script.history();
        let disk = Disk::new(&history, Trust::AllSyncs);
        let dir = tempfile::tempdir().unwrap();
        let one = |seed: u64| {
            let cut = dir.path().join(seed.to_string());
            disk.cut(at, seed, &cut).unwrap();
            fs::read(cut.join(name)).ok()
        };
        (0..100).map(one).collect()
    }

    fn strict(script: &Script, at: Tick, name: &str) -> Option<Vec<u8>> {
        let history = script.history();
        let dir = tempfile::tempdir().unwrap();
        let cut = dir.path().join("cut");
        Disk::new(&history, Trust::AllSyncs)
            .cut_strict(at, &cut)
            .unwrap();
        fs::read(cut.join(name)).ok()
    }

    /// A file whose name is sure and whose content is not.
    fn named(name: &str) -> Script {
        let mut script = Script::default();
        script.open(1, 5, name);
        script.open(1, 4, "");
        script.sync(1, 4, "");
        script
    }

    #[test]
    fn synced_data_is_always_there() {
        let mut script = named("a");
        script.write(1, 5, "a", &[1; 2000]);
        script.sync(1, 5, "a");
        script.write(1, 5, "a", &[2; 10]);
        let kept = outcomes(&script, script.now(), "a");
        let whole = |content: &Option<Vec<u8>>| content.as_ref().unwrap()[..2000] == [1; 2000];
        assert!(kept.iter().all(whole));
        assert_eq!(kept.len(), 2, "the later write is there or not");
    }

    #[test]
    fn data_written_while_the_sync_ran_is_not_sure() {
        let mut script = named("a");
        script.share(1, 2);
        script.begin_sync(2, 5, "a");
        script.write(1, 5, "a", b"late");
        script.end_sync(2, 0);
        let expected = BTreeSet::from([Some(vec![]), Some(b"late".to_vec())]);
        assert_eq!(outcomes(&script, script.now(), "a"), expected);
    }

    #[test]
    fn a_sync_counts_only_once_it_has_returned() {
        let mut script = named("a");
        script.write(1, 5, "a", b"data");
        script.begin_sync(1, 5, "a");
        let before = script.now();
        script.end_sync(1, 0);
        assert_eq!(strict(&script, before, "a"), Some(vec![]));
        assert_eq!(strict(&script, script.now(), "a"), Some(b"data".to_vec()));
    }

    #[test]
    fn sync_file_range_promises_nothing() {
        let mut script = named("a");
        script.write(1, 5, "a", b"data");
        script.range_sync(1, 5, "a");
        assert_eq!(strict(&script, script.now(), "a"), Some(vec![]));
    }

    #[test]
    fn what_a_failed_sync_covered_is_never_sure_again() {
        let mut script = named("a");
        script.write(1, 5, "a", b"data");
        script.begin_sync(1, 5, "a");
        script.end_sync(1, -1);
        script.sync(1, 5, "a");
        assert_eq!(strict(&script, script.now(), "a"), Some(vec![]));
    }

    #[test]
    fn an_unsynced_write_is_kept_dropped_or_torn_at_a_sector() {
        let mut script = named("a");
        script.write_at(1, 5, "a", &[1; 1024], 256);
        let shapes = outcomes(&script, script.now(), "a");
        assert!(shapes.contains(&Some(vec![])), "dropped");
        assert!(
            shapes
                .iter()
                .flatten()
                .any(|content| content[..].ends_with(&[1; 1024])),
            "kept"
        );
        let head = |content: &&Vec<u8>| content.len() == 512 && content[256..] == [1; 256];
        assert!(
            shapes.iter().flatten().any(|content| head(&content)),
            "only the first sector"
        );
        let tail = |content: &&Vec<u8>| content.len() == 1280 && content[256..512] == [0; 256];
        assert!(
            shapes.iter().flatten().any(|content| tail(&content)),
            "all but the first sector"
        );
    }

    #[test]
    fn writes_survive_independently_of_their_order() {
        let mut script = named("a");
        script.write_at(1, 5, "a", b"1", 0);
        script.write_at(1, 5, "a", b"2", 1);
        assert!(outcomes(&script, script.now(), "a").contains(&Some(b"\x002".to_vec())));
    }

    #[test]
    fn a_new_file_may_vanish_until_its_directory_is_synced() {
        let mut script = Script::default();
        script.open(1, 5, "a");
        script.write(1, 5, "a", b"data");
        script.sync(1, 5, "a");
        let before = script.now();
        script.open(1, 4, "");
        script.sync(1, 4, "");
        assert_eq!(
            outcomes(&script, before, "a"),
            BTreeSet::from([None, Some(b"data".to_vec())])
        );
        assert_eq!(
            outcomes(&script, script.now(), "a"),
            BTreeSet::from([Some(b"data".to_vec())])
        );
    }

    #[test]
    fn a_rename_may_vanish_until_its_directory_is_synced_and_is_never_half() {
        let mut script = named("new");
        script.open(1, 6, "old");
        script.sync(1, 4, "");
        script.write(1, 5, "new", b"new");
        script.sync(1, 5, "new");
        script.rename(1, "new", "old");
        let unsure = BTreeSet::from([Some(vec![]), Some(b"new".to_vec())]);
        assert_eq!(outcomes(&script, script.now(), "old"), unsure);
        script.sync(1, 4, "");
        let sure = BTreeSet::from([Some(b"new".to_vec())]);
        assert_eq!(outcomes(&script, script.now(), "old"), sure);
        assert_eq!(
            outcomes(&script, script.now(), "new"),
            BTreeSet::from([None])
        );
    }

    #[test]
    fn a_removed_name_may_come_back_until_its_directory_is_synced() {
        let mut script = named("a");
        script.unlink(1, "a");
        assert_eq!(
            outcomes(&script, script.now(), "a"),
            BTreeSet::from([None, Some(vec![])])
        );
        script.sync(1, 4, "");
        assert_eq!(outcomes(&script, script.now(), "a"), BTreeSet::from([None]));
    }

    #[test]
    fn changes_of_names_in_one_directory_survive_in_order() {
        let mut script = Script::default();
        script.open(1, 5, "first");
        script.open(1, 6, "second");
        let history = script.history();
        let disk = Disk::new(&history, Trust::AllSyncs);
        let dir = tempfile::tempdir().unwrap();
        for seed in 0..50 {
            let cut = dir.path().join(seed.to_string());
            disk.cut(script.now(), seed, &cut).unwrap();
            assert!(
                cut.join("first").exists() || !cut.join("second").exists(),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn what_is_in_a_directory_goes_with_it() {
        let mut script = Script::default();
        script.mkdir(1, "d");
        script.open(1, 5, "d/a");
        script.write(1, 5, "d/a", b"data");
        script.sync(1, 5, "d/a");
        script.open(1, 6, "d");
        // opened without O_CREAT would be a lie here: the name exists already
        script.sync(1, 6, "d");
        assert_eq!(strict(&script, script.now(), "d/a"), None);
        script.open(1, 4, "");
        script.sync(1, 4, "");
        assert_eq!(strict(&script, script.now(), "d/a"), Some(b"data".to_vec()));
    }

    #[test]
    fn a_move_between_directories_is_sure_in_both_or_in_neither() {
        let mut script = Script::default();
        script.mkdir(1, "d");
        script.open(1, 5, "a");
        script.open(1, 4, "");
        script.sync(1, 4, "");
        script.open(1, 6, "d");
        script.rename(1, "a", "d/a");
        let history = script.history();
        let disk = Disk::new(&history, Trust::AllSyncs);
        let dir = tempfile::tempdir().unwrap();
        for seed in 0..50 {
            let cut = dir.path().join(seed.to_string());
            disk.cut(script.now(), seed, &cut).unwrap();
            assert!(
                cut.join("a").exists() != cut.join("d/a").exists(),
                "seed {seed}"
            );
        }
        script.sync(1, 6, "d");
        assert!(strict(&script, script.now(), "d/a").is_some());
        assert!(strict(&script, script.now(), "a").is_none());
    }

    #[test]
    fn the_control_believes_no_sync_of_a_file() {
        let mut script = named("a");
        script.write(1, 5, "a", b"data");
        script.sync(1, 5, "a");
        let history = script.history();
        let dir = tempfile::tempdir().unwrap();
        let cut = dir.path().join("cut");
        Disk::new(&history, Trust::DirectoriesOnly)
            .cut_strict(script.now(), &cut)
            .unwrap();
        assert_eq!(fs::read(cut.join("a")).unwrap(), b"");
    }

    #[test]
    fn what_was_there_before_the_trace_stays() {
        let before = tempfile::tempdir().unwrap();
        fs::write(before.path().join("a"), b"before").unwrap();
        let mut script = Script::default();
        script.open(1, 5, "a");
        script.write_at(1, 5, "a", b"XX", 2);
        script.sync(1, 5, "a");
        let history = script.history_on(Snapshot::of(before.path()).unwrap());
        let disk = Disk::new(&history, Trust::AllSyncs);
        let dir = tempfile::tempdir().unwrap();
        disk.cut_strict(1, &dir.path().join("early")).unwrap();
        disk.cut_strict(script.now(), &dir.path().join("late"))
            .unwrap();
        assert_eq!(fs::read(dir.path().join("early/a")).unwrap(), b"before");
        assert_eq!(fs::read(dir.path().join("late/a")).unwrap(), b"beXXre");
    }

    #[test]
    fn the_same_seed_cuts_the_same_way() {
        let mut script = named("a");
        for nth in 0..20 {
            script.write_at(1, 5, "a", &[nth; 600], u64::from(nth) * 600);
        }
        let history = script.history();
        let disk = Disk::new(&history, Trust::AllSyncs);
        let dir = tempfile::tempdir().unwrap();
        for seed in 0..10 {
            let (one, other) = (
                dir.path().join(format!("{seed}a")),
                dir.path().join(format!("{seed}b")),
            );
            let cuts = [
                disk.cut(9, seed, &one).unwrap(),
                disk.cut(9, seed, &other).unwrap(),
            ];
            assert_eq!(cuts[0], cuts[1]);
            assert_eq!(fs::read(one.join("a")).ok(), fs::read(other.join("a")).ok());
        }
    }

    proptest! {
        /// Whatever was written and synced in whatever order: each byte is one
        /// that was written there last before the last sync, or later.
        #[test]
        fn every_byte_is_the_synced_one_or_a_later_one(
            steps in prop::collection::vec((0u64..8, 1usize..4, prop::bool::weighted(0.3)), 1..30),
            cut_at in 0usize..40,
            seed: u64,
        ) {
            let mut script = named("a");
            let mut possible: Vec<BTreeSet<u8>> = vec![BTreeSet::from([0]); 12];
            let mut latest = [0u8; 12];
            for (nth, &(offset, len, sync)) in steps.iter().enumerate().take(cut_at) {
                let value = u8::try_from(nth + 1).unwrap();
                script.write_at(1, 5, "a", &vec![value; len], offset);
                for at in usize::try_from(offset).unwrap().. {
                    if at >= usize::try_from(offset).unwrap() + len {
                        break;
                    }
                    possible[at].insert(value);
                    latest[at] = value;
                }
                if sync {
                    script.sync(1, 5, "a");
                    possible = latest.iter().map(|&value| BTreeSet::from([value])).collect();
                }
            }
            let history = script.history();
            let dir = tempfile::tempdir().unwrap();
            let cut = dir.path().join("cut");
            Disk::new(&history, Trust::AllSyncs).cut(script.now(), seed, &cut).unwrap();
            let content = fs::read(cut.join("a")).unwrap();
            for (at, allowed) in possible.iter().enumerate() {
                let byte = content.get(at).copied().unwrap_or(0);
                prop_assert!(allowed.contains(&byte), "byte {at} is {byte}, not of {allowed:?}");
            }
        }
    }
}
