//! `file`: lines of JSON in a directory, synced before they count as delivered.
//!
//! Every process writes files of its own: one that is being written, called
//! `….current.jsonl` and locked, and those that are done, called `….jsonl`. What
//! a killed process left behind is mended at the next start: a torn last line is
//! cut off, kept beside the file as `….torn`, and comes again with its delivery.

mod current;
mod leftover;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use creel_common::time::Clock;
use tokio::sync::Mutex;
use toml::Table;

use self::current::Current;
use super::settings::Reader;
use super::{Attempted, Destination, Item, OpenError, Opening, Problem, line};

/// Most deliveries written and synced at once.
const BATCH_MAX: usize = 2048;

/// A buffer larger than this is not kept for the next batch.
const BUFFER_BYTES_KEPT: usize = 16 << 20;

const ROTATE_BYTES_DEFAULT: u64 = 64 << 20;
const ROTATE_BYTES_MIN: u64 = 4 << 10;
const ROTATE_EVERY_DEFAULT: Duration = Duration::from_secs(3600);
const ROTATE_EVERY_BOUNDS: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(366 * 86_400));

struct Settings {
    path: PathBuf,
    rotate_bytes: u64,
    rotate_every: Duration,
}

fn read(table: &Table) -> Result<Settings, Vec<Problem>> {
    let mut reader = Reader::new(table);
    let path = reader.required_text("path").map(PathBuf::from);
    let rotate_bytes = reader.size("rotate_size", ROTATE_BYTES_DEFAULT, ROTATE_BYTES_MIN);
    let rotate_every = reader.duration("rotate_every", ROTATE_EVERY_DEFAULT, ROTATE_EVERY_BOUNDS);
    let problems = reader.finish();
    match path {
        Some(path) if problems.is_empty() => Ok(Settings {
            path,
            rotate_bytes,
            rotate_every,
        }),
        _ => Err(problems),
    }
}

/// All problems of the settings.
pub(super) fn check(settings: &Table) -> Vec<Problem> {
    read(settings).err().unwrap_or_default()
}

/// Mends what killed processes left, as far as the disk allows. The directory is made when the
/// first delivery comes, so that a disk that is full or not there yet delays only this destination.
pub(super) fn open(opening: &Opening<'_>) -> Result<Arc<dyn Destination>, OpenError> {
    let settings = read(opening.settings).map_err(OpenError::Settings)?;
    let dir = opening.base.join(&settings.path);
    if let Err(error) = leftover::mend_all(&dir) {
        tracing::warn!(destination = opening.name, %error, "cannot mend files of earlier processes");
    }
    Ok(Arc::new(Files(Arc::new(Mutex::new(Writer {
        dir,
        stem: format!("{}-{}", opening.name, opening.unique),
        rotate_bytes: settings.rotate_bytes,
        rotate_every: settings.rotate_every,
        clock: Arc::clone(&opening.clock),
        current: None,
        made: 0,
        lines: Vec::new(),
    })))))
}

/// Lines of JSON in files of this process.
struct Files(Arc<Mutex<Writer>>);

#[async_trait]
impl Destination for Files {
    async fn deliver(&self, batch: &[Item]) -> Vec<Attempted> {
        // held by the writing thread until it is done, so that a disk that hangs costs one thread
        // however often the attempt times out
        let mut writer = Arc::clone(&self.0).lock_owned().await;
        let mut lines = std::mem::take(&mut writer.lines);
        lines.clear();
        lines.reserve(batch.iter().map(line::bytes_guess).sum());
        for item in batch {
            line::append(&mut lines, item);
        }
        let written = tokio::task::spawn_blocking(move || {
            let result = writer.append(&lines);
            if lines.capacity() <= BUFFER_BYTES_KEPT {
                writer.lines = lines;
            }
            result
        })
        .await;
        let result = match written {
            Ok(Ok(())) => Attempted::delivered(),
            Ok(Err(error)) => Attempted::retry(format!("cannot write: {error}")),
            Err(_) => Attempted::retry("writing was cut short"),
        };
        vec![result; batch.len()]
    }

    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn parallel(&self) -> usize {
        1
    }
}

/// What writes: one file at a time.
struct Writer {
    dir: PathBuf,
    stem: String,
    rotate_bytes: u64,
    rotate_every: Duration,
    clock: Arc<dyn Clock>,
    current: Option<Current>,
    /// Files begun so far, so that names differ within a millisecond too.
    made: u64,
    /// The last batch's buffer, kept for the next.
    lines: Vec<u8>,
}

impl Writer {
    /// Writes whole lines and syncs them. After an error nothing of them is left, and the next
    /// call begins a new file: after a failed sync the old one's cached pages cannot be trusted.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.finish_if_due(lines.len() as u64)?;
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.begin()?,
        };
        match current.append(lines) {
            Ok(()) => {
                self.current = Some(current);
                Ok(())
            }
            Err(error) => {
                current.abandon();
                Err(error)
            }
        }
    }

    fn begin(&mut self) -> io::Result<Current> {
        self.made += 1;
        let stamp: String = self
            .clock
            .wall()
            .to_string()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let name = format!("{}-{stamp}-{}", self.stem, self.made);
        Current::begin(&self.dir, &name, self.clock.mono())
    }

    fn finish_if_due(&mut self, coming_bytes: u64) -> io::Result<()> {
        let now = self.clock.mono();
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        if current.is_gone()? {
            tracing::warn!("a file that is being written was removed; going on in a new one");
            return Ok(());
        }
        let full = current.bytes() + coming_bytes > self.rotate_bytes;
        let old = now.saturating_sub(current.begun()) >= self.rotate_every;
        if !full && !old {
            self.current = Some(current);
            return Ok(());
        }
        current.finish().map_err(|(current, error)| {
            self.current = Some(current);
            error
        })
    }
}

impl Drop for Writer {
    /// A worker that stops in order leaves no file that looks as if it were being written.
    fn drop(&mut self) {
        let Some(current) = self.current.take() else {
            return;
        };
        if let Err((_, error)) = current.finish() {
            tracing::warn!(%error, "the last file keeps its name until the next start");
        }
    }
}
