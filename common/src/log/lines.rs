//! Whose deliveries go into the next commit.
//!
//! As a rule all that wait fit into it, in the order they came. When they do not, sources take
//! turns, a few each, so that one that floods lengthens its own line and no other: what the others
//! send waits for as many turns as there are sources, whatever is in their lines.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::log::committer::Pending;

/// Most bytes in one commit; the rest goes with the next.
const COMMIT_BYTES_MAX: usize = 8 << 20;
/// What a source gives to a commit before it is the next one's turn.
const TURN_BYTES: usize = 256 << 10;
/// How long is waited for a first delivery before whoever asks looks whether it is wanted otherwise.
const IDLE: Duration = Duration::from_secs(1);
/// Most deliveries that stand in line here; the others stay in the inbox, which is bounded too.
const WAITING_MAX: usize = 65_536;

/// What waits beyond one commit, in a line for each source.
#[derive(Default)]
pub struct Lines {
    /// The next one first; none is empty.
    lines: VecDeque<Line>,
    waiting: usize,
}

struct Line {
    source: Arc<str>,
    waiting: VecDeque<Pending>,
    /// Bytes that it may still give; less than nothing after a large one, which took more than a turn.
    credit: isize,
}

impl Lines {
    /// The next commit: empty if nothing came for a while, `None` once nobody can send any more and
    /// all has been given out.
    pub fn gather(&mut self, inbox: &Receiver<Pending>) -> Option<Vec<Pending>> {
        if self.lines.is_empty() {
            let first = match inbox.recv_timeout(IDLE) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => return None,
            };
            let (gathered, bytes) = as_they_came(first, inbox);
            if bytes < COMMIT_BYTES_MAX {
                return Some(gathered);
            }
            gathered.into_iter().for_each(|one| self.stand(one));
        }
        while self.waiting < WAITING_MAX {
            let Ok(one) = inbox.try_recv() else { break };
            self.stand(one);
        }
        Some(self.take())
    }

    fn stand(&mut self, one: Pending) {
        self.waiting += 1;
        let source = &one.entry.source;
        let mut lines = self.lines.iter_mut();
        if let Some(line) = lines.find(|line| line.source == *source) {
            return line.waiting.push_back(one);
        }
        self.lines.push_back(Line {
            source: source.clone(),
            waiting: VecDeque::from([one]),
            credit: 0,
        });
    }

    fn take(&mut self) -> Vec<Pending> {
        let mut gathered = Vec::new();
        let mut bytes = 0;
        while bytes < COMMIT_BYTES_MAX {
            let Some(mut line) = self.lines.pop_front() else {
                break;
            };
            line.credit += TURN_BYTES.cast_signed();
            while line.credit > 0
                && let Some(one) = line.waiting.pop_front()
            {
                line.credit -= weight(&one).cast_signed();
                bytes += weight(&one);
                self.waiting -= 1;
                gathered.push(one);
            }
            if !line.waiting.is_empty() {
                self.lines.push_back(line);
            }
        }
        gathered
    }
}

/// All that is there, or as much as goes into one commit, with its bytes.
fn as_they_came(first: Pending, inbox: &Receiver<Pending>) -> (Vec<Pending>, usize) {
    let mut bytes = weight(&first);
    let mut gathered = vec![first];
    while bytes < COMMIT_BYTES_MAX {
        let Ok(pending) = inbox.try_recv() else { break };
        bytes += weight(&pending);
        gathered.push(pending);
    }
    (gathered, bytes)
}

fn weight(one: &Pending) -> usize {
    one.entry.record.len()
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Sender, unbounded};
    use proptest::prelude::*;
    use tokio::sync::oneshot;

    use super::*;
    use crate::log::block::Entry;
    use crate::time::Timestamp;

    const KIB: usize = 1 << 10;

    /// A delivery that is known by when it was received.
    fn send(inbox: &Sender<Pending>, source: &str, number: u64, bytes: usize) {
        let (reply, _) = oneshot::channel();
        let entry = Entry {
            record: vec![0; bytes],
            source: source.into(),
            received_at: Timestamp(number),
            key: None,
        };
        let pending = Pending {
            entry,
            since: Timestamp::default(),
            runs_asked: 0,
            reply,
        };
        inbox.send(pending).unwrap();
    }

    fn names(commit: &[Pending]) -> Vec<(&str, u64)> {
        let entries = commit.iter().map(|one| &one.entry);
        entries
            .map(|entry| (&*entry.source, entry.received_at.millis()))
            .collect()
    }

    #[test]
    fn what_fits_is_taken_as_it_came() {
        let (inbox, waiting) = unbounded();
        for number in 0..100 {
            send(&inbox, ["a", "b"][number as usize % 2], number, KIB);
        }
        let commit = Lines::default().gather(&waiting).unwrap();
        let numbers: Vec<u64> = names(&commit)
            .into_iter()
            .map(|(_, number)| number)
            .collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_source_that_floods_waits_and_the_others_go_with_the_next_commit() {
        let (inbox, waiting) = unbounded();
        for number in 0..60_000 {
            send(&inbox, "noisy", number, KIB);
        }
        let mut lines = Lines::default();
        lines.gather(&waiting).unwrap();
        // it comes while the other one still has enough waiting for six commits
        send(&inbox, "quiet", 1, KIB);
        let commit = lines.gather(&waiting).unwrap();
        assert!(names(&commit).contains(&("quiet", 1)));
        let bytes: usize = commit.iter().map(weight).sum();
        assert!(bytes < COMMIT_BYTES_MAX + TURN_BYTES, "{bytes}");
    }

    #[test]
    fn large_deliveries_are_no_way_to_get_more() {
        let (inbox, waiting) = unbounded();
        for number in 0..40 {
            send(&inbox, "large", number, 4 << 20);
            for part in 0..100 {
                send(&inbox, "small", number * 100 + part, 10 * KIB);
            }
        }
        let mut lines = Lines::default();
        let mut bytes = [0, 0];
        for _ in 0..4 {
            for one in lines.gather(&waiting).unwrap() {
                bytes[usize::from(&*one.entry.source == "large")] += weight(&one);
            }
        }
        let [small, large] = bytes;
        assert!(large <= small + (8 << 20), "{large} {small}");
    }

    proptest! {
        #[test]
        fn each_goes_once_and_in_the_order_of_its_source(
            sent in prop::collection::vec((0usize..5, 0usize..3 << 20), 1..60),
        ) {
            let (inbox, waiting) = unbounded();
            for (number, (source, bytes)) in sent.iter().enumerate() {
                send(&inbox, &source.to_string(), number as u64, *bytes);
            }
            drop(inbox);
            let mut lines = Lines::default();
            let mut gone: Vec<Vec<u64>> = vec![Vec::new(); 5];
            while let Some(commit) = lines.gather(&waiting) {
                for (source, number) in names(&commit) {
                    gone[source.parse::<usize>().unwrap()].push(number);
                }
            }
            let numbered = sent.iter().enumerate();
            let mut expected: Vec<Vec<u64>> = vec![Vec::new(); 5];
            numbered.for_each(|(number, (source, _))| expected[*source].push(number as u64));
            prop_assert_eq!(gone, expected);
        }
    }
}
