//! Did a sync stand before every answer?

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::history::{Change, Edit};
use super::namespace::Inode;
use super::{History, Tick};
use crate::harness::Marker;

/// A delivery that was answered with 2xx, as its sender knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked {
    /// What its body holds and no other body.
    pub marker: Marker,
    /// The id in the answer.
    pub id: String,
}

/// What [`acks_are_covered`] found.
#[derive(Debug, Default)]
pub struct Coverage {
    pub acks: usize,
    pub syncs: usize,
    /// Answers that a power cut just after them could have made a lie.
    pub uncovered: Vec<Uncovered>,
}

/// An answer without a sync before it.
#[derive(Debug, PartialEq, Eq)]
pub struct Uncovered {
    pub acked: Acked,
    pub why: Why,
}

/// What is missing.
#[derive(Debug, PartialEq, Eq)]
pub enum Why {
    /// No answer with this id is in the trace.
    NeverAnswered,
    /// The marker was in no write that ended before the answer.
    NeverWritten,
    /// It was written, but no sync of that file started after the write and
    /// returned before the answer.
    NotSynced,
}

impl Coverage {
    /// Answers that the trace shows and no sync covers. Of a process that ended in
    /// the middle of a call, strace may miss the answer itself: those are left out.
    pub fn broken(&self) -> impl Iterator<Item = &Uncovered> {
        self.uncovered
            .iter()
            .filter(|one| one.why != Why::NeverAnswered)
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            acks,
            syncs,
            uncovered,
        } = self;
        write!(
            f,
            "{acks} acks, {syncs} syncs, {} acks not covered",
            uncovered.len()
        )?;
        match uncovered.first() {
            Some(first) => write!(f, "; the first: {first:?}"),
            None => Ok(()),
        }
    }
}

/// Checks that each answer came after a sync of its own bytes: some write that
/// carried the delivery's marker was over before a sync of the same file
/// started, and that sync had returned well before the answer was sent.
pub fn acks_are_covered(history: &History, acked: &[Acked]) -> Coverage {
    let sent: HashMap<&str, Tick> = history.acks().map(|(at, id)| (id, at)).collect();
    let written = written(history);
    let syncs = syncs(history);
    let judge = |acked: &Acked| {
        let Some(&sent) = sent.get(acked.id.as_str()) else {
            return Some(Why::NeverAnswered);
        };
        let before = |write: &&Written| write.end < sent;
        let mut writes = written
            .get(&acked.marker)
            .into_iter()
            .flatten()
            .filter(before)
            .peekable();
        if writes.peek().is_none() {
            return Some(Why::NeverWritten);
        }
        let covers = |write: &Written, sync: &(Tick, Tick)| write.end < sync.0 && sync.1 < sent;
        let synced = |write: &Written| {
            let syncs = syncs.get(&write.inode).map_or(&[][..], Vec::as_slice);
            let from = syncs.partition_point(|sync| sync.0 <= write.end);
            syncs[from..].iter().any(|sync| covers(write, sync))
        };
        (!writes.any(synced)).then_some(Why::NotSynced)
    };
    let uncovered = |acked: &Acked| {
        judge(acked).map(|why| Uncovered {
            acked: acked.clone(),
            why,
        })
    };
    Coverage {
        acks: acked.len(),
        syncs: history.syncs(),
        uncovered: acked.iter().filter_map(uncovered).collect(),
    }
}

struct Written {
    inode: Inode,
    end: Tick,
}

fn written(history: &History) -> HashMap<Marker, Vec<Written>> {
    let mut written: HashMap<Marker, Vec<Written>> = HashMap::new();
    for event in &history.events {
        let Change::Data {
            inode,
            edit: Edit::Write { data, .. },
        } = &event.change
        else {
            continue;
        };
        let Some(end) = event.end else { continue };
        for marker in Marker::all_in(data) {
            written
                .entry(marker)
                .or_default()
                .push(Written { inode: *inode, end });
        }
    }
    written
}

/// Start and end of each sync that returned well, by file, ordered by start.
fn syncs(history: &History) -> BTreeMap<Inode, Vec<(Tick, Tick)>> {
    let mut syncs: BTreeMap<Inode, Vec<(Tick, Tick)>> = BTreeMap::new();
    for event in &history.events {
        if let (Change::Sync { inode, done: true }, Some(end)) = (&event.change, event.end) {
            syncs.entry(*inode).or_default().push((event.start, end));
        }
    }
    for syncs in syncs.values_mut() {
        syncs.sort_unstable();
    }
    syncs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::script::Script;

    fn acked(number: u64) -> Acked {
        Acked {
            marker: Marker::new(number),
            id: format!("log-{number}"),
        }
    }

    /// A file with one delivery in it, written but not synced.
    fn written(number: u64) -> Script {
        let mut script = Script::default();
        script.open(1, 5, "db");
        script.write_at(1, 5, "db", Marker::new(number).to_string().as_bytes(), 0);
        script
    }

    #[test]
    fn an_ack_after_the_sync_of_its_bytes_is_covered() {
        let mut script = written(7);
        script.sync(1, 5, "db");
        script.ack(1, "log-7");
        let coverage = acks_are_covered(&script.history(), &[acked(7)]);
        assert!(coverage.uncovered.is_empty(), "{coverage}");
    }

    #[test]
    fn an_ack_that_starts_before_the_sync_returns_is_not_covered() {
        let mut script = written(7);
        script.begin_sync(1, 5, "db");
        script.ack(2, "log-7");
        script.end_sync(1, 0);
        let coverage = acks_are_covered(&script.history(), &[acked(7)]);
        assert_eq!(coverage.uncovered[0].why, Why::NotSynced);
    }

    #[test]
    fn a_sync_that_started_before_the_write_does_not_cover_it() {
        let mut script = Script::default();
        script.open(1, 5, "db");
        script.share(1, 2);
        script.begin_sync(2, 5, "db");
        script.write_at(1, 5, "db", b"marker-000000007", 0);
        script.end_sync(2, 0);
        script.ack(1, "log-7");
        let coverage = acks_are_covered(&script.history(), &[acked(7)]);
        assert_eq!(coverage.uncovered[0].why, Why::NotSynced);
    }

    #[test]
    fn a_sync_of_another_file_covers_nothing() {
        let mut script = written(7);
        script.open(1, 6, "other");
        script.sync(1, 6, "other");
        script.ack(1, "log-7");
        let coverage = acks_are_covered(&script.history(), &[acked(7)]);
        assert_eq!(coverage.uncovered[0].why, Why::NotSynced);
    }

    #[test]
    fn sync_file_range_and_failed_syncs_cover_nothing() {
        let mut script = written(7);
        script.range_sync(1, 5, "db");
        script.begin_sync(1, 5, "db");
        script.end_sync(1, -1);
        script.ack(1, "log-7");
        let coverage = acks_are_covered(&script.history(), &[acked(7)]);
        assert_eq!(coverage.uncovered[0].why, Why::NotSynced);
    }

    #[test]
    fn an_ack_that_is_not_in_the_trace_and_a_body_that_is_not_are_told_apart() {
        let mut script = written(7);
        script.sync(1, 5, "db");
        script.ack(1, "log-8");
        let coverage = acks_are_covered(&script.history(), &[acked(7), acked(8)]);
        let why: Vec<_> = coverage.uncovered.iter().map(|one| &one.why).collect();
        assert_eq!(why, [&Why::NeverAnswered, &Why::NeverWritten]);
    }
}
