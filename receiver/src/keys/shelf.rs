//! Small things that outlive a restart, each in a file of its own, for the owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// Most files of a kind that are read.
const FILES_MAX: usize = 4096;
/// A set of keys, in base64, and what stands around it.
const BYTES_MAX: u64 = 1 << 20;

/// The files of one kind. Everything blocks.
#[derive(Debug, Clone)]
pub struct Shelf {
    dir: PathBuf,
}

impl Shelf {
    /// A directory below `root`; made when something is put there first.
    pub fn new(root: &Path, kind: &str) -> Self {
        Self {
            dir: root.join(kind),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        let digest = hex::encode(Sha256::digest(name));
        self.dir.join(format!("{digest}.json"))
    }

    /// Keeps `value` under a name, in the place of what was there: afterwards it survives a power cut.
    ///
    /// # Errors
    /// The disk's.
    pub fn put<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let mut make = fs::DirBuilder::new();
        make.recursive(true).mode(0o700).create(&self.dir)?;
        let path = self.path(name);
        let new = path.with_extension("new");
        let mut open = OpenOptions::new();
        let mut file = open
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        // the names of the file, of its directory and of the one above
        for dir in path.ancestors().skip(1).take(3) {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }

    /// Everything that can be read; what cannot is told in the log and left where it is.
    pub fn all<T: DeserializeOwned>(&self) -> Vec<T> {
        let paths = self.paths().unwrap_or_else(|error| {
            tracing::error!(%error, "what was kept cannot be listed");
            Vec::new()
        });
        let read = paths.iter().filter_map(|path| {
            read(path)
                .inspect_err(|error| tracing::error!(%error, "what was kept cannot be read"))
                .ok()
        });
        read.collect()
    }

    /// Everything that is there.
    ///
    /// # Errors
    /// The first that cannot be read, with its path.
    pub fn every<T: DeserializeOwned>(&self) -> io::Result<Vec<T>> {
        self.paths()?.iter().map(|path| read(path)).collect()
    }

    fn paths(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(at(&self.dir, error)),
        };
        let mut paths = Vec::new();
        for entry in entries.take(FILES_MAX) {
            let path = entry.map_err(|error| at(&self.dir, error))?.path();
            if path.extension().is_some_and(|end| end == "json") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// Takes out what is kept under a name.
    ///
    /// # Errors
    /// The disk's; none if nothing was there.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
        // what is wrong with it is not told: its text may be a secret
        serde_json::from_slice(&bytes).map_err(|_| io::Error::other("it is not what creel writes"))
    };
    read().map_err(|error| at(path, error))
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_put_is_for_its_owner_alone_and_read_again_until_it_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(root.path(), "secrets");
        assert_eq!(shelf.every::<String>().unwrap(), Vec::<String>::new());
        for text in ["first", "second"] {
            shelf.put("a/../name", &text).unwrap();
        }
        assert_eq!(shelf.every::<String>().unwrap(), ["second"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&shelf.dir), 0o700);
        assert_eq!(mode(&shelf.path("a/../name")), 0o600);
        shelf.remove("a/../name").unwrap();
        shelf.remove("a/../name").unwrap();
        assert_eq!(shelf.every::<String>().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_read_is_left_out_or_told_with_its_path_and_without_its_text() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(root.path(), "secrets");
        shelf.put("good", &"good").unwrap();
        fs::write(shelf.dir.join("bad.json"), "canary").unwrap();
        assert_eq!(shelf.all::<String>(), ["good"]);
        let error = shelf.every::<String>().unwrap_err().to_string();
        assert!(
            error.contains("bad.json") && !error.contains("canary"),
            "{error}"
        );
    }
}
