//! Which sources and times are where in the log, coarsely, in memory.
//!
//! Blocks are merged into spans of some hundred deliveries, so that the table
//! grows with the log's deliveries / 256 and not with its blocks: five million
//! single-delivery blocks cost about two megabytes.

use crate::ids::Offset;
use crate::log::block::Index;
use crate::time::Timestamp;

/// A span is closed when it holds this many deliveries.
const SPAN_DELIVERIES: u64 = 256;

/// Bit of a source in a span's mask. Several sources may share one: then a span is looked at in vain.
pub fn source_bit(source: &str) -> u64 {
    1 << (crc32fast::hash(source.as_bytes()) % 64)
}

/// A stretch of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First offset.
    pub first: Offset,
    /// One past the last.
    pub end: Offset,
    /// How many of the offsets are there: all, but in what is left of a rewritten volume.
    pub count: u64,
    /// Bits of the sources in it.
    pub sources: u64,
    /// Earliest receive time.
    pub received_min: Timestamp,
    /// Latest receive time.
    pub received_max: Timestamp,
}

impl Span {
    /// What a block's index says.
    pub fn of(index: &Index) -> Self {
        let bits = index.sources.iter().map(|source| source_bit(source));
        Self {
            first: index.first,
            end: index.first + u64::from(index.count),
            count: u64::from(index.count),
            sources: bits.fold(0, |mask, bit| mask | bit),
            received_min: index.received_min,
            received_max: index.received_max,
        }
    }

    /// Nothing is missing in it.
    fn is_whole(&self) -> bool {
        self.count == self.end - self.first
    }

    /// The part of it in `first .. end`; with holes, it is not known how many of them are in it.
    fn cut(&self, first: Offset, end: Offset) -> Self {
        let (first, end) = (self.first.max(first), self.end.min(end));
        Self {
            first,
            end,
            count: self.count.min(end.saturating_sub(first)),
            ..*self
        }
    }

    fn take_in(&mut self, next: &Self) {
        self.end = next.end;
        self.count += next.count;
        self.sources |= next.sources;
        self.received_min = self.received_min.min(next.received_min);
        self.received_max = self.received_max.max(next.received_max);
    }
}

/// Merges what is left of a volume, in order, into few spans with holes.
pub fn coarse(left: impl IntoIterator<Item = Span>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for span in left {
        match spans.last_mut() {
            Some(last) if last.count < SPAN_DELIVERIES => last.take_in(&span),
            _ => spans.push(span),
        }
    }
    spans
}

/// All spans of the log, in order of offset; holes are where volumes went.
#[derive(Debug, Default)]
pub struct Spans {
    spans: Vec<Span>,
}

impl Spans {
    /// Adds a block behind all others.
    pub fn push(&mut self, block: Span) {
        match self.spans.last_mut() {
            Some(last)
                if last.end == block.first && last.count < SPAN_DELIVERIES && last.is_whole() =>
            {
                last.take_in(&block);
            }
            _ => self.spans.push(block),
        }
    }

    /// Adds what is left of a rewritten volume behind all others.
    pub fn push_rest(&mut self, left: Vec<Span>) {
        self.spans.extend(left);
    }

    /// Forgets `first .. end`. A span may reach from one volume into the next: what it holds of
    /// those that stay is kept.
    pub fn remove(&mut self, first: Offset, end: Offset) {
        self.replace(first, end, Vec::new());
    }

    /// Puts `left`, which is in order and within `first .. end`, in the place of what is there.
    /// Answers what was there.
    pub fn replace(&mut self, first: Offset, end: Offset, left: Vec<Span>) -> Vec<Span> {
        let from = self.spans.partition_point(|span| span.end <= first);
        let to = self
            .spans
            .partition_point(|span| span.first < end)
            .max(from);
        let old: Vec<Span> = self.spans[from..to].to_vec();
        let kept = |from: Offset, to: Offset| {
            let parts = old.iter().map(move |span| span.cut(from, to));
            parts.filter(|span| span.first < span.end)
        };
        let new: Vec<Span> = kept(0, first)
            .chain(left)
            .chain(kept(end, Offset::MAX))
            .collect();
        let replaced = kept(first, end).collect();
        self.spans.splice(from..to, new);
        replaced
    }

    /// The first span at or after `from` that may hold a source; cut to begin at `from`.
    pub fn next_with(&self, from: Offset, bit: u64) -> Option<Span> {
        let at = self.spans.partition_point(|span| span.end <= from);
        let span = self.spans[at..]
            .iter()
            .find(|span| span.sources & bit != 0)?;
        Some(span.cut(from, Offset::MAX))
    }

    /// The first offset from which on everything was received at or after `time`, if any was.
    pub fn first_since(&self, time: Timestamp) -> Option<Offset> {
        self.spans
            .iter()
            .find(|span| span.received_max >= time)
            .map(|span| span.first)
    }

    /// Latest receive time in `first .. end`.
    pub fn received_max(&self, first: Offset, end: Offset) -> Option<Timestamp> {
        let at = self.spans.partition_point(|span| span.end <= first);
        self.spans[at..]
            .iter()
            .take_while(|span| span.first < end)
            .map(|span| span.received_max)
            .max()
    }

    /// Whether `first .. end` may hold a source.
    pub fn may_hold(&self, first: Offset, end: Offset, bit: u64) -> bool {
        self.next_with(first, bit)
            .is_some_and(|span| span.first < end)
    }

    /// Receive time of about the first delivery of a source at or after `from`.
    pub fn received_from(&self, from: Offset, bit: u64) -> Option<Timestamp> {
        self.next_with(from, bit).map(|span| span.received_min)
    }

    /// How many deliveries at or after `from` may be of a source.
    pub fn count_from(&self, from: Offset, bit: u64) -> u64 {
        let at = self.spans.partition_point(|span| span.end <= from);
        let matching = self.spans[at..]
            .iter()
            .filter(|span| span.sources & bit != 0);
        matching.map(|span| span.cut(from, Offset::MAX).count).sum()
    }

    /// How many deliveries are in `first .. end`.
    pub fn count_in(&self, first: Offset, end: Offset) -> u64 {
        let at = self.spans.partition_point(|span| span.end <= first);
        let within = self.spans[at..].iter().take_while(|span| span.first < end);
        within.map(|span| span.cut(first, end).count).sum()
    }

    /// Earliest and latest receive time, and bits of the sources, in `first .. end`.
    pub fn fold(&self, first: Offset, end: Offset) -> Option<Span> {
        let at = self.spans.partition_point(|span| span.end <= first);
        let mut within = self.spans[at..].iter().take_while(|span| span.first < end);
        let mut all = *within.next()?;
        within.for_each(|span| all.take_in(span));
        Some(all.cut(first, end))
    }

    /// The last span that begins below `below`.
    pub fn last_below(&self, below: Offset) -> Option<Span> {
        let at = self.spans.partition_point(|span| span.first < below);
        let span = self.spans.get(at.checked_sub(1)?)?;
        Some(span.cut(0, below))
    }

    /// The oldest offset that is there.
    pub fn first(&self) -> Option<Offset> {
        self.spans.first().map(|span| span.first)
    }

    /// Deliveries that are there.
    pub fn deliveries(&self) -> u64 {
        self.spans.iter().map(|span| span.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(first: Offset, count: u64, source: &str, at: u64) -> Span {
        Span {
            first,
            end: first + count,
            count,
            sources: source_bit(source),
            received_min: Timestamp(at),
            received_max: Timestamp(at + 1),
        }
    }

    #[test]
    fn single_deliveries_are_merged_into_few_spans() {
        let mut spans = Spans::default();
        for offset in 1..=10_000 {
            spans.push(block(offset, 1, "a", offset));
        }
        assert_eq!(spans.spans.len(), 10_000 / 256 + 1);
        assert_eq!(spans.deliveries(), 10_000);
    }

    #[test]
    fn a_quiet_source_skips_what_is_not_its_own() {
        let mut spans = Spans::default();
        spans.push(block(1, 300, "busy", 1));
        spans.push(block(301, 300, "quiet", 2));
        let found = spans.next_with(5, source_bit("quiet")).unwrap();
        assert_eq!((found.first, found.end), (301, 601));
        assert_eq!(spans.count_from(5, source_bit("quiet")), 300);
        assert_eq!(spans.count_from(5, source_bit("busy")), 296);
    }

    #[test]
    fn a_removed_volume_is_a_hole() {
        let mut spans = Spans::default();
        spans.push(block(1, 300, "a", 1));
        spans.push(block(301, 300, "a", 2));
        spans.remove(1, 301);
        assert_eq!(spans.first(), Some(301));
        assert_eq!(spans.next_with(1, source_bit("a")).unwrap().first, 301);
        assert!(spans.last_below(301).is_none());
    }

    #[test]
    fn what_is_left_of_a_volume_is_few_spans_with_holes() {
        let mut spans = Spans::default();
        (1..=3000).for_each(|offset| spans.push(block(offset, 1, "a", offset)));
        let left = coarse((1001..=2000).step_by(2).map(|o| block(o, 1, "a", o)));
        assert_eq!(left.len(), 2);
        let old = spans.replace(1001, 2001, left);
        assert_eq!(spans.deliveries(), 2500);
        assert_eq!(spans.count_in(1001, 2001), 500);
        assert_eq!(
            (spans.count_in(1, 1001), spans.count_in(2001, 3001)),
            (1000, 1000)
        );
        // what comes behind a span with holes does not become a part of it
        spans.remove(2001, 3001);
        spans.push(block(2000, 1, "a", 1));
        assert_eq!(spans.deliveries(), 1501);
        spans.remove(2000, 2001);
        assert_eq!(spans.deliveries(), 1500);
        // and back
        spans.replace(1001, 2001, old);
        assert_eq!(spans.deliveries(), 2000);
        assert_eq!(spans.count_in(1001, 2001), 1000);
    }

    #[test]
    fn a_removed_volume_leaves_what_its_spans_hold_of_its_neighbours() {
        let mut spans = Spans::default();
        for offset in 1..=30 {
            spans.push(block(offset, 1, "a", offset));
        }
        spans.remove(11, 21);
        let held = |from| {
            let found = spans.next_with(from, source_bit("a"));
            found.map(|span| (span.first, span.end))
        };
        assert_eq!((held(1), held(11)), (Some((1, 11)), Some((21, 31))));
        assert_eq!(spans.deliveries(), 20);
        spans.remove(1, 11);
        assert_eq!(spans.first(), Some(21));
        spans.remove(21, 31);
        assert_eq!(spans.deliveries(), 0);
    }
}
