//! Reads back what the `file` destination wrote: which deliveries, and in which order.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context;
use creel_common::ids::{DeliveryId, Offset};
use serde::Deserialize;

#[derive(Deserialize)]
struct Line {
    id: DeliveryId,
}

/// What arrived, against an order without gaps from `first` on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Lines.
    pub lines: u64,
    /// Different deliveries.
    pub deliveries: u64,
    /// The first one.
    pub first: Option<Offset>,
    /// How many places a delivery came before its turn, at most.
    pub ahead_max: u64,
}

/// Reads the files of one worker in `dir`; offsets from `first` on were to come.
///
/// # Errors
/// When a file cannot be read, or holds what the destination does not write.
pub fn read(dir: &Path, first: Offset) -> anyhow::Result<Arrived> {
    let mut offsets = Vec::new();
    for path in files(dir)? {
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for line in BufReader::new(file).lines() {
            let line: Line = serde_json::from_str(&line?)
                .with_context(|| format!("cannot understand {}", path.display()))?;
            offsets.push(line.id.offset);
        }
    }
    Ok(judge(&offsets, first))
}

/// In the order they were begun: the last part of a name counts a worker's files.
fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in dir
        .read_dir()
        .with_context(|| format!("cannot read {}", dir.display()))?
    {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let stem = name.and_then(|name| {
            let stem = name.strip_suffix(".jsonl")?;
            Some(stem.strip_suffix(".current").unwrap_or(stem))
        });
        let made = stem.and_then(|stem| stem.rsplit('-').next()?.parse::<u64>().ok());
        files.extend(made.map(|made| (made, path)));
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

fn judge(offsets: &[Offset], first: Offset) -> Arrived {
    let mut different = offsets.to_vec();
    different.sort_unstable();
    different.dedup();
    let ahead = (first..)
        .zip(offsets)
        .map(|(turn, offset)| offset.saturating_sub(turn));
    Arrived {
        lines: offsets.len() as u64,
        deliveries: different.len() as u64,
        first: offsets.first().copied(),
        ahead_max: ahead.max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_judged_by_the_place_in_the_files_begun_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let line = |offset: u64| format!("{{\"id\":\"00000000000000aa-{offset}\",\"x\":1}}\n");
        let write = |name: &str, offsets: &[u64]| {
            let text: String = offsets.iter().map(|&offset| line(offset)).collect();
            std::fs::write(dir.path().join(name), text).expect("written");
        };
        write("files-x-20260101T000000Z-10.current.jsonl", &[9, 6]);
        write("files-x-20260101T000000Z-9.jsonl", &[5, 7, 7]);
        let arrived = read(dir.path(), 5).expect("readable");
        let expected = Arrived {
            lines: 5,
            deliveries: 4,
            first: Some(5),
            ahead_max: 1,
        };
        assert_eq!(arrived, expected);
    }
}
