//! Opening: making a log, and where one that was there goes on.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::Mutex;

use super::attempts::Attempts;
use super::chain::{Chain, Recovered};
use super::files::{failed, unusable};
use super::format::Format;
use super::offsets::{Marks, OffsetsFile, RESERVED};
use super::pins::Pins;
use super::room::Ballast;
use super::shared::{Shared, Taking, Writer};
use super::spans::Spans;
use super::state::State;
use super::watch::Watch;
use super::{SledSettings, database, durable, files, format, pool, watch};
use crate::engine::{EngineError, Gap, Opened};
use crate::ids::{LogId, Offset};

/// Makes failed syncs below `dir` final and proves that syncs are real.
pub(super) fn make_durable(dir: &Path) -> Result<(), EngineError> {
    durable::arm(dir).map_err(unusable(dir))?;
    watch::end_on_panics_of_sled();
    let scratch = dir.join("proof");
    durable::prove_linked(&scratch)?;
    pool::make_small(&scratch);
    Ok(())
}

/// Makes a new log in an empty directory. The format file comes last: an interrupted first start
/// begins again.
pub(super) fn create(dir: &Path, dice: u64) -> Result<Format, EngineError> {
    OffsetsFile::create(dir, Marks::NEW)?;
    let format = Format {
        version: format::VERSION,
        log: LogId::from_bits(dice),
        segment_bytes: database::SEGMENT_BYTES,
    };
    format.create(dir)?;
    Ok(format)
}

/// Makes the log's own name durable. At every start: the one that made the directory may have
/// ended before it came to this.
pub(super) fn sync_parent(dir: &Path) -> Result<(), EngineError> {
    let dir = dir.canonicalize().map_err(unusable(dir))?;
    let parent = dir.parent().unwrap_or(Path::new("/"));
    files::sync_dir(parent).map_err(failed(parent))
}

/// The gap that is `first .. end`.
pub(super) fn gap(first: Offset, end: Offset, known_lost: bool) -> Gap {
    Gap {
        first,
        last: end - 1,
        known_lost,
    }
}

/// Where the log goes on, and what is missing.
struct Recovery {
    next: Offset,
    lost: Vec<Gap>,
}

/// Compares what volumes and records hold with what is remembered to have been there.
fn recover(found: &Recovered, spans: &Spans, marks: Option<Marks>) -> Recovery {
    let mut covered = spans.all();
    covered.merge(&found.held);
    let mut lost: Vec<Gap> = covered
        .holes()
        .into_iter()
        .chain(found.unreadable.iter().copied())
        .map(|(first, end)| gap(first, end, true))
        .collect();
    let end = covered.end();
    let next = match marks {
        Some(marks) if end < marks.high => {
            lost.push(gap(end, marks.high, true));
            marks.ceiling.max(marks.high)
        }
        Some(_) => end,
        // nobody knows how far it had gone
        None => end + RESERVED,
    };
    let known = marks.map_or(end, |m| m.high.max(end));
    if known < next {
        lost.push(gap(known, next, false));
    }
    Recovery { next, lost }
}

impl Shared {
    pub(super) fn open(
        settings: SledSettings,
        log: LogId,
        created: bool,
    ) -> Result<Self, EngineError> {
        let dir = settings.path.clone();
        let mut spans = Spans::open(&dir)?;
        let offsets = OffsetsFile::open(&dir)?;
        let marks = offsets.as_ref().map(OffsetsFile::marks);
        let state = State::open(&dir)?;
        let found = Chain::open(&dir.join("v"), &spans)?;
        let recovery = recover(&found, &spans, marks);
        let lost = spans.add_gaps(&recovery.lost)?;
        let offsets = match offsets {
            Some(offsets) => offsets,
            None => remake_offsets(&dir)?,
        };
        let files = dir.join("files");
        files::make_dir(&files).map_err(failed(&files))?;
        let attempts = Attempts::open(&dir, settings.attempts_bytes)?;
        files::sync_dir(&dir).map_err(failed(&dir))?;
        let ballast = Ballast::open(&dir, settings.ballast_bytes, settings.ballast_above_bytes);
        let opened = Opened {
            log,
            next: recovery.next,
            clean: marks.is_some_and(|m| m.clean),
            created,
            lost,
            gone: found.gone,
        };
        let shared = Self {
            hurt: Mutex::default(),
            watch: Watch::new(settings.sync_limit),
            settings,
            next: AtomicU64::new(opened.next),
            opened,
            files,
            chain: found.chain,
            pins: Pins::default(),
            backing_up: Mutex::new(()),
            writer: Mutex::new(Writer {
                current: found.current,
                scratch: Vec::new(),
            }),
            prepared: Mutex::new(found.prepared),
            ceiling: AtomicU64::new(0),
            offsets: Mutex::new(offsets),
            spans: Mutex::new(spans),
            state,
            attempts,
            ballast,
            taking: Mutex::new(Taking::Open),
            stopping: AtomicBool::new(false),
        };
        shared.reserve(shared.opened.next)?;
        Ok(shared)
    }
}

fn remake_offsets(dir: &Path) -> Result<OffsetsFile, EngineError> {
    tracing::error!("the record of offsets in use was lost; continuing above a reserve");
    OffsetsFile::create(dir, Marks::NEW)?;
    OffsetsFile::open(dir)?.ok_or_else(|| {
        EngineError::Failed(format!("{}: offsets cannot be read back", dir.display()))
    })
}
