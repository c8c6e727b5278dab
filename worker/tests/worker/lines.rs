//! Reads back what kinds that write lines wrote.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::sink::Arrived;

/// The files of a directory whose names end so, in order of their names.
pub fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    files.sort();
    files
}

/// Every line of every file; none may be torn.
pub fn in_dir(dir: &Path) -> Vec<Arrived> {
    files(dir, ".jsonl")
        .iter()
        .flat_map(|file| parse(&std::fs::read(file).unwrap()))
        .collect()
}

pub fn parse(bytes: &[u8]) -> Vec<Arrived> {
    assert!(
        bytes.is_empty() || bytes.ends_with(b"\n"),
        "a torn last line"
    );
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| arrived(&serde_json::from_slice(line).unwrap()))
        .collect()
}

fn arrived(line: &Value) -> Arrived {
    let headers = line["headers"].as_array().unwrap().iter();
    Arrived {
        id: line["id"].as_str().unwrap().to_owned(),
        attempt: line["attempt"].to_string(),
        generation: line["generation"].to_string(),
        source: line["source"].as_str().unwrap().to_owned(),
        received_at: line["received_at"].as_str().unwrap().to_owned(),
        headers: headers
            .map(|pair| (pair[0].as_str().unwrap().to_owned(), bytes(&pair[1])))
            .collect(),
        body: match line.get("body_base64") {
            Some(encoded) => STANDARD.decode(encoded.as_str().unwrap()).unwrap(),
            None => bytes(&line["body"]),
        },
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    match value.as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => STANDARD.decode(value["base64"].as_str().unwrap()).unwrap(),
    }
}
