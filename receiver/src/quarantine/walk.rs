//! Reads requests in quarantine in order of arrival, out of all their lanes.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use creel_common::ids::QuarantineId;
use creel_common::log::wire::Chosen;

use super::item::{Brief, Item};
use super::segment::{Frames, Places, Reading};
use super::store::{LaneKey, Place};

/// Which ones are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// What must hold.
    pub which: Chosen,
    /// This id or later.
    pub from: QuarantineId,
}

impl Wanted {
    /// Those that `which` chooses, from an id on.
    pub fn new(which: &Chosen, from: Option<QuarantineId>) -> Self {
        let mut which = which.clone();
        which.ids.sort_unstable();
        Self {
            from: from.or(which.ids.first().copied()).unwrap_or_default(),
            which,
        }
    }

    fn brief(&self, brief: &Brief) -> bool {
        let which = &self.which;
        let reason = |word: &String| word == brief.reason.name();
        brief.id >= self.from
            && (which.ids.is_empty() || which.ids.binary_search(&brief.id).is_ok())
            && which.reason.as_ref().is_none_or(reason)
            && which.since.is_none_or(|since| brief.received_at >= since)
            && which.until.is_none_or(|until| brief.received_at < until)
    }

    fn file(&self, file: &Reading) -> bool {
        let after_all = |last: &QuarantineId| file.first > *last;
        file.last >= self.from && !self.which.ids.last().is_some_and(after_all)
    }

    fn item(&self, item: &Item) -> bool {
        let address = self.which.address.map(|address| address.to_canonical());
        address.is_none_or(|address| address == item.head.remote.to_canonical())
    }
}

/// A walk over what was there when it began.
pub struct Walk {
    wanted: Wanted,
    lanes: Vec<Lane>,
}

/// A request, and where it is.
pub type Found = (Place, Item);

impl Walk {
    /// Begins one over these files ([`Store::reading`](super::store::Store::reading)).
    ///
    /// # Errors
    /// The disk's.
    pub fn new(files: Vec<(LaneKey, Vec<Reading>)>, wanted: Wanted) -> io::Result<Self> {
        let mut lanes = Vec::new();
        for (key, files) in files {
            let mut lane = Lane {
                key,
                files: files.into_iter().filter(|file| wanted.file(file)).collect(),
                open: None,
                head: None,
            };
            lane.advance(&wanted)?;
            if lane.head.is_some() {
                lanes.push(lane);
            }
        }
        Ok(Self { wanted, lanes })
    }

    /// The next request.
    ///
    /// # Errors
    /// The disk's.
    pub fn next(&mut self) -> io::Result<Option<Found>> {
        loop {
            let heads = self.lanes.iter().enumerate();
            let heads = heads.filter_map(|(at, lane)| Some((lane.head.as_ref()?.brief.id, at)));
            let Some((_, at)) = heads.min() else {
                return Ok(None);
            };
            let lane = &mut self.lanes[at];
            let head = lane.head.take();
            lane.advance(&self.wanted)?;
            let read = head.and_then(|head| Some((head.place, Item::of_payload(&head.payload)?)));
            if let Some((place, item)) = read
                && self.wanted.item(&item)
            {
                return Ok(Some((place, item)));
            }
        }
    }
}

/// One chain of files on the way.
struct Lane {
    key: LaneKey,
    files: VecDeque<Reading>,
    open: Option<OpenFile>,
    head: Option<Head>,
}

struct OpenFile {
    frames: Frames,
    first: QuarantineId,
    gone: Places,
    next: u32,
}

struct Head {
    place: Place,
    brief: Brief,
    payload: Bytes,
}

impl Lane {
    /// Finds the next one that is wanted.
    fn advance(&mut self, wanted: &Wanted) -> io::Result<()> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(file) = self.files.pop_front() else {
                    return Ok(());
                };
                self.open = open(file)?;
                continue;
            };
            let Some(payload) = open.frames.next()? else {
                self.open = None;
                continue;
            };
            let frame = open.next;
            open.next += 1;
            let Some(payload) = payload.filter(|_| !open.gone.has(frame)) else {
                continue;
            };
            let brief = Brief::of(&payload).map(|(brief, _)| brief);
            if let Some(brief) = brief.filter(|brief| wanted.brief(brief)) {
                let place = Place {
                    lane: self.key.clone(),
                    first: open.first,
                    frame,
                    reason: brief.reason,
                };
                self.head = Some(Head {
                    place,
                    brief,
                    payload,
                });
                return Ok(());
            }
        }
    }
}

/// `None` for a file that has gone meanwhile.
fn open(file: Reading) -> io::Result<Option<OpenFile>> {
    match Frames::open(&file.path, file.bytes) {
        Ok(frames) => Ok(Some(OpenFile {
            frames,
            first: file.first,
            gone: file.gone,
            next: 0,
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
