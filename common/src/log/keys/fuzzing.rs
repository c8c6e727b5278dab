//! A run of keys that may be anything.

use std::path::Path;

use crate::log::keys::Seen;
use crate::log::keys::merge::Merge;
use crate::log::keys::run::{Name, Run, RunWriter};
use crate::time::Timestamp;

/// Opens a file as a run, also with checksums that fit, and reads all that it lets be read.
pub fn run(path: &Path) {
    read(path);
    let Ok(mut bytes) = std::fs::read(path) else {
        return;
    };
    Run::mend_checksums(&mut bytes);
    if std::fs::write(path, bytes).is_ok() {
        read(path);
    }
}

fn read(path: &Path) {
    let name = Name {
        from: 0,
        end: 1,
        keys: u64::MAX,
        number: 1,
    };
    if let Ok(run) = Run::open(path, name) {
        for key in [0, 1 << 64, 7 << 100, u128::MAX] {
            let _ = (run.may_contain(key), run.find(key).is_ok());
        }
        let _ = Merge::of(std::iter::once(run.pages()), Timestamp(0)).count();
    }
    if let Ok(pages) = Run::salvage(path, name) {
        let _ = Merge::of(std::iter::once(&pages), Timestamp(0)).count();
    }
    let file = path.file_name().and_then(|name| name.to_str());
    let _ = file.and_then(Name::parse);
}

/// A small run, as it is written.
pub fn sample(path: &Path) -> Vec<u8> {
    let mut writer = RunWriter::create(path, 120).expect("a writable directory");
    for n in 0..120 {
        let seen = Seen {
            digest: n,
            offset: n,
            at: Timestamp::from_secs(n),
        };
        let written = writer.push((u128::from(n) << 120, seen));
        written.expect("a writable file");
    }
    let name = Name {
        from: 0,
        end: 1,
        keys: 0,
        number: 3,
    };
    let run = writer
        .finish(path, name, vec![1, 2])
        .expect("a writable file");
    std::fs::read(run.pages().path()).expect("what was just written")
}
