//! What the kernel asks, answered by the disk.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::content::{Content, Edit};
use super::state::State;
use super::tree::{Ino, Kind, Names, Owner};

/// Names and attributes are asked for again each time: after a cut nothing may be found.
const REMEMBERED: Duration = Duration::ZERO;
/// No number of a file is ever used again.
const GENERATION: Generation = Generation(0);
/// No handle says more than the file's number.
const HANDLE: FileHandle = FileHandle(0);
const BLOCK_BYTES: u32 = 4096;
/// Nothing is cached, and closing asks nothing: a process that serves a layer and has a file on it
/// open could not end, because it would wait for its own answer.
const FILE_FLAGS: FopenFlags = FopenFlags::FOPEN_DIRECT_IO.union(FopenFlags::FOPEN_NOFLUSH);

/// A disk as `fuser` serves it.
pub(super) struct Served(pub(super) Arc<Mutex<State>>);

impl Served {
    /// Does something while there is power.
    fn on<T>(&self, act: impl FnOnce(&mut State) -> Result<T, Errno>) -> Result<T, fuser::Errno> {
        let mut state = self.0.lock();
        let done = state.powered().and_then(act);
        done.map_err(|error| fuser::Errno::from_i32(error.raw_os_error()))
    }

    fn done(&self, reply: ReplyEmpty, act: impl FnOnce(&mut State) -> Result<(), Errno>) {
        match self.on(act) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn entry(&self, reply: ReplyEntry, act: impl FnOnce(&mut State) -> Result<Ino, Errno>) {
        let found = self.on(|state| {
            let ino = act(state)?;
            attributes(state, ino)
        });
        match found {
            Ok(found) => reply.entry(&REMEMBERED, &found, GENERATION),
            Err(error) => reply.error(error),
        }
    }

    fn opened(&self, reply: ReplyOpen, ino: INodeNo, flags: FopenFlags) {
        match self.on(|state| state.tree.open(ino.0)) {
            Ok(()) => reply.opened(HANDLE, flags),
            Err(error) => reply.error(error),
        }
    }

    fn released(&self, reply: ReplyEmpty, ino: INodeNo) {
        self.0.lock().tree.close(ino.0);
        reply.ok();
    }
}

fn attributes(state: &State, ino: Ino) -> Result<FileAttr, Errno> {
    let node = state.tree.node(ino)?;
    let (kind, size, links) = match &node.kind {
        Kind::File(content) => (FileType::RegularFile, content.len(), 1),
        Kind::Dir(_) => (FileType::Directory, 4096, 2),
    };
    Ok(FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: node.changed,
        mtime: node.changed,
        ctime: node.changed,
        crtime: node.changed,
        kind,
        perm: u16::try_from(node.mode).map_err(|_| Errno::INVAL)?,
        nlink: links,
        uid: node.uid,
        gid: node.gid,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    })
}

fn owner(request: &Request, mode: u32) -> Owner {
    Owner {
        mode,
        uid: request.uid(),
        gid: request.gid(),
    }
}

/// Makes a file of this size.
fn resize(state: &mut State, ino: Ino, size: u64) -> Result<(), Errno> {
    match state.tree.file(ino)?.len() == size {
        true => Ok(()),
        false => state.edit(ino, Edit::Resize(size)),
    }
}

fn write(
    state: &mut State,
    ino: Ino,
    at: u64,
    bytes: &[u8],
    flags: OpenFlags,
) -> Result<u32, Errno> {
    let written = u32::try_from(bytes.len()).map_err(|_| Errno::INVAL)?;
    let bytes = bytes.to_vec();
    state.edit(ino, Edit::Write { at, bytes })?;
    let flags = OFlags::from_bits_retain(flags.0.cast_unsigned());
    if flags.intersects(OFlags::SYNC | OFlags::DSYNC) {
        state.sync_file(ino)?;
    }
    Ok(written)
}

#[allow(clippy::too_many_arguments)]
impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(reply, |state| state.tree.lookup(parent.0, name));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.on(|state| attributes(state, ino.0)) {
            Ok(found) => reply.attr(&REMEMBERED, &found),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.on(|state| {
            if let Some(size) = size {
                resize(state, ino.0, size)?;
            }
            let node = state.tree.node_mut(ino.0)?;
            node.mode = mode.map_or(node.mode, |mode| mode & 0o7777);
            node.uid = uid.unwrap_or(node.uid);
            node.gid = gid.unwrap_or(node.gid);
            node.changed = match mtime {
                Some(TimeOrNow::SpecificTime(time)) => time,
                Some(TimeOrNow::Now) => SystemTime::now(),
                None => node.changed,
            };
            attributes(state, ino.0)
        });
        match set {
            Ok(found) => reply.attr(&REMEMBERED, &found),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let owner = owner(request, mode & !umask);
        self.entry(reply, |state| {
            let kind = Kind::Dir(Names::default());
            state.names()?.add(parent.0, name, kind, owner)
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.done(reply, |state| state.names()?.unlink(parent.0, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.done(reply, |state| state.names()?.rmdir(parent.0, name));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.done(reply, |state| {
            if flags.contains(RenameFlags::RENAME_EXCHANGE) {
                return Err(Errno::INVAL);
            }
            let may_replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
            state
                .names()?
                .rename((parent.0, name), (newparent.0, newname), may_replace)
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let owner = owner(request, mode & !umask);
        let created = self.on(|state| {
            let kind = Kind::File(Content::default());
            let ino = state.names()?.add(parent.0, name, kind, owner)?;
            state.tree.open(ino)?;
            attributes(state, ino)
        });
        match created {
            Ok(found) => reply.created(&REMEMBERED, &found, GENERATION, HANDLE, FILE_FLAGS),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.opened(reply, ino, FILE_FLAGS);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.on(|state| Ok(state.tree.file(ino.0)?.read(offset, size).to_vec()));
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.on(|state| write(state, ino.0, offset, data, flags)) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.done(reply, |_| Ok(()));
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.released(reply, ino);
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.done(reply, |state| state.sync_file(ino.0));
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.opened(reply, ino, FopenFlags::empty());
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.on(|state| {
            let mut listed = vec![(ino.0, FileType::Directory, OsStr::new(".").to_owned())];
            listed.push((ino.0, FileType::Directory, OsStr::new("..").to_owned()));
            for (name, &child) in &state.tree.names(ino.0)?.now {
                let kind = match state.tree.node(child)?.kind {
                    Kind::File(_) => FileType::RegularFile,
                    Kind::Dir(_) => FileType::Directory,
                };
                listed.push((child, kind, name.clone()));
            }
            Ok(listed)
        });
        match listed {
            Ok(listed) => {
                let rest = (1..)
                    .zip(listed)
                    .skip(usize::try_from(offset).unwrap_or(usize::MAX));
                for (next, (ino, kind, name)) in rest {
                    if reply.add(INodeNo(ino), next, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn releasedir(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.released(reply, ino);
    }

    fn fsyncdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.done(reply, |state| state.sync_dir(ino.0));
    }

    fn statfs(&self, _: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let sizes = self.on(|state| Ok((state.size, state.tree.used_bytes())));
        match sizes {
            Ok((size, used)) => {
                let block = u64::from(BLOCK_BYTES);
                let free = size.saturating_sub(used) / block;
                let files = 1 << 20;
                reply.statfs(
                    size / block,
                    free,
                    free,
                    files,
                    files,
                    BLOCK_BYTES,
                    255,
                    BLOCK_BYTES,
                );
            }
            Err(error) => reply.error(error),
        }
    }

    // what the kernel then does by itself, or leaves out

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(fuser::Errno::ENOSYS);
    }
}
