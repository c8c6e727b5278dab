//! A wall clock that the test sets, for processes that are started under it: libfaketime.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::Site;

/// The wall clock of some processes.
pub struct Wall {
    library: PathBuf,
    file: PathBuf,
}

impl Wall {
    /// One that is right; `None` where there is no libfaketime, and says aloud that `test` is left out.
    pub fn or_left_out(test: &str, site: &Site) -> Option<Self> {
        // where Debian puts it, whatever the processor
        let places = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let library = places
            .map(|place| place.path().join("faketime/libfaketimeMT.so.1"))
            .find(|library| library.exists());
        let Some(library) = library else {
            println!("left out: {test}: there is no libfaketime");
            eprintln!("left out: {test}: there is no libfaketime");
            return None;
        };
        let wall = Self {
            library,
            file: site.path("wall"),
        };
        wall.set("+0");
        Some(wall)
    }

    /// Sets it, in the words of libfaketime: `+1d`, `-1h`.
    pub fn set(&self, to: &str) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{to}\n")).expect("a file in our own directory");
        fs::rename(&new, &self.file).expect("a file in our own directory");
    }

    /// `command` under it. Its monotonic clock is the true one.
    pub fn over(&self, mut command: Command) -> Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
        command
    }
}
