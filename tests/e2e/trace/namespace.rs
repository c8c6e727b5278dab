//! Names and what they stand for, as the running kernel sees them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

/// A file or directory, whatever its name is at the moment.
pub type Inode = usize;

/// The traced directory itself.
pub const ROOT: Inode = 0;

/// The directory as it was when the trace began, taken to be durable.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(super) nodes: Vec<Node>,
}

/// What an inode was when it came to be known.
#[derive(Debug, Clone)]
pub enum Node {
    /// With the content it had.
    File(Arc<Vec<u8>>),
    /// With the names in it.
    Dir(BTreeMap<OsString, Inode>),
}

impl Snapshot {
    /// Of a directory with nothing in it.
    pub fn empty() -> Self {
        Self {
            nodes: vec![Node::Dir(BTreeMap::new())],
        }
    }

    /// Of `dir` and everything below it, contents included.
    ///
    /// # Errors
    /// A file that cannot be read, or one that is neither file nor directory.
    pub fn of(dir: &Path) -> Result<Self> {
        let mut snapshot = Self::empty();
        snapshot.fill(ROOT, dir)?;
        Ok(snapshot)
    }

    fn fill(&mut self, inode: Inode, dir: &Path) -> Result<()> {
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let child = self.nodes.len();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.nodes.push(Node::Dir(BTreeMap::new()));
                self.fill(child, &entry.path())?;
            } else if kind.is_file() {
                self.nodes
                    .push(Node::File(Arc::new(fs::read(entry.path())?)));
            } else {
                bail!("{} is neither file nor directory", entry.path().display());
            }
            names.insert(entry.file_name(), child);
        }
        self.nodes[inode] = Node::Dir(names);
        Ok(())
    }
}

/// The names in every directory; starts as a [`Snapshot`] and follows changes.
#[derive(Debug, Clone)]
pub struct Namespace {
    dirs: BTreeMap<Inode, BTreeMap<OsString, Inode>>,
}

impl Namespace {
    pub fn new(snapshot: &Snapshot) -> Self {
        let dir = |(inode, node): (Inode, &Node)| match node {
            Node::Dir(names) => Some((inode, names.clone())),
            Node::File(_) => None,
        };
        Self {
            dirs: snapshot.nodes.iter().enumerate().filter_map(dir).collect(),
        }
    }

    pub fn is_dir(&self, inode: Inode) -> bool {
        self.dirs.contains_key(&inode)
    }

    /// Every directory that ever was, removed ones included.
    pub fn dirs(&self) -> Vec<Inode> {
        self.dirs.keys().copied().collect()
    }

    /// The names in `dir`; none for what is no directory.
    pub fn names(&self, dir: Inode) -> impl Iterator<Item = (&OsString, Inode)> {
        self.dirs
            .get(&dir)
            .into_iter()
            .flatten()
            .map(|(name, &inode)| (name, inode))
    }

    /// What stands under `path`, a path relative to the root.
    pub fn find(&self, path: &Path) -> Option<Inode> {
        path.iter()
            .try_fold(ROOT, |dir, name| self.dirs.get(&dir)?.get(name).copied())
    }

    /// The directory that holds the last part of `path`, and that part.
    pub fn place<'p>(&self, path: &'p Path) -> Result<(Inode, &'p OsStr)> {
        let name = path
            .file_name()
            .context("the traced directory itself is changed")?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let dir = self
            .find(parent)
            .with_context(|| format!("no directory {}", parent.display()))?;
        Ok((dir, name))
    }

    pub fn add_dir(&mut self, inode: Inode) {
        self.dirs.entry(inode).or_default();
    }

    pub fn link(&mut self, dir: Inode, name: &OsStr, inode: Inode) {
        self.dirs
            .entry(dir)
            .or_default()
            .insert(name.to_owned(), inode);
    }

    pub fn unlink(&mut self, dir: Inode, name: &OsStr) -> Option<Inode> {
        self.dirs.get_mut(&dir)?.remove(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_finds_files_in_directories() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/a"), b"content").unwrap();
        let snapshot = Snapshot::of(dir.path()).unwrap();
        let names = Namespace::new(&snapshot);
        let file = names.find(Path::new("d/a")).unwrap();
        let Node::File(content) = &snapshot.nodes[file] else {
            panic!("no file")
        };
        assert_eq!(content.as_slice(), b"content");
        assert_eq!(names.find(Path::new("")), Some(ROOT));
    }

    #[test]
    fn a_renamed_directory_keeps_what_is_in_it() {
        let mut names = Namespace::new(&Snapshot::empty());
        names.add_dir(1);
        names.link(ROOT, "d".as_ref(), 1);
        names.link(1, "a".as_ref(), 2);
        let moved = names.unlink(ROOT, "d".as_ref()).unwrap();
        names.link(ROOT, "e".as_ref(), moved);
        assert_eq!(names.find(Path::new("e/a")), Some(2));
        assert_eq!(names.find(Path::new("d/a")), None);
    }
}
