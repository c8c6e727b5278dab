//! A directory as text: its files by name and length, and those bytes of them that are not zero.

use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Bytes of one line; a line of zeros is left out, which is most of a sled database.
const LINE: usize = 32;

/// The directory as text.
pub fn pack(dir: &Path) -> String {
    let mut text = String::new();
    pack_into(dir, "", &mut text);
    text
}

fn pack_into(dir: &Path, prefix: &str, text: &mut String) {
    let mut entries: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            writeln!(text, "dir {name}").unwrap();
            pack_into(&entry.path(), &format!("{name}/"), text);
            continue;
        }
        let bytes = fs::read(entry.path()).unwrap();
        writeln!(text, "file {name} {}", bytes.len()).unwrap();
        for (number, line) in bytes.chunks(LINE).enumerate() {
            if line.iter().any(|byte| *byte != 0) {
                let end = line.iter().rposition(|byte| *byte != 0).unwrap() + 1;
                writeln!(text, "{:x} {}", number * LINE, hex::encode(&line[..end])).unwrap();
            }
        }
    }
}

/// Makes the directory that was packed.
pub fn unpack(text: &str, dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let mut file: Option<(String, Vec<u8>)> = None;
    let finish = |file: Option<(String, Vec<u8>)>| {
        if let Some((name, bytes)) = file {
            fs::write(dir.join(name), bytes).unwrap();
        }
    };
    for line in text.lines() {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("dir"), Some(name), None) => {
                finish(file.take());
                fs::create_dir(dir.join(name)).unwrap();
            }
            (Some("file"), Some(name), Some(length)) => {
                let bytes = vec![0; length.parse().unwrap()];
                finish(file.replace((name.to_owned(), bytes)));
            }
            (Some(at), Some(bytes), None) => {
                let at = usize::from_str_radix(at, 16).unwrap();
                let bytes = hex::decode(bytes).unwrap();
                let (_, content) = file.as_mut().unwrap();
                content[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            _ => panic!("no line of a packed directory: {line}"),
        }
    }
    finish(file);
}
