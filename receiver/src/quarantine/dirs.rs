//! Where files of the quarantine are: `<source>/<lane>/<first id>.items` below its directory.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::segment::{ITEMS, sync_dir};
use super::store::LaneKey;

/// Makes `dir` and what is above it down from `root`, for the owner alone.
pub fn private_dirs(root: &Path, dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let made = dir.ancestors().take_while(|path| path.starts_with(root));
    for path in made.filter_map(Path::parent) {
        sync_dir(path)?;
    }
    Ok(())
}

/// Files of an earlier run with the lanes they are of.
pub fn found(dir: &Path) -> Vec<(LaneKey, PathBuf)> {
    let below = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect()
    };
    let name = |path: &Path| {
        path.file_name()
            .and_then(|name| name.to_str().map(str::to_owned))
    };
    let mut files = Vec::new();
    for source_dir in below(dir).into_iter().filter(|path| path.is_dir()) {
        for lane_dir in below(&source_dir) {
            let lane = name(&lane_dir).and_then(|name| u8::from_str_radix(&name, 16).ok());
            let (Some(source), Some(lane)) = (name(&source_dir), lane) else {
                continue;
            };
            let items = below(&lane_dir).into_iter();
            let items = items.filter(|path| path.extension().is_some_and(|ext| ext == ITEMS));
            let key = LaneKey { source, lane };
            files.extend(items.map(|path| (key.clone(), path)));
        }
    }
    files
}
