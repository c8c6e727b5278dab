//! A wall clock that can be set, for processes that are started under it: libfaketime.
//!
//! Only for playing faults. The monotonic clock of such a process is the true one.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

/// The wall clock of some processes.
#[derive(Debug)]
pub struct Wall {
    library: PathBuf,
    file: PathBuf,
}

impl Wall {
    /// Where libfaketime is, if it is anywhere.
    pub fn library() -> Option<PathBuf> {
        // where Debian puts it, whatever the processor
        let places = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let mut libraries = places.map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
        libraries.find(|library| library.exists())
    }

    /// One that is right, set by way of `file`.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is no libfaketime; others when `file` cannot be written.
    pub fn new(file: PathBuf) -> io::Result<Self> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no libfaketime");
        let library = Self::library().ok_or_else(missing)?;
        let wall = Self { library, file };
        wall.set("+0")?;
        Ok(wall)
    }

    /// Sets it, in the words of libfaketime: `+1d`, `-1h`.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn set(&self, to: &str) -> io::Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{to}\n"))?;
        fs::rename(&new, &self.file)
    }

    /// Has what `command` starts run under it.
    pub fn over(&self, command: &mut Command) {
        let yes = OsStr::new("1");
        command.envs([
            ("LD_PRELOAD", self.library.as_os_str()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.as_os_str()),
            ("FAKETIME_NO_CACHE", yes),
            ("FAKETIME_DONT_FAKE_MONOTONIC", yes),
            ("NO_FAKE_STAT", yes),
        ]);
    }
}
