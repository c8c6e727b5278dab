//! The model against a real kernel: what a trace says is what is on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Disk, History, Snapshot, Trust};
use crate::harness::{Strace, strace_or_left_out};

/// Every file below `dir` with its bytes; directories stand without.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    fill(dir, dir, &mut found);
    found
}

fn fill(root: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
    for entry in fs::read_dir(dir).expect("a readable directory") {
        let path = entry.expect("readable").path();
        let name = path
            .strip_prefix(root)
            .expect("below the root")
            .to_path_buf();
        if path.is_dir() {
            found.insert(name, None);
            fill(root, &path, found);
        } else {
            found.insert(name, Some(fs::read(&path).expect("a readable file")));
        }
    }
}

/// The names under which two directories differ, and how; empty if they are alike.
pub fn differences(one: &Path, other: &Path) -> Vec<String> {
    let (one, other) = (tree(one), tree(other));
    let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differs = |name: &&PathBuf| {
        let text = match (one.get(*name), other.get(*name)) {
            (Some(a), Some(b)) if a == b => return None,
            (Some(Some(a)), Some(Some(b))) => match a.iter().zip(b).position(|(a, b)| a != b) {
                Some(at) => format!("bytes differ from {at} on"),
                None => format!("{} bytes against {}", a.len(), b.len()),
            },
            (Some(_), None) => "only in the first".to_owned(),
            (None, Some(_)) => "only in the second".to_owned(),
            _ => "a file against a directory".to_owned(),
        };
        Some(format!("{}: {text}", name.display()))
    };
    names.iter().filter_map(differs).collect()
}

/// Runs a shell script in a directory with one old file, and returns its history.
fn traced(script: &str, site: &Path) -> History {
    let root = site.join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("old"), b"from before").unwrap();
    let before = Snapshot::of(&root).unwrap();
    let trace = site.join("trace");
    let mut command: Command = Strace::Record(trace.clone()).command("sh");
    let status = command
        .args(["-ec", script])
        .current_dir(&root)
        .status()
        .unwrap();
    assert!(status.success());
    History::of_file(&trace, &root, &root, before).unwrap()
}

#[test]
fn a_traced_directory_is_rebuilt_byte_for_byte() {
    if !strace_or_left_out("a_traced_directory_is_rebuilt_byte_for_byte") {
        return;
    }
    let site = tempfile::tempdir().unwrap();
    let script = "mkdir d d/e; echo one > d/a; echo two >> d/a; (echo three; echo four) >> d/a
        mv d/a d/e/b; dd if=/dev/zero of=holes bs=1 count=3 seek=5000 2>/dev/null
        dd if=old of=holes bs=4 seek=2 conv=notrunc,fsync 2>/dev/null
        truncate -s 4 old; ln d/e/b hard; echo more >> hard; echo gone > x; rm x; mkdir y; rmdir y
        mv d moved; sync -d holes; sync .";
    let history = traced(script, site.path());
    let rebuilt = site.path().join("rebuilt");
    let disk = Disk::new(&history, Trust::AllSyncs);
    disk.uncut(history.end(), &rebuilt).unwrap();
    assert_eq!(differences(&rebuilt, &site.path().join("root")), [""; 0]);
    assert_eq!(history.syncs(), 3);
}

#[test]
fn a_cut_of_a_real_trace_keeps_what_was_synced_and_only_that() {
    if !strace_or_left_out("a_cut_of_a_real_trace_keeps_what_was_synced_and_only_that") {
        return;
    }
    let site = tempfile::tempdir().unwrap();
    let script = "echo sure > a; sync a .; echo perhaps > b; echo later >> a";
    let history = traced(script, site.path());
    let cut = site.path().join("cut");
    Disk::new(&history, Trust::AllSyncs)
        .cut_strict(history.end(), &cut)
        .unwrap();
    let expected = BTreeMap::from([
        (PathBuf::from("a"), Some(b"sure\n".to_vec())),
        (PathBuf::from("old"), Some(b"from before".to_vec())),
    ]);
    assert_eq!(tree(&cut), expected);
}
