//! Files, directories and their names, each as processes see it and as it is sure to be.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use rustix::io::Errno;

use super::content::{Content, Edit};
use super::dice::Dice;

pub(super) type Ino = u64;

/// The directory that is mounted.
pub(super) const ROOT: Ino = 1;

/// A file or a directory.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) changed: SystemTime,
    /// How often it is open.
    opens: u64,
}

#[derive(Debug)]
pub(super) enum Kind {
    File(Content),
    Dir(Names),
}

/// The names in a directory.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) now: BTreeMap<OsString, Ino>,
    sure: BTreeMap<OsString, Ino>,
    /// Numbers of the changes that are not sure, in order.
    unsure: VecDeque<u64>,
}

/// A name in a directory.
type Place = (Ino, OsString);

/// One change of names; a move is one, whatever it replaces.
#[derive(Debug, Clone)]
enum Change {
    Add(Place, Ino),
    Remove(Place),
    Move(Place, Place, Ino),
}

impl Change {
    fn dirs(&self) -> BTreeSet<Ino> {
        match self {
            Self::Add(place, _) | Self::Remove(place) => BTreeSet::from([place.0]),
            Self::Move(from, to, _) => BTreeSet::from([from.0, to.0]),
        }
    }

    fn subject(&self) -> Option<Ino> {
        match self {
            Self::Add(_, ino) | Self::Move(_, _, ino) => Some(*ino),
            Self::Remove(_) => None,
        }
    }
}

/// Whose it is and who may use it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// All of a disk.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: HashMap<Ino, Node>,
    /// Changes of names that are not sure, by number.
    changes: BTreeMap<u64, Change>,
    next_ino: Ino,
    next_change: u64,
    used: u64,
}

impl Tree {
    pub(super) fn empty() -> Self {
        let owner = Owner {
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let mut tree = Self {
            nodes: HashMap::new(),
            changes: BTreeMap::new(),
            next_ino: ROOT,
            next_change: 0,
            used: 0,
        };
        tree.add_node(Kind::Dir(Names::default()), owner);
        tree
    }

    fn add_node(&mut self, kind: Kind, owner: Owner) -> Ino {
        let ino = self.next_ino;
        self.next_ino += 1;
        let node = Node {
            kind,
            mode: owner.mode & 0o7777,
            uid: owner.uid,
            gid: owner.gid,
            changed: SystemTime::now(),
            opens: 0,
        };
        self.nodes.insert(ino, node);
        ino
    }

    /// Bytes that all files take.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used
    }

    pub(super) fn node(&self, ino: Ino) -> Result<&Node, Errno> {
        self.nodes.get(&ino).ok_or(Errno::NOENT)
    }

    pub(super) fn node_mut(&mut self, ino: Ino) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&ino).ok_or(Errno::NOENT)
    }

    pub(super) fn file(&self, ino: Ino) -> Result<&Content, Errno> {
        match &self.node(ino)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Dir(_) => Err(Errno::ISDIR),
        }
    }

    pub(super) fn file_mut(&mut self, ino: Ino) -> Result<&mut Content, Errno> {
        match &mut self.node_mut(ino)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Dir(_) => Err(Errno::ISDIR),
        }
    }

    pub(super) fn names(&self, ino: Ino) -> Result<&Names, Errno> {
        match &self.node(ino)?.kind {
            Kind::Dir(names) => Ok(names),
            Kind::File(_) => Err(Errno::NOTDIR),
        }
    }

    fn names_mut(&mut self, ino: Ino) -> Result<&mut Names, Errno> {
        match &mut self.node_mut(ino)?.kind {
            Kind::Dir(names) => Ok(names),
            Kind::File(_) => Err(Errno::NOTDIR),
        }
    }

    pub(super) fn lookup(&self, dir: Ino, name: &OsStr) -> Result<Ino, Errno> {
        let found = self.names(dir)?.now.get(name);
        found.copied().ok_or(Errno::NOENT)
    }

    /// Changes a file's bytes.
    pub(super) fn edit(&mut self, ino: Ino, edit: Edit) -> Result<(), Errno> {
        let content = self.file_mut(ino)?;
        let before = content.len();
        content.edit(edit);
        let after = content.len();
        self.used = self.used + after - before;
        self.node_mut(ino)?.changed = SystemTime::now();
        Ok(())
    }

    pub(super) fn add(
        &mut self,
        dir: Ino,
        name: &OsStr,
        kind: Kind,
        owner: Owner,
    ) -> Result<Ino, Errno> {
        if !super::is_valid(name) {
            return Err(Errno::NAMETOOLONG);
        }
        if self.names(dir)?.now.contains_key(name) {
            return Err(Errno::EXIST);
        }
        let ino = self.add_node(kind, owner);
        self.change(Change::Add((dir, name.to_owned()), ino))?;
        Ok(ino)
    }

    pub(super) fn unlink(&mut self, dir: Ino, name: &OsStr) -> Result<(), Errno> {
        let ino = self.lookup(dir, name)?;
        self.file(ino)?;
        self.change(Change::Remove((dir, name.to_owned())))
    }

    pub(super) fn rmdir(&mut self, dir: Ino, name: &OsStr) -> Result<(), Errno> {
        let ino = self.lookup(dir, name)?;
        if !self.names(ino)?.now.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.change(Change::Remove((dir, name.to_owned())))
    }

    pub(super) fn rename(
        &mut self,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        may_replace: bool,
    ) -> Result<(), Errno> {
        let ino = self.lookup(from.0, from.1)?;
        if !super::is_valid(to.1) {
            return Err(Errno::NAMETOOLONG);
        }
        if let Some(&there) = self.names(to.0)?.now.get(to.1) {
            if !may_replace {
                return Err(Errno::EXIST);
            }
            self.check_replaced(ino, there)?;
        }
        let place = |(dir, name): (Ino, &OsStr)| (dir, name.to_owned());
        self.change(Change::Move(place(from), place(to), ino))
    }

    /// A file replaces a file, a directory an empty directory. The kernel refuses loops.
    fn check_replaced(&self, new: Ino, there: Ino) -> Result<(), Errno> {
        match (&self.node(new)?.kind, &self.node(there)?.kind) {
            (Kind::Dir(_), Kind::Dir(names)) if !names.now.is_empty() => Err(Errno::NOTEMPTY),
            (Kind::Dir(_), Kind::File(_)) => Err(Errno::NOTDIR),
            (Kind::File(_), Kind::Dir(_)) => Err(Errno::ISDIR),
            _ => Ok(()),
        }
    }

    /// Makes a change that processes see and that is not sure.
    fn change(&mut self, change: Change) -> Result<(), Errno> {
        let number = self.next_change;
        self.next_change += 1;
        for dir in change.dirs() {
            self.names_mut(dir)?.unsure.push_back(number);
            self.node_mut(dir)?.changed = SystemTime::now();
        }
        self.apply(&change, |names| &mut names.now)?;
        self.changes.insert(number, change);
        self.sweep();
        Ok(())
    }

    fn apply(
        &mut self,
        change: &Change,
        side: impl Fn(&mut Names) -> &mut BTreeMap<OsString, Ino>,
    ) -> Result<(), Errno> {
        if let Change::Remove((dir, name)) | Change::Move((dir, name), _, _) = change {
            side(self.names_mut(*dir)?).remove(name);
        }
        if let Change::Add((dir, name), ino) | Change::Move(_, (dir, name), ino) = change {
            side(self.names_mut(*dir)?).insert(name.clone(), *ino);
        }
        Ok(())
    }

    /// Makes the names in a directory sure.
    pub(super) fn sync_names(&mut self, dir: Ino) -> Result<(), Errno> {
        self.settle(dir, u64::MAX)?;
        self.sweep();
        Ok(())
    }

    /// Makes a directory's changes up to this number sure. One that concerns another directory as
    /// well takes those along that were made in it before.
    fn settle(&mut self, dir: Ino, last: u64) -> Result<(), Errno> {
        while let Some(&number) = self.names(dir)?.unsure.front() {
            if number > last {
                break;
            }
            let change = self.changes.remove(&number).ok_or(Errno::IO)?;
            for other in change.dirs() {
                if let Some(before) = number.checked_sub(1).filter(|_| other != dir) {
                    self.settle(other, before)?;
                }
            }
            self.apply(&change, |names| &mut names.sure)?;
            for dir in change.dirs() {
                self.names_mut(dir)?.unsure.pop_front();
            }
        }
        Ok(())
    }

    pub(super) fn open(&mut self, ino: Ino) -> Result<(), Errno> {
        self.node_mut(ino)?.opens += 1;
        Ok(())
    }

    pub(super) fn close(&mut self, ino: Ino) {
        if let Ok(node) = self.node_mut(ino) {
            node.opens = node.opens.saturating_sub(1);
        }
        self.sweep();
    }

    /// Forgets what nobody can see any more, now or after a power cut.
    fn sweep(&mut self) {
        let mut seen = BTreeSet::new();
        let open = |(ino, node): (&Ino, &Node)| (node.opens > 0).then_some(*ino);
        let mut left: Vec<Ino> = self.nodes.iter().filter_map(open).collect();
        left.push(ROOT);
        while let Some(ino) = left.pop() {
            let Some(node) = self.nodes.get(&ino).filter(|_| seen.insert(ino)) else {
                continue;
            };
            if let Kind::Dir(names) = &node.kind {
                left.extend(names.now.values().chain(names.sure.values()));
                let unsure = names.unsure.iter().filter_map(|n| self.changes.get(n));
                for change in unsure {
                    left.extend(change.subject());
                    left.extend(change.dirs());
                }
            }
        }
        let mut freed = 0;
        self.nodes.retain(|ino, node| {
            let keep = seen.contains(ino);
            if let (false, Kind::File(content)) = (keep, &node.kind) {
                freed += content.len();
            }
            keep
        });
        self.used -= freed;
        let nodes = &self.nodes;
        let is_known = |change: &Change| change.dirs().iter().any(|dir| nodes.contains_key(dir));
        self.changes.retain(|_, change| is_known(change));
    }

    /// What a power cut leaves, all of it sure.
    pub(super) fn left(&self, dice: &mut Dice) -> Self {
        let sure = self.sure_names(dice);
        let mut left = Self::empty();
        left.nodes.clear();
        left.next_ino = self.next_ino;
        let mut dirs = vec![ROOT];
        while let Some(dir) = dirs.pop() {
            let names = sure.get(&dir).cloned().unwrap_or_default();
            for &ino in names.values() {
                match self.nodes.get(&ino).map(|node| &node.kind) {
                    Some(Kind::Dir(_)) => dirs.push(ino),
                    Some(Kind::File(content)) => {
                        let bytes = content.left(dice);
                        left.used += bytes.len() as u64;
                        left.copy_node(self, ino, Kind::File(Content::sure(bytes)));
                    }
                    None => {}
                }
            }
            let names = Names {
                now: names.clone(),
                sure: names,
                unsure: VecDeque::new(),
            };
            left.copy_node(self, dir, Kind::Dir(names));
        }
        left
    }

    fn copy_node(&mut self, of: &Self, ino: Ino, kind: Kind) {
        if let Some(node) = of.nodes.get(&ino) {
            let copy = Node {
                kind,
                opens: 0,
                ..*node
            };
            self.nodes.insert(ino, copy);
        }
    }

    /// The names that are left, by directory: those that are sure, and of the changes since a
    /// prefix for each directory. A move that is left in one of its directories needs the other.
    fn sure_names(&self, dice: &mut Dice) -> HashMap<Ino, BTreeMap<OsString, Ino>> {
        let mut sure = HashMap::new();
        let mut rest = HashMap::new();
        let mut inos: Vec<&Ino> = self.nodes.keys().collect();
        inos.sort_unstable();
        for &ino in inos {
            if let Ok(names) = self.names(ino) {
                sure.insert(ino, names.sure.clone());
                rest.insert(ino, dice.of_names(names.unsure.len()));
            }
        }
        for change in self.changes.values() {
            let dirs = change.dirs();
            let survives = dirs.iter().all(|dir| rest.get(dir).is_some_and(|&n| n > 0));
            for dir in &dirs {
                // nothing after it survives in either of them
                let left = if survives {
                    rest.get(dir).map_or(0, |n| n - 1)
                } else {
                    0
                };
                rest.insert(*dir, left);
            }
            if survives {
                apply_to(change, &mut sure);
            }
        }
        sure
    }

    /// Writes all of it into `dir`.
    pub(super) fn write_to(&self, dir: &Path) -> io::Result<()> {
        self.write_dir(ROOT, dir)
    }

    fn write_dir(&self, ino: Ino, at: &Path) -> io::Result<()> {
        fs::create_dir_all(at)?;
        for (name, &child) in &self.names(ino)?.now {
            let path = at.join(name);
            match &self.node(child)?.kind {
                Kind::Dir(_) => self.write_dir(child, &path)?,
                Kind::File(content) => fs::write(&path, content.now())?,
            }
            let mode = fs::Permissions::from_mode(self.node(child)?.mode);
            fs::set_permissions(&path, mode)?;
        }
        Ok(())
    }
}

fn apply_to(change: &Change, names: &mut HashMap<Ino, BTreeMap<OsString, Ino>>) {
    if let Change::Remove((dir, name)) | Change::Move((dir, name), _, _) = change {
        names.entry(*dir).or_default().remove(name);
    }
    if let Change::Add((dir, name), ino) | Change::Move(_, (dir, name), ino) = change {
        names.entry(*dir).or_default().insert(name.clone(), *ino);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner {
        mode: 0o600,
        uid: 0,
        gid: 0,
    };

    fn file(tree: &mut Tree, dir: Ino, name: &str, bytes: &[u8]) -> Ino {
        let kind = Kind::File(Content::default());
        let ino = tree.add(dir, name.as_ref(), kind, OWNER).unwrap();
        let bytes = bytes.to_vec();
        tree.edit(ino, Edit::Write { at: 0, bytes }).unwrap();
        tree.file_mut(ino).unwrap().sync();
        ino
    }

    fn dir(tree: &mut Tree, parent: Ino, name: &str) -> Ino {
        let kind = Kind::Dir(Names::default());
        tree.add(parent, name.as_ref(), kind, OWNER).unwrap()
    }

    fn listed(tree: &Tree, dir: Ino) -> Vec<String> {
        let names = tree.names(dir).unwrap().now.keys();
        names
            .map(|name| name.to_str().unwrap().to_owned())
            .collect()
    }

    fn cut(tree: &Tree) -> Tree {
        tree.left(&mut Dice::strict())
    }

    #[test]
    fn a_name_is_sure_only_by_its_directorys_sync() {
        let mut tree = Tree::empty();
        file(&mut tree, ROOT, "a", b"1");
        assert!(listed(&cut(&tree), ROOT).is_empty());
        tree.sync_names(ROOT).unwrap();
        tree.unlink(ROOT, "a".as_ref()).unwrap();
        file(&mut tree, ROOT, "b", b"2");
        assert_eq!(listed(&tree, ROOT), ["b"]);
        assert_eq!(listed(&cut(&tree), ROOT), ["a"]);
        tree.sync_names(ROOT).unwrap();
        assert_eq!(listed(&cut(&tree), ROOT), ["b"]);
    }

    #[test]
    fn a_synced_name_in_a_directory_without_one_is_gone() {
        let mut tree = Tree::empty();
        let below = dir(&mut tree, ROOT, "d");
        file(&mut tree, below, "a", b"1");
        tree.sync_names(below).unwrap();
        assert!(listed(&cut(&tree), ROOT).is_empty());
        tree.sync_names(ROOT).unwrap();
        assert_eq!(listed(&cut(&tree), below), ["a"]);
    }

    #[test]
    fn a_rename_replaces_whole_or_not_at_all() {
        let mut tree = Tree::empty();
        file(&mut tree, ROOT, "conf", b"old");
        tree.sync_names(ROOT).unwrap();
        file(&mut tree, ROOT, "conf.new", b"new");
        tree.rename((ROOT, "conf.new".as_ref()), (ROOT, "conf".as_ref()), true)
            .unwrap();
        let conf = |tree: &Tree| {
            let ino = tree.lookup(ROOT, "conf".as_ref()).unwrap();
            tree.file(ino).unwrap().now().to_vec()
        };
        assert_eq!(conf(&tree), b"new");
        assert_eq!(conf(&cut(&tree)), b"old");
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let left = tree.left(&mut Dice::seeded(seed));
            seen.insert((conf(&left), listed(&left, ROOT).len()));
        }
        let (old, new) = (b"old".to_vec(), b"new".to_vec());
        // before, between making and renaming, after
        assert_eq!(seen, BTreeSet::from([(old.clone(), 1), (old, 2), (new, 1)]));
    }

    #[test]
    fn a_move_between_directories_is_never_half_left() {
        let mut tree = Tree::empty();
        let (one, two) = (dir(&mut tree, ROOT, "1"), dir(&mut tree, ROOT, "2"));
        file(&mut tree, one, "a", b"1");
        for dir in [ROOT, one, two] {
            tree.sync_names(dir).unwrap();
        }
        tree.rename((one, "a".as_ref()), (two, "b".as_ref()), true)
            .unwrap();
        file(&mut tree, two, "c", b"2");
        for seed in 0..100 {
            let left = tree.left(&mut Dice::seeded(seed));
            let names = (listed(&left, one).len(), listed(&left, two).len());
            assert!([(1, 0), (0, 1), (0, 2)].contains(&names), "{names:?}");
        }
        // made sure in one it is sure in the other
        tree.sync_names(one).unwrap();
        assert_eq!(listed(&cut(&tree), two), ["b"]);
        assert!(listed(&cut(&tree), one).is_empty());
    }

    #[test]
    fn what_nobody_can_see_takes_no_room() {
        let mut tree = Tree::empty();
        let ino = file(&mut tree, ROOT, "a", &[1; 1000]);
        tree.sync_names(ROOT).unwrap();
        tree.open(ino).unwrap();
        tree.unlink(ROOT, "a".as_ref()).unwrap();
        assert_eq!(tree.used_bytes(), 1000, "open, and sure to come back");
        tree.sync_names(ROOT).unwrap();
        assert_eq!(tree.file(ino).unwrap().len(), 1000, "open");
        tree.close(ino);
        assert_eq!(tree.used_bytes(), 0);
        assert!(tree.node(ino).is_err());
    }
}
