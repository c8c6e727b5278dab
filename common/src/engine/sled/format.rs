//! `creel.log`: says that a directory is a log, of which format, and what cannot change in it.

use std::fs;
use std::path::Path;

use super::files::{self, unusable};
use crate::engine::EngineError;
use crate::ids::LogId;

/// The file's name.
pub(super) const FILE: &str = "creel.log";
/// The format that this program writes.
pub(super) const VERSION: u32 = 3;
/// The oldest format that it reads; opening raises it to [`VERSION`]. 1 was never released: it kept
/// blocks under their first offsets.
pub(super) const OLDEST_READ: u32 = 2;
/// The file that is there while a directory is being restored.
pub(super) const RESTORING: &str = "restoring";
/// What may be in a directory that is not a log yet: what an interrupted first start leaves.
const LEFTOVERS: [&str; 8] = [
    "lock",
    "proof",
    "offsets",
    "offsets.new",
    "creel.new",
    "ballast",
    "ballast.new",
    "lost+found",
];

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) version: u32,
    pub(super) log: LogId,
    /// Segment size of every sled database in the log.
    pub(super) segment_bytes: usize,
}

impl Format {
    /// Reads the format of the log in `dir`; `None` when there is no log yet.
    ///
    /// # Errors
    /// [`EngineError::Format`] for another version, [`EngineError::Unusable`] for a directory
    /// that holds something else. Nothing has been touched then.
    pub(super) fn find(dir: &Path) -> Result<Option<Self>, EngineError> {
        let path = dir.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                refuse_foreign(dir)?;
                Ok(None)
            }
            Err(e) => Err(unusable(&path)(e)),
        }
    }

    /// Writes it, synced: from now on the directory is a log.
    pub(super) fn create(&self, dir: &Path) -> Result<(), EngineError> {
        let path = dir.join(FILE);
        let text = format!(
            "creel log\nversion: {}\nlog: {}\nsegment_bytes: {}\n",
            self.version, self.log, self.segment_bytes
        );
        files::replace(&path, text.as_bytes()).map_err(unusable(&path))
    }

    /// Raises the log in `dir` to [`VERSION`], synced, before anything is written that an older
    /// program would not understand.
    pub(super) fn upgrade(&mut self, dir: &Path) -> Result<(), EngineError> {
        if self.version == VERSION {
            return Ok(());
        }
        let from = std::mem::replace(&mut self.version, VERSION);
        self.create(dir)?;
        tracing::warn!(
            log = %self.log,
            from,
            to = VERSION,
            "the log's format was raised; an older creel refuses it from now on"
        );
        Ok(())
    }

    fn parse(text: &str, path: &Path) -> Result<Self, EngineError> {
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let named = field("version").unwrap_or("unknown");
        let known = named.parse().ok();
        let known = known.filter(|version| (OLDEST_READ..=VERSION).contains(version));
        let Some(version) = known.filter(|_| text.starts_with("creel log\n")) else {
            return Err(EngineError::Format {
                path: path.display().to_string(),
                found: named.to_owned(),
                expected: format!("{OLDEST_READ} to {VERSION}"),
            });
        };
        let log = field("log").and_then(|v| v.parse().ok());
        let segment_bytes = field("segment_bytes").and_then(|v| v.parse().ok());
        match (log, segment_bytes) {
            (Some(log), Some(segment_bytes)) => Ok(Self {
                version,
                log,
                segment_bytes,
            }),
            _ => Err(EngineError::Unusable(format!(
                "{} is damaged; restore it from a backup (it says:\n{text})",
                path.display()
            ))),
        }
    }
}

fn refuse_foreign(dir: &Path) -> Result<(), EngineError> {
    for entry in fs::read_dir(dir).map_err(unusable(dir))? {
        let name = entry.map_err(unusable(dir))?.file_name();
        if name == RESTORING {
            return Err(EngineError::Unusable(format!(
                "{} is what an interrupted restore left, and no log; delete it and restore again",
                dir.display()
            )));
        }
        if !LEFTOVERS.iter().any(|known| name == *known) {
            return Err(EngineError::Unusable(format!(
                "{} holds {} and is no log of creel's; give an empty directory",
                dir.display(),
                name.to_string_lossy()
            )));
        }
    }
    Ok(())
}
