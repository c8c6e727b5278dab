//! Offsets without deliveries, and why: removed on purpose, or lost. Kept durably.

use std::path::{Path, PathBuf};

use super::files::{self, Cursor, failed, put_u32, put_u64};
use crate::engine::{EngineError, Gap};
use crate::ids::Offset;

/// The file's name.
const FILE: &str = "spans";

/// Half-open stretches of offsets in order, neighbours merged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stretches(Vec<(Offset, Offset)>);

impl Stretches {
    /// Adds `first .. end`; may overlap what is there.
    pub(super) fn add(&mut self, first: Offset, end: Offset) {
        if first >= end {
            return;
        }
        // what comes in order costs nothing
        match self.0.last_mut() {
            Some(last) if first < last.0 => self.0.push((first, end)),
            Some(last) if first <= last.1 => {
                last.1 = last.1.max(end);
                return;
            }
            _ => {
                self.0.push((first, end));
                return;
            }
        }
        self.0.sort_unstable();
        let mut merged: Vec<(Offset, Offset)> = Vec::with_capacity(self.0.len());
        for &(first, end) in &self.0 {
            match merged.last_mut() {
                Some(last) if first <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((first, end)),
            }
        }
        self.0 = merged;
    }

    /// Adds all of another's.
    pub(super) fn merge(&mut self, other: &Self) {
        for &(first, end) in &other.0 {
            self.add(first, end);
        }
    }

    /// All of them, in order.
    pub(super) fn all(&self) -> &[(Offset, Offset)] {
        &self.0
    }

    /// Whether all of `first .. end` is in.
    pub(super) fn cover(&self, first: Offset, end: Offset) -> bool {
        self.0.iter().any(|&(f, e)| f <= first && end <= e)
    }

    /// One past the highest offset in; at least 1.
    pub(super) fn end(&self) -> Offset {
        self.0.last().map_or(1, |&(_, end)| end)
    }

    /// What is missing between 1 and [`Stretches::end`].
    pub(super) fn holes(&self) -> Vec<(Offset, Offset)> {
        let mut from = 1;
        let mut holes = Vec::new();
        for &(first, end) in &self.0 {
            if from < first {
                holes.push((from, first));
            }
            from = end;
        }
        holes
    }
}

/// The file and what is in it.
#[derive(Debug)]
pub(super) struct Spans {
    path: PathBuf,
    removed: Stretches,
    gaps: Vec<Gap>,
}

impl Spans {
    /// Reads the file; empty when there is none. One that is damaged is kept aside as
    /// `spans.damaged`; what it said is then found missing and reported as lost.
    pub(super) fn open(dir: &Path) -> Result<Self, EngineError> {
        let path = dir.join(FILE);
        let mut spans = Self {
            path: path.clone(),
            removed: Stretches::default(),
            gaps: Vec::new(),
        };
        match std::fs::read(&path) {
            Ok(bytes) => {
                if spans.decode(&bytes).is_none() {
                    tracing::error!(file = %path.display(), "damaged; set aside");
                    let aside = dir.join("spans.damaged");
                    std::fs::rename(&path, aside).map_err(failed(&path))?;
                    (spans.removed, spans.gaps) = (Stretches::default(), Vec::new());
                }
                Ok(spans)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(spans),
            Err(e) => Err(failed(&path)(e)),
        }
    }

    pub(super) fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    pub(super) fn removed(&self) -> &Stretches {
        &self.removed
    }

    /// All that is accounted for here.
    pub(super) fn all(&self) -> Stretches {
        let mut all = self.removed.clone();
        for gap in &self.gaps {
            all.add(gap.first, gap.last + 1);
        }
        all
    }

    /// Records that `first .. end` goes on purpose, synced.
    pub(super) fn add_removed(&mut self, first: Offset, end: Offset) -> Result<(), EngineError> {
        self.removed.add(first, end);
        self.write()
    }

    /// Records gaps, synced. Answers those that were not recorded yet.
    pub(super) fn add_gaps(&mut self, gaps: &[Gap]) -> Result<Vec<Gap>, EngineError> {
        let mut new = Vec::new();
        for gap in gaps {
            let known = |g: &Gap| g.first <= gap.first && gap.last <= g.last;
            if gap.first <= gap.last && !self.gaps.iter().any(known) {
                self.gaps.push(*gap);
                new.push(*gap);
            }
        }
        if !new.is_empty() {
            merge(&mut self.gaps);
            self.write()?;
        }
        Ok(new)
    }

    fn write(&self) -> Result<(), EngineError> {
        files::replace(&self.path, &self.encode()).map_err(failed(&self.path))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_u32(&mut bytes, self.removed.0.len() as u32);
        for (first, end) in &self.removed.0 {
            put_u64(&mut bytes, *first);
            put_u64(&mut bytes, *end);
        }
        put_u32(&mut bytes, self.gaps.len() as u32);
        for gap in &self.gaps {
            put_u64(&mut bytes, gap.first);
            put_u64(&mut bytes, gap.last);
            bytes.push(u8::from(gap.known_lost));
        }
        let crc = crc32fast::hash(&bytes);
        put_u32(&mut bytes, crc);
        bytes
    }

    #[cfg(feature = "fuzzing")]
    pub(super) fn sample() -> Vec<u8> {
        let gap = Gap {
            first: 9,
            last: 12,
            known_lost: true,
        };
        let spans = Self {
            path: PathBuf::new(),
            removed: Stretches(vec![(1, 5)]),
            gaps: vec![gap],
        };
        spans.encode()
    }

    /// Reads bytes that may be anything; what is read, written, reads the same.
    #[cfg(feature = "fuzzing")]
    pub(super) fn read(bytes: &[u8]) {
        let empty = || Self {
            path: PathBuf::new(),
            removed: Stretches::default(),
            gaps: Vec::new(),
        };
        let mut spans = empty();
        if spans.decode(bytes).is_some() {
            let _ = (spans.all().holes(), spans.removed().end());
            let mut again = empty();
            assert!(again.decode(&spans.encode()).is_some());
            assert_eq!((&again.removed, &again.gaps), (&spans.removed, &spans.gaps));
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> Option<()> {
        let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if u32::from_le_bytes(crc.try_into().ok()?) != crc32fast::hash(body) {
            return None;
        }
        let mut cursor = Cursor(body);
        for _ in 0..cursor.u32()? {
            let (first, end) = (cursor.u64()?, cursor.u64()?);
            (first < end).then(|| self.removed.0.push((first, end)))?;
        }
        for _ in 0..cursor.u32()? {
            let gap = Gap {
                first: cursor.u64()?,
                last: cursor.u64()?,
                known_lost: cursor.u8()? == 1,
            };
            // the last offset of all is never given out
            let is_gap = gap.first <= gap.last && gap.last < Offset::MAX;
            is_gap.then(|| self.gaps.push(gap))?;
        }
        Some(())
    }
}

/// Puts gaps in order and neighbours of one kind together: a volume of which nothing can be read is
/// one gap, not one for each of its blocks.
fn merge(gaps: &mut Vec<Gap>) {
    gaps.sort_unstable_by_key(|gap| gap.first);
    gaps.dedup_by(|gap, before| {
        let goes_on = gap.known_lost == before.known_lost && gap.first == before.last + 1;
        if goes_on {
            before.last = gap.last;
        }
        goes_on
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_merge_and_know_their_holes() {
        let mut all = Stretches::default();
        for (first, end) in [(10, 20), (1, 5), (20, 25), (15, 17), (30, 30), (40, 41)] {
            all.add(first, end);
        }
        assert_eq!(all.0, [(1, 5), (10, 25), (40, 41)]);
        assert_eq!(all.holes(), [(5, 10), (25, 40)]);
        assert_eq!(all.end(), 41);
        assert!(all.cover(11, 25) && !all.cover(11, 26));
    }

    #[test]
    fn spans_are_kept_and_a_damaged_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let mut spans = Spans::open(dir.path()).unwrap();
        let gap = Gap {
            first: 9,
            last: 12,
            known_lost: true,
        };
        spans.add_removed(1, 5).unwrap();
        assert_eq!(spans.add_gaps(&[gap]).unwrap(), [gap]);
        assert_eq!(spans.add_gaps(&[gap]).unwrap(), []);
        let behind = Gap {
            first: 13,
            last: 13,
            known_lost: true,
        };
        let unused = Gap {
            first: 14,
            last: 20,
            known_lost: false,
        };
        assert_eq!(spans.add_gaps(&[behind, unused]).unwrap(), [behind, unused]);
        let gap = Gap { last: 13, ..gap };
        let again = Spans::open(dir.path()).unwrap();
        assert_eq!(again.gaps(), [gap, unused]);
        assert_eq!(again.all().holes(), [(5, 9)]);
        let path = dir.path().join("spans");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[6] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let empty = Spans::open(dir.path()).unwrap();
        assert!(empty.gaps().is_empty());
        let kept = std::fs::read(dir.path().join("spans.damaged")).unwrap();
        assert_eq!(kept, bytes);
    }
}
