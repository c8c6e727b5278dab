//! A trace as an ordered list of changes to inodes and names.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use super::call;
use super::namespace::{Inode, Namespace, Node, Snapshot};
use super::step::{Act, Place, Step, step};

/// A moment: the number of a line in the trace, from 1.
pub type Tick = u64;

/// Something that happened to the directory, or an answer to a sender.
#[derive(Debug, Clone)]
pub struct Event {
    pub start: Tick,
    /// `None`: the process ended before the call returned.
    pub end: Option<Tick>,
    pub change: Change,
}

impl Event {
    /// Whether it was over before `moment`.
    pub fn ended_before(&self, moment: Tick) -> bool {
        self.end.is_some_and(|end| end < moment)
    }
}

/// What an [`Event`] changed.
#[derive(Debug, Clone)]
pub enum Change {
    Data {
        inode: Inode,
        edit: Edit,
    },
    Name(NameChange),
    /// A sync of a file or a directory that returned; `done` if it succeeded.
    Sync {
        inode: Inode,
        done: bool,
    },
    /// An answer that carries these ids was handed to a socket.
    Ack {
        ids: Vec<String>,
    },
}

/// A change of a file's bytes.
#[derive(Debug, Clone)]
pub enum Edit {
    Write { offset: u64, data: Bytes },
    Resize { size: u64 },
    Zero { offset: u64, len: u64 },
}

/// A change of what names stand for.
#[derive(Debug, Clone)]
pub enum NameChange {
    Link {
        dir: Inode,
        name: OsString,
        inode: Inode,
    },
    Unlink {
        dir: Inode,
        name: OsString,
    },
    Rename {
        from: (Inode, OsString),
        to: (Inode, OsString),
        inode: Inode,
    },
}

impl NameChange {
    /// The directories whose names it changes: one, or two for a move between them.
    pub fn dirs(&self) -> Vec<Inode> {
        match self {
            Self::Link { dir, .. } | Self::Unlink { dir, .. } => vec![*dir],
            Self::Rename { from, to, .. } if from.0 == to.0 => vec![from.0],
            Self::Rename { from, to, .. } => vec![from.0, to.0],
        }
    }

    /// Makes the change in `names`.
    pub fn apply(&self, names: &mut Namespace) {
        match self {
            Self::Link { dir, name, inode } => names.link(*dir, name, *inode),
            Self::Unlink { dir, name } => {
                names.unlink(*dir, name);
            }
            Self::Rename { from, to, inode } => {
                names.unlink(from.0, &from.1);
                names.link(to.0, &to.1, *inode);
            }
        }
    }
}

/// Everything that happened to one directory between two moments.
///
/// Events are in the order in which they took effect: a write or an answer
/// when it started, everything else when it returned.
#[derive(Debug)]
pub struct History {
    pub(super) snapshot: Snapshot,
    pub(super) events: Vec<Event>,
    /// Every directory there ever was.
    pub(super) dirs: Vec<Inode>,
    end: Tick,
}

impl History {
    /// Reads the trace in `file` of a process that ran in `cwd`, as far as it
    /// concerns `root`, which held `snapshot` when the process started.
    ///
    /// # Errors
    /// A trace that cannot be read, or that does what the model does not know.
    pub fn of_file(file: &Path, root: &Path, cwd: &Path, snapshot: Snapshot) -> Result<Self> {
        Self::of_files(&[file], root, cwd, snapshot)
    }

    /// The same of several processes, one after the other, without a power cut
    /// in between.
    pub fn of_files(files: &[&Path], root: &Path, cwd: &Path, snapshot: Snapshot) -> Result<Self> {
        let mut lines: Box<dyn Read> = Box::new(std::io::empty());
        for file in files {
            lines = Box::new(lines.chain(File::open(file)?));
        }
        let lines = BufReader::with_capacity(1 << 20, lines);
        let place = Place {
            root: root.canonicalize()?,
            cwd: cwd.canonicalize()?,
        };
        Self::of(lines, &place, snapshot).with_context(|| format!("not understood: {files:?}"))
    }

    pub(super) fn of(lines: impl BufRead, place: &Place, snapshot: Snapshot) -> Result<Self> {
        let mut steps = Vec::new();
        let end = call::read(lines, |call| {
            steps.extend(step(&call, place)?);
            Ok(())
        })?;
        steps.sort_by_key(takes_effect);
        let mut kernel = Kernel::new(&snapshot);
        for step in steps {
            let (start, act) = (step.start, format!("{:.80?}", step.act));
            kernel
                .take(step)
                .with_context(|| format!("{act} at line {start}"))?;
        }
        let dirs = kernel.names.dirs();
        Ok(Self {
            snapshot,
            events: kernel.events,
            dirs,
            end,
        })
    }

    /// The last moment of the trace.
    pub fn end(&self) -> Tick {
        self.end
    }

    /// The answers with the moment at which their sending started, in order.
    pub fn acks(&self) -> impl Iterator<Item = (Tick, &str)> {
        self.events.iter().flat_map(|event| {
            let ids = match &event.change {
                Change::Ack { ids } => ids.as_slice(),
                _ => &[],
            };
            ids.iter().map(|id| (event.start, id.as_str()))
        })
    }

    /// Every moment at which a call on the directory started or returned, in
    /// order: where a cut can make a difference.
    pub fn moments(&self) -> Vec<Tick> {
        let both = |event: &Event| [Some(event.start), event.end];
        let mut moments: Vec<Tick> = self.events.iter().flat_map(both).flatten().collect();
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    /// How many syncs returned well, of files and directories together.
    pub fn syncs(&self) -> usize {
        let done = |event: &&Event| matches!(event.change, Change::Sync { done: true, .. });
        self.events.iter().filter(done).count()
    }

    /// How many bytes were written to files.
    pub fn written_bytes(&self) -> u64 {
        let bytes = |event: &Event| match &event.change {
            Change::Data {
                edit: Edit::Write { data, .. },
                ..
            } => data.len() as u64,
            _ => 0,
        };
        self.events.iter().map(bytes).sum()
    }
}

/// When a step counts: writes, answers and what gives up or shares descriptors
/// when they start, everything else when it returns.
fn takes_effect(step: &Step) -> Tick {
    match step.act {
        Act::Write { .. } | Act::Ack { .. } | Act::Close { .. } | Act::Spawn { .. } => step.start,
        _ => step.end.unwrap_or(Tick::MAX),
    }
}

/// An open file description: what copies of a descriptor share.
struct Open {
    inode: Inode,
    position: u64,
    append: bool,
}

/// As much of a kernel as it takes to know which file a descriptor means.
struct Kernel {
    names: Namespace,
    /// By inode; 0 for directories.
    sizes: Vec<u64>,
    opens: Vec<Open>,
    /// Thread → its table of descriptors.
    tables: HashMap<u32, usize>,
    /// Descriptor → index into `opens`.
    descriptors: Vec<HashMap<i32, usize>>,
    events: Vec<Event>,
}

impl Kernel {
    fn new(snapshot: &Snapshot) -> Self {
        let size = |node: &Node| match node {
            Node::File(content) => content.len() as u64,
            Node::Dir(_) => 0,
        };
        Self {
            names: Namespace::new(snapshot),
            sizes: snapshot.nodes.iter().map(size).collect(),
            opens: Vec::new(),
            tables: HashMap::new(),
            descriptors: Vec::new(),
            events: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) -> Result<()> {
        let Step {
            tid,
            start,
            end,
            act,
        } = step;
        let change = match act {
            Act::Open {
                fd,
                path,
                create,
                truncate,
                append,
            } => {
                return self.open(tid, fd, &path, (create, truncate, append), (start, end));
            }
            Act::Close { fd } => {
                self.table(tid).remove(&fd);
                return Ok(());
            }
            Act::Duplicate { from, to } => {
                let open = self.open_of(tid, from)?;
                self.table(tid).insert(to, open);
                return Ok(());
            }
            Act::Seek { fd, to } => {
                let open = self.open_of(tid, fd)?;
                self.opens[open].position = to;
                return Ok(());
            }
            Act::Spawn {
                child,
                shares_files,
            } => {
                self.spawn(tid, child, shares_files);
                return Ok(());
            }
            Act::Write { fd, data, offset } => self.write(tid, fd, data, offset)?,
            Act::Resize { fd, size } => {
                let open = self.open_of(tid, fd)?;
                self.resize(self.opens[open].inode, size)
            }
            Act::ResizeNamed { path, size } => {
                let inode = self.inode(&path)?;
                self.resize(inode, size)
            }
            Act::Reserve { fd, size } => {
                let open = self.open_of(tid, fd)?;
                let inode = self.opens[open].inode;
                if size <= self.sizes[inode] {
                    return Ok(());
                }
                self.resize(inode, size)
            }
            Act::Zero { fd, offset, len } => {
                let open = self.open_of(tid, fd)?;
                Change::Data {
                    inode: self.opens[open].inode,
                    edit: Edit::Zero { offset, len },
                }
            }
            Act::Sync { fd, done } => {
                let open = self.open_of(tid, fd)?;
                Change::Sync {
                    inode: self.opens[open].inode,
                    done,
                }
            }
            Act::Rename { from, to } => self.rename(&from, &to)?,
            Act::Unlink { path } => {
                let (dir, name) = self.names.place(&path)?;
                let name = name.to_owned();
                self.name(NameChange::Unlink { dir, name })
            }
            Act::MakeDir { path } => {
                let inode = self.add();
                self.names.add_dir(inode);
                self.link(&path, inode)?
            }
            Act::Link { from, to } => {
                let inode = self.inode(&from)?;
                self.link(&to, inode)?
            }
            Act::Ack { ids } => Change::Ack { ids },
        };
        self.events.push(Event { start, end, change });
        Ok(())
    }

    fn open(
        &mut self,
        tid: u32,
        fd: i32,
        path: &Path,
        (create, truncate, append): (bool, bool, bool),
        (start, end): (Tick, Option<Tick>),
    ) -> Result<()> {
        let inode = match self.names.find(path) {
            Some(inode) => inode,
            None => {
                ensure!(create, "{} was never created", path.display());
                let inode = self.add();
                let change = self.link(path, inode)?;
                self.events.push(Event { start, end, change });
                inode
            }
        };
        if truncate && self.sizes[inode] > 0 {
            let change = self.resize(inode, 0);
            self.events.push(Event { start, end, change });
        }
        let open = self.opens.len();
        self.opens.push(Open {
            inode,
            position: 0,
            append,
        });
        self.table(tid).insert(fd, open);
        Ok(())
    }

    fn write(&mut self, tid: u32, fd: i32, data: Bytes, offset: Option<u64>) -> Result<Change> {
        let open = self.open_of(tid, fd)?;
        let Open {
            inode,
            position,
            append,
        } = self.opens[open];
        let at = match offset {
            _ if append => self.sizes[inode],
            Some(offset) => offset,
            None => position,
        };
        let end = at + data.len() as u64;
        if offset.is_none() {
            self.opens[open].position = end;
        }
        self.sizes[inode] = self.sizes[inode].max(end);
        Ok(Change::Data {
            inode,
            edit: Edit::Write { offset: at, data },
        })
    }

    fn resize(&mut self, inode: Inode, size: u64) -> Change {
        self.sizes[inode] = size;
        Change::Data {
            inode,
            edit: Edit::Resize { size },
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<Change> {
        let inode = self.inode(from)?;
        let (from_dir, from_name) = self.names.place(from)?;
        let (to_dir, to_name) = self.names.place(to)?;
        let from = (from_dir, from_name.to_owned());
        let to = (to_dir, to_name.to_owned());
        Ok(self.name(NameChange::Rename { from, to, inode }))
    }

    fn link(&mut self, path: &Path, inode: Inode) -> Result<Change> {
        let (dir, name) = self.names.place(path)?;
        let name = name.to_owned();
        Ok(self.name(NameChange::Link { dir, name, inode }))
    }

    fn name(&mut self, change: NameChange) -> Change {
        change.apply(&mut self.names);
        Change::Name(change)
    }

    fn add(&mut self) -> Inode {
        self.sizes.push(0);
        self.sizes.len() - 1
    }

    fn inode(&self, path: &Path) -> Result<Inode> {
        self.names
            .find(path)
            .with_context(|| format!("{} does not exist", path.display()))
    }

    fn spawn(&mut self, parent: u32, child: u32, shares_files: bool) {
        let table = self.table_of(parent);
        let table = if shares_files {
            table
        } else {
            self.descriptors.push(self.descriptors[table].clone());
            self.descriptors.len() - 1
        };
        self.tables.insert(child, table);
    }

    fn table_of(&mut self, tid: u32) -> usize {
        *self.tables.entry(tid).or_insert_with(|| {
            self.descriptors.push(HashMap::new());
            self.descriptors.len() - 1
        })
    }

    fn table(&mut self, tid: u32) -> &mut HashMap<i32, usize> {
        let table = self.table_of(tid);
        &mut self.descriptors[table]
    }

    fn open_of(&mut self, tid: u32, fd: i32) -> Result<usize> {
        self.table(tid)
            .get(&fd)
            .copied()
            .with_context(|| format!("descriptor {fd} is not open"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::script::Script;

    fn writes(history: &History) -> Vec<(Inode, u64, &[u8])> {
        history
            .events
            .iter()
            .filter_map(|event| match &event.change {
                Change::Data {
                    inode,
                    edit: Edit::Write { offset, data },
                } => Some((*inode, *offset, data.as_ref())),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn writes_without_an_offset_follow_one_another_and_a_seek() {
        let mut script = Script::default();
        script.open(1, 5, "a");
        script.write(1, 5, "a", b"abc");
        script.write(1, 5, "a", b"de");
        script.line(1, "lseek(5<\\x2f\\x64\\x2f\\x61>, 1, SEEK_SET) = 1");
        script.write(1, 5, "a", b"x");
        let history = script.history();
        let offsets: Vec<_> = writes(&history)
            .into_iter()
            .map(|(_, offset, _)| offset)
            .collect();
        assert_eq!(offsets, [0, 3, 1]);
    }

    #[test]
    fn a_copied_descriptor_shares_the_position_and_an_append_goes_to_the_end() {
        let mut script = Script::default();
        script.open(1, 5, "a");
        script.write_at(1, 5, "a", b"0123456789", 0);
        script.line(1, "dup(5<\\x2f\\x64\\x2f\\x61>) = 6<\\x2f\\x64\\x2f\\x61>");
        script.write(1, 6, "a", b"ab");
        script.write(1, 5, "a", b"cd");
        script.line(
            1,
            "open(\"\\x2f\\x64\\x2f\\x61\", O_WRONLY|O_APPEND) = 7<\\x2f\\x64\\x2f\\x61>",
        );
        script.write(1, 7, "a", b"end");
        let history = script.history();
        let offsets: Vec<_> = writes(&history)
            .into_iter()
            .map(|(_, offset, _)| offset)
            .collect();
        assert_eq!(offsets, [0, 0, 2, 10]);
    }

    #[test]
    fn threads_share_descriptors_and_processes_copy_them() {
        let mut script = Script::default();
        script.share(1, 2);
        script.open(1, 5, "a");
        script.write(2, 5, "a", b"thread");
        script.line(
            1,
            "clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 3",
        );
        script.line(1, "close(5<\\x2f\\x64\\x2f\\x61>) = 0");
        script.write(3, 5, "a", b"process");
        let history = script.history();
        assert_eq!(writes(&history).len(), 2);
        assert_eq!(writes(&history)[1].1, 6);
    }

    #[test]
    fn a_reused_number_means_the_new_file() {
        let mut script = Script::default();
        script.open(1, 5, "a");
        script.line(1, "close(5<\\x2f\\x64\\x2f\\x61>) = 0");
        script.open(1, 5, "b");
        script.write(1, 5, "b", b"b");
        let history = script.history();
        assert_eq!(Some(writes(&history)[0].0), {
            let mut names = Namespace::new(&history.snapshot);
            for event in &history.events {
                if let Change::Name(change) = &event.change {
                    change.apply(&mut names);
                }
            }
            names.find(Path::new("b"))
        });
    }

    #[test]
    fn a_renamed_file_stays_the_same_file() {
        let mut script = Script::default();
        script.open(1, 5, "a");
        script.write(1, 5, "a", b"before");
        script.rename(1, "a", "b");
        script.write(1, 5, "b", b"after");
        let history = script.history();
        let [first, second] = writes(&history)[..] else {
            panic!("not two writes")
        };
        assert_eq!(first.0, second.0);
        assert_eq!(second.1, 6);
    }

    #[test]
    fn acks_are_in_the_order_of_the_writes_around_them() {
        let mut script = Script::default();
        script.open(1, 5, "a");
        script.ack(2, "log-0");
        script.write(1, 5, "a", b"x");
        script.ack(2, "log-1");
        let history = script.history();
        assert_eq!(
            history.acks().collect::<Vec<_>>(),
            [(2, "log-0"), (4, "log-1")]
        );
        assert_eq!(history.moments(), [1, 2, 3, 4]);
        assert_eq!(
            (history.end(), history.written_bytes(), history.syncs()),
            (4, 1, 0)
        );
    }

    #[test]
    fn a_descriptor_from_before_the_trace_is_an_error() {
        let trace = "1 1.0 write(5<\\x2f\\x64\\x2f\\x61>, \"\\x61\", 1) = 1\n";
        let place = Place {
            root: "/d".into(),
            cwd: "/".into(),
        };
        assert!(History::of(trace.as_bytes(), &place, Snapshot::empty()).is_err());
    }
}
