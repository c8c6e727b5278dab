//! Reads back what the `file` destination wrote.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::ledger::{Arrivals, digest};

#[derive(Deserialize)]
struct Line {
    id: String,
    route: String,
    body: Option<String>,
    body_base64: Option<String>,
}

impl Line {
    fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        match (&self.body, &self.body_base64) {
            (Some(text), _) => Ok(text.clone().into_bytes()),
            (None, Some(coded)) => Ok(STANDARD.decode(coded)?),
            (None, None) => anyhow::bail!("a line without a body"),
        }
    }
}

/// What arrived, by route.
///
/// # Errors
/// When a file cannot be read, or a line is not what the destination writes.
pub fn read(dir: &Path) -> anyhow::Result<HashMap<String, Arrivals>> {
    let mut all: HashMap<String, Arrivals> = HashMap::new();
    let entries = dir
        .read_dir()
        .with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "jsonl")
        {
            continue;
        }
        for line in BufReader::new(File::open(&path)?).lines() {
            let line = line.with_context(|| format!("cannot read {}", path.display()))?;
            let line: Line = serde_json::from_str(&line)
                .with_context(|| format!("cannot understand {}", path.display()))?;
            let digest = digest(&line.bytes()?);
            let route = all.entry(line.route).or_default();
            route.entry(line.id).or_default().push(digest);
        }
    }
    Ok(all)
}
