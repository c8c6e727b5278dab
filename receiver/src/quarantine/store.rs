//! All that is in quarantine on disk: who gives way when it is full, and what is in it.
//!
//! Requests of a source are put into lanes by a keyed hash of the sender's address, each lane a chain
//! of files. When a cap is reached, the source that takes most gives way, of that the lane that takes
//! most, of that the oldest file. So a flood pushes out itself: a source that takes less than an even
//! share never loses anything to another one, nor a lane to another lane of its source. What carries
//! no signature that could be read, which no secret will ever make genuine, has a lane of its own with
//! a sixteenth of the room.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use creel_common::config;
use creel_common::ids::QuarantineId;
use creel_common::time::Timestamp;

use super::dirs::{found, private_dirs};
use super::item::{Brief, Item};
use super::segment::{Reading, Segment};
use crate::limits::sender;
use crate::verify::Reason;

/// Lanes of a source for what has a signature.
const LANES: u64 = 16;
/// The lane for what has none.
const UNSIGNED: u8 = 16;
/// The part of the room that this lane may take.
const UNSIGNED_PART: u64 = 16;
/// A file is closed at this part of the room, within bounds.
const SEGMENT_PART: u64 = 64;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
const SEGMENT_BYTES_MAX: u64 = 8 << 20;
/// A single request may take this part of the room.
const ITEM_PART: u64 = 8;
/// A file is closed when it spans this part of the age, so that it can go in time.
const AGE_PART: u32 = 8;

/// Bounds of what is kept.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// Most bytes.
    pub bytes: u64,
    /// Most requests.
    pub count: u64,
    /// Longest time.
    pub age: Duration,
}

impl From<&config::Quarantine> for Caps {
    fn from(config: &config::Quarantine) -> Self {
        Self {
            bytes: config.max_bytes,
            count: config.max_count,
            age: config.max_age,
        }
    }
}

impl Caps {
    /// Largest single request.
    pub fn item_bytes(&self) -> u64 {
        self.bytes / ITEM_PART
    }

    fn segment_bytes(&self) -> u64 {
        (self.bytes / SEGMENT_PART).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
    }
}

/// A chain of files: of one source, and of those senders whose addresses fall together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneKey {
    /// The source.
    pub source: String,
    /// Which of its lanes.
    pub lane: u8,
}

/// Where a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its lane.
    pub lane: LaneKey,
    /// The first id of its file.
    pub first: QuarantineId,
    /// Which frame of it.
    pub frame: u32,
    /// Why it is here, for the count.
    pub reason: Reason,
}

/// Requests that left without anybody saying so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Of this source.
    pub source: String,
    /// `room`, `age` or `disk`.
    pub why: &'static str,
    /// So many.
    pub count: u64,
}

/// What is kept of a source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceFacts {
    /// Requests by reason.
    pub items: BTreeMap<Reason, u64>,
    /// Bytes on disk.
    pub bytes: u64,
    /// When the oldest was received.
    pub oldest: Option<Timestamp>,
}

/// The files, and what is in them.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    caps: Caps,
    lanes: BTreeMap<LaneKey, VecDeque<Segment>>,
    /// The file of each lane that this run appends to: its first id.
    open: BTreeMap<LaneKey, QuarantineId>,
    last: QuarantineId,
    dice: RandomState,
}

impl Store {
    /// Nothing yet.
    pub fn new(dir: &Path, caps: Caps) -> Self {
        Self {
            dir: dir.to_owned(),
            caps,
            lanes: BTreeMap::new(),
            open: BTreeMap::new(),
            last: QuarantineId(0),
            dice: RandomState::new(),
        }
    }

    /// Another one over the same directory, with nothing in it yet.
    pub fn unread(&self) -> Self {
        Self::new(&self.dir, self.caps)
    }

    /// Reads what an earlier run left. What cannot be read is told and left alone.
    pub fn scan(&mut self) {
        for (key, path) in found(&self.dir) {
            match Segment::scan(&path) {
                Ok(Some(segment)) => {
                    self.last = self.last.max(segment.last);
                    self.lanes.entry(key).or_default().push_back(segment);
                }
                Ok(None) => Segment::remove_file(&path),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a file of the quarantine cannot be read");
                }
            }
        }
        for segments in self.lanes.values_mut() {
            segments
                .make_contiguous()
                .sort_by_key(|segment| segment.first);
        }
    }

    /// Adds requests in order of arrival, and gives each its id. Not yet durable.
    pub fn append(&mut self, items: Vec<Item>) -> Vec<Left> {
        let mut left = Vec::new();
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let mut bytes = 0;
            let mut step: BTreeMap<LaneKey, (Vec<u8>, Vec<Brief>)> = BTreeMap::new();
            while bytes < self.caps.segment_bytes()
                && let Some(item) = items.next()
            {
                bytes += self.stage(item, &mut step);
            }
            let count = step.values().map(|(_, briefs)| briefs.len() as u64).sum();
            left.extend(self.make_room(bytes, count));
            for (key, (frames, briefs)) in step {
                let count = briefs.len() as u64;
                if let Err(error) = self.append_to(&key, &frames, &briefs) {
                    tracing::warn!(source = key.source, %error, "the quarantine cannot be written");
                    left.push(Left {
                        source: key.source,
                        why: "disk",
                        count,
                    });
                }
            }
        }
        left
    }

    /// Puts an item with the others of its lane. Answers its bytes.
    fn stage(
        &mut self,
        mut item: Item,
        step: &mut BTreeMap<LaneKey, (Vec<u8>, Vec<Brief>)>,
    ) -> u64 {
        let at_least = QuarantineId(item.received_at.millis() << 10);
        self.last = QuarantineId(self.last.0 + 1).max(at_least);
        item.id = self.last;
        let key = LaneKey {
            lane: self.lane(&item),
            source: item.head.source.clone(),
        };
        let (frames, briefs) = step.entry(key).or_default();
        let before = frames.len();
        if let Err(error) = item.put_frame(frames) {
            tracing::warn!(%error, "a request is not quarantined");
            frames.truncate(before);
            return 0;
        }
        briefs.push(Brief {
            id: item.id,
            received_at: item.received_at,
            reason: item.reason,
        });
        (frames.len() - before) as u64
    }

    fn lane(&self, item: &Item) -> u8 {
        if is_unsigned(item.reason) {
            return UNSIGNED;
        }
        let hash = self.dice.hash_one(sender(item.head.remote));
        u8::try_from(hash % LANES).unwrap_or(0)
    }

    fn append_to(&mut self, key: &LaneKey, frames: &[u8], briefs: &[Brief]) -> io::Result<()> {
        let Some(first) = briefs.first().map(|brief| brief.id) else {
            return Ok(());
        };
        let (open, bytes) = (self.open.get(key), self.caps.segment_bytes());
        let segments = self.lanes.entry(key.clone()).or_default();
        let fits = segments
            .back()
            .is_some_and(|segment| Some(&segment.first) == open && segment.bytes < bytes);
        if !fits {
            let dir = self.dir.join(&key.source).join(format!("{:02x}", key.lane));
            private_dirs(&self.dir, &dir)?;
            segments.push_back(Segment::new(&dir, first));
            self.open.insert(key.clone(), first);
        }
        let segment = segments.back_mut().expect("one was put there");
        let appended = segment.append(frames, briefs);
        if appended.is_err() && segment.live() == 0 {
            // nothing is in it, and nothing may look as if
            segments.pop_back();
        }
        if segments.is_empty() {
            self.lanes.remove(key);
        }
        appended
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// The first of the disk's; the others were tried.
    pub fn sync(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for (key, first) in &self.open {
            let segment = self.lanes.get_mut(key).and_then(VecDeque::back_mut);
            let segment = segment.filter(|segment| segment.first == *first);
            if let Some(segment) = segment {
                result = result.and(segment.sync());
            }
        }
        result
    }

    /// Lets go what is too old as of `now`.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Left> {
        let mut left = Vec::new();
        let too_old = |at: Timestamp, age: Duration| now.since(at) > age;
        let keys: Vec<LaneKey> = self.lanes.keys().cloned().collect();
        for key in keys {
            while let Some(segment) = self.front(&key)
                && too_old(segment.received.1, self.caps.age)
            {
                left.extend(self.drop_front(&key, "age"));
            }
            let back = self.lanes.get(&key).and_then(VecDeque::back);
            if back.is_some_and(|back| too_old(back.received.0, self.caps.age / AGE_PART)) {
                self.open.remove(&key);
            }
        }
        left
    }

    /// Lets go what has to give way to so much more.
    fn make_room(&mut self, bytes: u64, count: u64) -> Vec<Left> {
        let mut left = Vec::new();
        left.extend(self.bound_unsigned());
        loop {
            let (all_bytes, all_count) = self.totals();
            let by_bytes = all_bytes + bytes > self.caps.bytes;
            if !by_bytes && all_count + count <= self.caps.count {
                return left;
            }
            let dropped = self.largest(by_bytes);
            match dropped.and_then(|key| self.drop_front(&key, "room")) {
                Some(dropped) => left.push(dropped),
                None => return left,
            }
        }
    }

    /// What has no signature stays within its part.
    fn bound_unsigned(&mut self) -> Vec<Left> {
        let part = |all: u64| all / UNSIGNED_PART;
        let (bytes, count) = (part(self.caps.bytes), part(self.caps.count));
        let mut left = Vec::new();
        let keys = self.lanes.keys().filter(|key| key.lane == UNSIGNED);
        for key in keys.cloned().collect::<Vec<_>>() {
            while let Some((all_bytes, all_count)) = self.lanes.get(&key).map(measure)
                && (all_bytes > bytes || all_count > count)
            {
                left.extend(self.drop_front(&key, "room"));
            }
        }
        left
    }

    /// The lane that takes most, of the source that takes most.
    fn largest(&self, by_bytes: bool) -> Option<LaneKey> {
        let of = |segments: &VecDeque<Segment>| {
            let (bytes, count) = measure(segments);
            if by_bytes { bytes } else { count }
        };
        let mut sources: BTreeMap<&str, u64> = BTreeMap::new();
        for (key, segments) in &self.lanes {
            *sources.entry(&key.source).or_default() += of(segments);
        }
        let (source, _) = sources.into_iter().max_by_key(|(_, all)| *all)?;
        let lanes = self.lanes.iter().filter(|(key, _)| key.source == source);
        let (key, _) = lanes.max_by_key(|(_, segments)| of(segments))?;
        Some(key.clone())
    }

    fn front(&self, key: &LaneKey) -> Option<&Segment> {
        self.lanes.get(key).and_then(VecDeque::front)
    }

    fn drop_front(&mut self, key: &LaneKey, why: &'static str) -> Option<Left> {
        let segments = self.lanes.get_mut(key)?;
        let segment = segments.pop_front()?;
        let count = segment.live();
        segment.remove();
        if segments.is_empty() {
            self.lanes.remove(key);
            self.open.remove(key);
        }
        Some(Left {
            source: key.source.clone(),
            why,
            count,
        })
    }

    /// Notes durably that these are gone; files of which nothing is left go. Answers how many were
    /// there.
    ///
    /// # Errors
    /// The disk's: some may be there still.
    pub fn remove_items(&mut self, places: &[Place]) -> io::Result<u64> {
        let mut by_file: BTreeMap<(&LaneKey, QuarantineId), Vec<(u32, Reason)>> = BTreeMap::new();
        for place in places {
            let file = by_file.entry((&place.lane, place.first)).or_default();
            file.push((place.frame, place.reason));
        }
        let mut count = 0;
        for ((key, first), frames) in by_file {
            let Some(segments) = self.lanes.get_mut(key) else {
                continue;
            };
            let Some(at) = segments.iter().position(|segment| segment.first == first) else {
                continue;
            };
            count += segments[at].remove_items(&frames)?;
            if segments[at].live() == 0
                && let Some(segment) = segments.remove(at)
            {
                segment.remove();
            }
            if segments.is_empty() {
                self.lanes.remove(key);
                self.open.remove(key);
            }
        }
        Ok(count)
    }

    /// The files as they are now, lane by lane, of one source or of all.
    pub fn reading(&self, source: Option<&str>) -> Vec<(LaneKey, Vec<Reading>)> {
        let lanes = self.lanes.iter();
        let lanes = lanes.filter(|(key, _)| source.is_none_or(|source| key.source == source));
        lanes
            .map(|(key, segments)| (key.clone(), segments.iter().map(Segment::reading).collect()))
            .collect()
    }

    /// What is kept of each source.
    pub fn facts(&self) -> BTreeMap<String, SourceFacts> {
        let mut all: BTreeMap<String, SourceFacts> = BTreeMap::new();
        for (key, segments) in &self.lanes {
            let facts = all.entry(key.source.clone()).or_default();
            for segment in segments {
                facts.bytes += segment.bytes;
                let oldest = facts.oldest.unwrap_or(segment.received.0);
                facts.oldest = Some(oldest.min(segment.received.0));
                for (reason, count) in &segment.live {
                    *facts.items.entry(*reason).or_default() += count;
                }
            }
        }
        all
    }

    /// Bytes and requests in all.
    pub fn totals(&self) -> (u64, u64) {
        let add = |sum: (u64, u64), one: (u64, u64)| (sum.0 + one.0, sum.1 + one.1);
        self.lanes.values().map(measure).fold((0, 0), add)
    }
}

fn measure(segments: &VecDeque<Segment>) -> (u64, u64) {
    let sizes = segments
        .iter()
        .map(|segment| (segment.bytes, segment.live()));
    sizes.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// Whether nothing was there that a secret could be tried on.
fn is_unsigned(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::MissingSignature
            | Reason::BadEncoding
            | Reason::TooManySignatures
            | Reason::TooLong
            | Reason::UnknownAlgorithm
    )
}
