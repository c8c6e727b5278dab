//! JSON lines, as the destination `file` writes them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// One line of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub file: PathBuf,
    pub value: Value,
}

/// The complete lines of `path`, a file or a directory of `.jsonl` files (in the
/// order of their names). A last line without its newline is not complete and is left
/// out; nothing there at all is no lines.
///
/// # Panics
/// On a complete line that is not JSON: no reader of the file could go on.
pub fn json_lines(path: &Path) -> Vec<Line> {
    let of_lines = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "jsonl");
    let mut files: Vec<PathBuf> = match fs::read_dir(path) {
        Ok(entries) => {
            let files = entries.map(|entry| entry.expect("readable").path());
            files.filter(of_lines).collect()
        }
        Err(_) => vec![path.to_path_buf()],
    };
    files.sort();
    files.retain(|file| file.is_file());
    files.iter().flat_map(|file| of_file(file)).collect()
}

fn of_file(file: &Path) -> Vec<Line> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        // its writer has put it elsewhere since it was listed
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => panic!("{}: {error}", file.display()),
    };
    let complete = bytes
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|line| line.ends_with(b"\n"));
    let parse = |line: &[u8]| {
        let value = serde_json::from_slice(line);
        let value = value.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Line {
            file: file.to_path_buf(),
            value,
        }
    };
    complete.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("1.torn"), "{\"n\":\n").unwrap();
        fs::write(dir.path().join("2.jsonl"), "{\"n\":3}\n{\"n\":").unwrap();
        fs::write(dir.path().join("1.jsonl"), "{\"n\":1}\n{\"n\":2}\n").unwrap();
        let lines = json_lines(dir.path());
        let numbers: Vec<_> = lines
            .iter()
            .map(|line| line.value["n"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(json_lines(&dir.path().join("1.jsonl")).len(), 2);
    }

    #[test]
    #[should_panic(expected = "column")]
    fn a_complete_line_that_is_no_json_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("1.jsonl"), "{\"n\":\n{}\n").unwrap();
        json_lines(dir.path());
    }
}
