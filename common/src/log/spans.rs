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
    /// Bits of the sources in it.
    pub sources: u64,
    /// Earliest receive time.
    pub received_min: Timestamp,
    /// Latest receive time.
    pub received_max: Timestamp,
}

/// All spans of the log, in order of offset; holes are where volumes went.
#[derive(Debug, Default)]
pub struct Spans {
    spans: Vec<Span>,
}

impl Spans {
    /// Adds a block behind all others.
    pub fn push(&mut self, index: &Index) {
        let sources = index
            .sources
            .iter()
            .fold(0, |mask, source| mask | source_bit(source));
        self.push_block(Span {
            first: index.first,
            end: index.first + u64::from(index.count),
            sources,
            received_min: index.received_min,
            received_max: index.received_max,
        });
    }

    /// Adds a block behind all others, its index already folded.
    pub fn push_block(&mut self, block: Span) {
        match self.spans.last_mut() {
            Some(last) if last.end == block.first && last.end - last.first < SPAN_DELIVERIES => {
                last.end = block.end;
                last.sources |= block.sources;
                last.received_min = last.received_min.min(block.received_min);
                last.received_max = last.received_max.max(block.received_max);
            }
            _ => self.spans.push(block),
        }
    }

    /// Forgets `first .. end`. A span may reach from one volume into the next: what it holds of
    /// those that stay is kept.
    pub fn remove(&mut self, first: Offset, end: Offset) {
        let from = self.spans.partition_point(|span| span.end <= first);
        let to = self.spans.partition_point(|span| span.first < end);
        if from >= to {
            return;
        }
        let before = Span {
            end: self.spans[from].end.min(first),
            ..self.spans[from]
        };
        let after = Span {
            first: self.spans[to - 1].first.max(end),
            ..self.spans[to - 1]
        };
        let left = [before, after].into_iter().filter(|s| s.first < s.end);
        self.spans.splice(from..to, left);
    }

    /// The first span at or after `from` that may hold a source; cut to begin at `from`.
    pub fn next_with(&self, from: Offset, bit: u64) -> Option<Span> {
        let at = self.spans.partition_point(|span| span.end <= from);
        let span = self.spans[at..]
            .iter()
            .find(|span| span.sources & bit != 0)?;
        Some(Span {
            first: span.first.max(from),
            ..*span
        })
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
        matching.map(|span| span.end - span.first.max(from)).sum()
    }

    /// The last span that begins below `below`.
    pub fn last_below(&self, below: Offset) -> Option<Span> {
        let at = self.spans.partition_point(|span| span.first < below);
        let span = self.spans.get(at.checked_sub(1)?)?;
        Some(Span {
            end: span.end.min(below),
            ..*span
        })
    }

    /// The oldest offset that is there.
    pub fn first(&self) -> Option<Offset> {
        self.spans.first().map(|span| span.first)
    }

    /// Deliveries that are there.
    pub fn deliveries(&self) -> u64 {
        self.spans.iter().map(|span| span.end - span.first).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(first: Offset, count: u64, source: &str, at: u64) -> Span {
        Span {
            first,
            end: first + count,
            sources: source_bit(source),
            received_min: Timestamp(at),
            received_max: Timestamp(at + 1),
        }
    }

    #[test]
    fn single_deliveries_are_merged_into_few_spans() {
        let mut spans = Spans::default();
        for offset in 1..=10_000 {
            spans.push_block(block(offset, 1, "a", offset));
        }
        assert_eq!(spans.spans.len(), 10_000 / 256 + 1);
        assert_eq!(spans.deliveries(), 10_000);
    }

    #[test]
    fn a_quiet_source_skips_what_is_not_its_own() {
        let mut spans = Spans::default();
        spans.push_block(block(1, 300, "busy", 1));
        spans.push_block(block(301, 300, "quiet", 2));
        let found = spans.next_with(5, source_bit("quiet")).unwrap();
        assert_eq!((found.first, found.end), (301, 601));
        assert_eq!(spans.count_from(5, source_bit("quiet")), 300);
        assert_eq!(spans.count_from(5, source_bit("busy")), 296);
    }

    #[test]
    fn a_removed_volume_is_a_hole() {
        let mut spans = Spans::default();
        spans.push_block(block(1, 300, "a", 1));
        spans.push_block(block(301, 300, "a", 2));
        spans.remove(1, 301);
        assert_eq!(spans.first(), Some(301));
        assert_eq!(spans.next_with(1, source_bit("a")).unwrap().first, 301);
        assert!(spans.last_below(301).is_none());
    }

    #[test]
    fn a_removed_volume_leaves_what_its_spans_hold_of_its_neighbours() {
        let mut spans = Spans::default();
        for offset in 1..=30 {
            spans.push_block(block(offset, 1, "a", offset));
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
