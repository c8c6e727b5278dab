//! What was lost: which offsets, whose, and received when. For those who ask senders to send again.
//!
//! The engine knows offsets; whose they were say the indexes of their blocks, which often survive the
//! blocks, and the times of their neighbours, as long as those are there. So it is found out when a
//! loss is found, and kept in a file of a line of JSON each.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Gap, IndexEntry};
use crate::ids::Offset;
use crate::log::block::Index;
use crate::time::Timestamp;

/// The file's name among the log's own.
const FILE: &str = "losses.jsonl";
/// More of it is not read.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// For so long after it was found a loss is news, which commands and metrics point to.
const NEWS: Duration = Duration::from_secs(7 * 24 * 3600);

/// Offsets that were, or may have been, lost: `first ..= last`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Loss {
    /// First offset of the gap.
    pub first: Offset,
    /// Last offset of the gap.
    pub last: Offset,
    /// Whether deliveries are known to have been there.
    pub known_lost: bool,
    /// Whose deliveries were there, as far as is known.
    #[serde(default)]
    pub sources: Vec<String>,
    /// When the first of them was received; absent when nothing before it is there either.
    #[serde(default)]
    pub received_from: Option<Timestamp>,
    /// When the last of them was received; absent when nothing after it is there either.
    #[serde(default)]
    pub received_until: Option<Timestamp>,
    /// The indexes of all blocks in it have survived. Else it may be of other sources, too, and the
    /// times are those of what stands before and behind it.
    #[serde(default)]
    pub exact: bool,
    /// When it was found; absent when nobody looked yet.
    #[serde(default)]
    pub found_at: Option<Timestamp>,
}

impl Loss {
    /// A gap of which nothing else is known.
    pub fn of(gap: Gap) -> Self {
        Self {
            first: gap.first,
            last: gap.last,
            known_lost: gap.known_lost,
            sources: Vec::new(),
            received_from: None,
            received_until: None,
            exact: false,
            found_at: None,
        }
    }

    /// Whether deliveries were lost, and that was found within the last week.
    pub fn is_news(&self, now: Timestamp) -> bool {
        let is_old = self.found_at.is_some_and(|at| now.since(at) > NEWS);
        self.known_lost && !is_old
    }

    /// How many offsets are in it.
    pub fn offsets(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// Its sources in words.
    pub fn sources_text(&self) -> String {
        match (&self.sources[..], self.exact) {
            ([], _) => "unknown".to_owned(),
            (sources, true) => sources.join(", "),
            (sources, false) => format!("{}, perhaps others", sources.join(", ")),
        }
    }

    fn tell(&self) {
        let time = |time: Option<Timestamp>| time.map_or("unknown".to_owned(), |t| t.to_string());
        let (from, until) = (time(self.received_from), time(self.received_until));
        tracing::error!(
            first = self.first,
            last = self.last,
            known_lost = self.known_lost,
            sources = self.sources_text(),
            received_from = from,
            received_until = until,
            exact = self.exact,
            "offsets are missing from the log"
        );
    }
}

/// All losses of a log.
#[derive(Debug)]
pub struct Losses {
    path: Option<PathBuf>,
    known: Mutex<Vec<Loss>>,
}

impl Losses {
    /// What was found out before, where the engine has a disk.
    pub fn open(engine: &dyn Engine) -> Self {
        let path = engine.files().map(|files| files.join(FILE));
        let known = path.as_deref().map(read).unwrap_or_default();
        Self {
            path,
            known: Mutex::new(known),
        }
    }

    /// All that is lost by now, in order. What is new is looked into, told, and kept.
    pub fn look(&self, engine: &dyn Engine, now: Timestamp) -> Vec<Loss> {
        let gaps = engine.gaps();
        let mut known = self.known.lock();
        for gap in &gaps {
            for new in unknown(*gap, &known) {
                let loss = describe(engine, new, now);
                loss.tell();
                self.keep(&loss);
                known.push(loss);
            }
        }
        known.sort_by_key(|loss| loss.first);
        let is_gap = |loss: &&Loss| gaps.iter().any(|gap| overlap(loss, *gap));
        known.iter().filter(is_gap).cloned().collect()
    }

    fn keep(&self, loss: &Loss) {
        let Some(path) = &self.path else { return };
        if let Err(error) = append(path, loss) {
            // the offsets themselves are kept by the engine
            tracing::error!(path = %path.display(), %error, "details of a loss could not be kept");
        }
    }
}

fn overlap(loss: &Loss, gap: Gap) -> bool {
    loss.known_lost == gap.known_lost && loss.first <= gap.last && gap.first <= loss.last
}

/// The parts of a gap that nobody has looked into. Gaps grow as more of a volume is read.
fn unknown(gap: Gap, known: &[Loss]) -> Vec<Gap> {
    let mut inside: Vec<&Loss> = known.iter().filter(|loss| overlap(loss, gap)).collect();
    inside.sort_by_key(|loss| loss.first);
    let (mut parts, mut from) = (Vec::new(), gap.first);
    for loss in inside {
        if from < loss.first {
            parts.push(Gap {
                first: from,
                last: loss.first - 1,
                ..gap
            });
        }
        from = from.max(loss.last.saturating_add(1));
    }
    if from <= gap.last {
        parts.push(Gap { first: from, ..gap });
    }
    parts
}

fn append(path: &Path, loss: &Loss) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(loss)?;
    line.push(b'\n');
    let mut file = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&line)?;
    file.sync_all()
}

/// The lines that can be read; a torn or damaged one is found out again.
fn read(path: &Path) -> Vec<Loss> {
    let Ok(file) = File::open(path) else {
        return Vec::new();
    };
    let lines = BufReader::new(file.take(FILE_BYTES_MAX)).split(b'\n');
    let loss = |line: std::io::Result<Vec<u8>>| serde_json::from_slice(&line.ok()?).ok();
    // a disk that cannot be read fails the same way for ever
    lines.take_while(Result::is_ok).filter_map(loss).collect()
}

/// Finds out what can still be known.
fn describe(engine: &dyn Engine, gap: Gap, now: Timestamp) -> Loss {
    let mut loss = Loss {
        found_at: Some(now),
        ..Loss::of(gap)
    };
    let inside = indexes_inside(engine, gap);
    let covered: u64 = inside.iter().map(|index| shared(index, gap)).sum();
    loss.exact = covered == loss.offsets();
    loss.sources = inside.iter().flat_map(|i| i.sources.clone()).collect();
    loss.sources.sort_unstable();
    loss.sources.dedup();
    if loss.exact {
        loss.received_from = inside.iter().map(|index| index.received_min).min();
        loss.received_until = inside.iter().map(|index| index.received_max).max();
    } else {
        loss.received_from = before(engine, gap.first).map(|index| index.received_max);
        loss.received_until = after(engine, gap.last).map(|index| index.received_min);
    }
    loss
}

fn shared(index: &Index, gap: Gap) -> u64 {
    let end = index.first.saturating_add(u64::from(index.count));
    let gap_end = gap.last.saturating_add(1);
    end.min(gap_end).saturating_sub(index.first.max(gap.first))
}

/// The indexes of blocks in a gap, whose blocks cannot be read or are gone; each once.
fn indexes_inside(engine: &dyn Engine, gap: Gap) -> Vec<Index> {
    let volumes = engine.volumes();
    let touched = volumes
        .iter()
        .filter(|volume| volume.first <= gap.last && gap.first < volume.end);
    let kept = touched.flat_map(|volume| entries(engine, volume.number));
    let mut inside: Vec<Index> = kept
        .chain(engine.opened().gone.iter().cloned())
        .filter_map(|entry| Index::decode(&entry.bytes).ok())
        .filter(|index| shared(index, gap) > 0)
        .collect();
    inside.sort_by_key(|index| index.first);
    inside.dedup_by_key(|index| index.first);
    inside
}

/// The last block before an offset, in the nearest volume that can be read.
fn before(engine: &dyn Engine, offset: Offset) -> Option<Index> {
    let volumes = engine.volumes();
    let volumes = volumes.iter().rev().filter(|volume| volume.first < offset);
    volumes
        .filter_map(|volume| {
            let indexes = decoded(engine, volume.number);
            indexes.into_iter().rfind(|index| index.first < offset)
        })
        .next()
}

/// The first block after an offset, in the nearest volume that can be read.
fn after(engine: &dyn Engine, offset: Offset) -> Option<Index> {
    let volumes = engine.volumes();
    let volumes = volumes.iter().filter(|volume| volume.end > offset);
    volumes
        .filter_map(|volume| {
            let indexes = decoded(engine, volume.number);
            indexes.into_iter().find(|index| index.first > offset)
        })
        .next()
}

fn decoded(engine: &dyn Engine, volume: u64) -> Vec<Index> {
    let entries = entries(engine, volume).into_iter();
    entries
        .filter_map(|entry| Index::decode(&entry.bytes).ok())
        .collect()
}

/// None for a volume whose index is gone, too.
fn entries(engine: &dyn Engine, volume: u64) -> Vec<IndexEntry> {
    engine.index(volume).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(first: Offset, last: Offset, known_lost: bool) -> Gap {
        Gap {
            first,
            last,
            known_lost,
        }
    }

    #[test]
    fn of_a_gap_that_has_grown_only_what_is_new_is_looked_into() {
        let known = [Loss::of(gap(5, 6, true)), Loss::of(gap(9, 9, true))];
        let parts = [gap(3, 4, true), gap(7, 8, true), gap(10, 12, true)];
        assert_eq!(unknown(gap(3, 12, true), &known), parts);
        assert_eq!(unknown(gap(5, 6, true), &known), []);
        // offsets that were only skipped are another matter
        assert_eq!(unknown(gap(5, 6, false), &known), [gap(5, 6, false)]);
    }
}
