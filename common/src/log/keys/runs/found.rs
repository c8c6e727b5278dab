//! Which runs a directory holds.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::run::{Name, Run, RunError};

/// What is in the directory.
#[derive(Default)]
pub(super) struct Found {
    pub(super) sound: Vec<Arc<Run>>,
    pub(super) damaged: Vec<(PathBuf, Name, RunError)>,
    pub(super) highest: u64,
}

impl Found {
    /// Unfinished runs, and those that a merge replaced, are removed.
    pub(super) fn read(directory: &Path) -> Result<Self, RunError> {
        let io = |error| RunError::Io(directory.to_owned(), error);
        let mut found = Self::default();
        for entry in std::fs::read_dir(directory).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name.and_then(Name::parse) else {
                if path.extension().is_some_and(|end| end == "unfinished") {
                    std::fs::remove_file(&path).map_err(io)?;
                }
                continue;
            };
            found.highest = found.highest.max(name.number);
            match Run::open(&path, name) {
                Ok(run) => found.sound.push(Arc::new(run)),
                Err(error) => found.damaged.push((path, name, error)),
            }
        }
        let replaced: BTreeSet<u64> = found
            .sound
            .iter()
            .flat_map(|run| run.merged.clone())
            .collect();
        found.highest = found.highest.max(replaced.last().copied().unwrap_or(0));
        let is_replaced = |name: &Name| replaced.contains(&name.number);
        let sound = found.sound.iter().filter(|run| is_replaced(&run.name));
        let damaged = found
            .damaged
            .iter()
            .filter(|(_, name, _)| is_replaced(name));
        for path in sound
            .map(|run| run.pages().path())
            .chain(damaged.map(|(path, ..)| path.as_path()))
        {
            std::fs::remove_file(path).map_err(io)?;
        }
        found.sound.retain(|run| !is_replaced(&run.name));
        found.damaged.retain(|(_, name, _)| !is_replaced(name));
        found
            .sound
            .sort_by_key(|run| (run.name.end, run.name.number));
        Ok(found)
    }
}

pub(super) fn set_aside(path: &Path, aside: &Path) -> std::io::Result<()> {
    super::make_private(aside)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    std::fs::rename(path, aside.join(format!("keys-{name}")))?;
    File::open(aside)?.sync_all()
}
