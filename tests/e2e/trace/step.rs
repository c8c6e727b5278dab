//! What one call means for the traced directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;

use super::Tick;
use super::args::{Fd, absolute, bytes, number, path, split};
use super::call::Call;

/// A call that matters, with the moments between which it took effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub tid: u32,
    pub start: Tick,
    pub end: Option<Tick>,
    pub act: Act,
}

/// What was done. Paths are below the traced directory, and relative to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Open {
        fd: i32,
        path: PathBuf,
        create: bool,
        truncate: bool,
        append: bool,
    },
    Close {
        fd: i32,
    },
    Duplicate {
        from: i32,
        to: i32,
    },
    Seek {
        fd: i32,
        to: u64,
    },
    Write {
        fd: i32,
        data: Bytes,
        offset: Option<u64>,
    },
    Resize {
        fd: i32,
        size: u64,
    },
    ResizeNamed {
        path: PathBuf,
        size: u64,
    },
    /// Makes the file at least this long.
    Reserve {
        fd: i32,
        size: u64,
    },
    Zero {
        fd: i32,
        offset: u64,
        len: u64,
    },
    Sync {
        fd: i32,
        done: bool,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    MakeDir {
        path: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Spawn {
        child: u32,
        shares_files: bool,
    },
    /// An HTTP response that carries these ids was written to a socket.
    Ack {
        ids: Vec<String>,
    },
}

/// Where the traced directory is, and where the traced process ran.
#[derive(Debug, Clone)]
pub struct Place {
    pub root: PathBuf,
    pub cwd: PathBuf,
}

impl Place {
    /// `path` relative to the root, or `None` when it is elsewhere.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root).ok().map(Path::to_path_buf)
    }

    fn named(&self, arg: &[u8]) -> Result<Option<PathBuf>> {
        Ok(self.inside(&absolute(&self.cwd, &path(arg)?)))
    }

    fn named_at(&self, dir: &[u8], name: &[u8]) -> Result<Option<PathBuf>> {
        let dir = Fd::parse(dir)?;
        let base = if dir.what.as_os_str().is_empty() {
            &self.cwd
        } else {
            &dir.what
        };
        Ok(self.inside(&absolute(base, &path(name)?)))
    }

    /// The number of `arg`, if it is a file or directory below the root.
    fn file(&self, arg: &[u8]) -> Result<Option<i32>> {
        let fd = Fd::parse(arg)?;
        Ok(self.inside(&fd.what).and(fd.number))
    }
}

/// Reads `call`; `None` if it does not concern the directory.
///
/// # Errors
/// A call that changes a file of the directory in a way that the model does not
/// know: a trace with it would be judged wrongly.
pub fn step(call: &Call, place: &Place) -> Result<Option<Step>> {
    let act = act(call, place).with_context(|| format!("{} at {}", call.name, call.start))?;
    Ok(act.map(|act| Step {
        tid: call.tid,
        start: call.start,
        end: call.end,
        act,
    }))
}

fn act(call: &Call, place: &Place) -> Result<Option<Act>> {
    let args = split(&call.args);
    let arg = |nth: usize| args.get(nth).copied().context("too few arguments");
    let syncs = matches!(
        call.name.as_str(),
        "fsync" | "fdatasync" | "sync_file_range"
    );
    if call.failed() && !syncs {
        return Ok(None);
    }
    Ok(match call.name.as_str() {
        "open" => opened(call, arg(1)?, place)?,
        "openat" | "openat2" => opened(call, arg(2)?, place)?,
        "creat" => opened(call, b"O_CREAT|O_TRUNC", place)?,
        "close" => Fd::parse(arg(0)?)?.number.map(|fd| Act::Close { fd }),
        "dup" | "dup2" | "dup3" => duplicated(call, arg(0)?, place)?,
        "fcntl" if arg(1)?.starts_with(b"F_DUPFD") => duplicated(call, arg(0)?, place)?,
        "lseek" => match (place.file(arg(0)?)?, call.returned()) {
            (Some(fd), Some(to)) => Some(Act::Seek {
                fd,
                to: to.try_into()?,
            }),
            _ => None,
        },
        "write" | "writev" | "sendto" => written(call, place, arg(0)?, arg(1)?, None)?,
        "sendmsg" => written(call, place, arg(0)?, buffers_of_message(arg(1)?)?, None)?,
        "pwrite64" | "pwritev" | "pwritev2" => {
            written(call, place, arg(0)?, arg(1)?, Some(arg(3)?))?
        }
        "ftruncate" => match place.file(arg(0)?)? {
            Some(fd) => Some(Act::Resize {
                fd,
                size: number(arg(1)?)?.try_into()?,
            }),
            None => None,
        },
        "truncate" => match place.named(arg(0)?)? {
            Some(path) => Some(Act::ResizeNamed {
                path,
                size: number(arg(1)?)?.try_into()?,
            }),
            None => None,
        },
        "fallocate" => allocated(place, &args)?,
        "fsync" | "fdatasync" => {
            let done = call.returned() == Some(0) && !call.injected();
            place.file(arg(0)?)?.map(|fd| Act::Sync { fd, done })
        }
        "rename" => renamed(place.named(arg(0)?)?, place.named(arg(1)?)?)?,
        "renameat" | "renameat2" => {
            if let Some(flags) = args.get(4) {
                ensure!(
                    matches!(*flags, b"0" | b"RENAME_NOREPLACE"),
                    "an exchange of names"
                );
            }
            let from = place.named_at(arg(0)?, arg(1)?)?;
            renamed(from, place.named_at(arg(2)?, arg(3)?)?)?
        }
        "unlink" | "rmdir" => place.named(arg(0)?)?.map(|path| Act::Unlink { path }),
        "unlinkat" => place
            .named_at(arg(0)?, arg(1)?)?
            .map(|path| Act::Unlink { path }),
        "mkdir" => place.named(arg(0)?)?.map(|path| Act::MakeDir { path }),
        "mkdirat" => place
            .named_at(arg(0)?, arg(1)?)?
            .map(|path| Act::MakeDir { path }),
        "link" => linked(place.named(arg(0)?)?, place.named(arg(1)?)?)?,
        "linkat" => linked(
            place.named_at(arg(0)?, arg(1)?)?,
            place.named_at(arg(2)?, arg(3)?)?,
        )?,
        "mmap" if shared_and_writable(&args) => {
            ensure!(
                place.file(arg(4)?)?.is_none(),
                "a file of the log is mapped for writing"
            );
            None
        }
        "copy_file_range" => {
            ensure!(
                place.file(arg(2)?)?.is_none(),
                "a file is copied into the directory"
            );
            None
        }
        "sendfile" => {
            ensure!(
                place.file(arg(0)?)?.is_none(),
                "a file is copied into the directory"
            );
            None
        }
        "symlink" | "symlinkat" => {
            let at = if call.name == "symlink" {
                place.named(arg(1)?)?
            } else {
                place.named_at(arg(1)?, arg(2)?)?
            };
            ensure!(at.is_none(), "a symbolic link in the directory");
            None
        }
        "chdir" | "fchdir" => bail!("relative paths mean something else from here on"),
        "io_uring_setup" => bail!("io_uring hides its writes from a trace"),
        "clone" | "clone3" | "fork" | "vfork" => spawned(call)?,
        _ => None,
    })
}

fn opened(call: &Call, flags: &[u8], place: &Place) -> Result<Option<Act>> {
    if call.returned().is_none() {
        return Ok(None);
    }
    let fd = Fd::parse(&call.result)?;
    let (Some(number), Some(path)) = (fd.number, place.inside(&fd.what)) else {
        return Ok(None);
    };
    ensure!(
        !fd.deleted,
        "{} was gone before it was open",
        path.display()
    );
    let has = |flag: &str| memchr::memmem::find(flags, flag.as_bytes()).is_some();
    ensure!(!has("O_TMPFILE"), "a file without a name");
    Ok(Some(Act::Open {
        fd: number,
        path,
        create: has("O_CREAT"),
        truncate: has("O_TRUNC"),
        append: has("O_APPEND"),
    }))
}

fn duplicated(call: &Call, from: &[u8], place: &Place) -> Result<Option<Act>> {
    let Some(to) = call.returned() else {
        return Ok(None);
    };
    let to = to.try_into()?;
    Ok(place.file(from)?.map(|from| Act::Duplicate { from, to }))
}

fn written(
    call: &Call,
    place: &Place,
    fd: &[u8],
    buffers: &[u8],
    offset: Option<&[u8]>,
) -> Result<Option<Act>> {
    let to = Fd::parse(fd)?;
    if to.is_socket() {
        return Ok(acked(&bytes(buffers)?));
    }
    let (Some(fd), Some(_)) = (to.number, place.inside(&to.what)) else {
        return Ok(None);
    };
    ensure!(
        !call.injected() || call.failed(),
        "an injected success of a write"
    );
    let mut data = bytes(buffers)?;
    if let Some(len) = call.returned() {
        data.truncate(len.try_into()?);
    }
    let offset = offset
        .map(|offset| anyhow::Ok(u64::try_from(number(offset)?)?))
        .transpose()?;
    Ok(Some(Act::Write {
        fd,
        data: data.into(),
        offset,
    }))
}

fn buffers_of_message(message: &[u8]) -> Result<&[u8]> {
    let from = memchr::memmem::find(message, b"msg_iov=").context("a message without buffers")?;
    let to = memchr::memmem::rfind(message, b"msg_iovlen=").unwrap_or(message.len());
    Ok(&message[from..to])
}

/// The ids of the answers in `sent`: `"id":"<log id>-<offset>"` beside `"duplicate":`.
fn acked(sent: &[u8]) -> Option<Act> {
    memchr::memmem::find(sent, b"\"duplicate\":")?;
    let mut ids = Vec::new();
    for at in memchr::memmem::find_iter(sent, b"\"id\":\"") {
        let rest = &sent[at + b"\"id\":\"".len()..];
        let id = memchr::memchr(b'"', rest).and_then(|end| std::str::from_utf8(&rest[..end]).ok());
        let offset = id
            .and_then(|id| id.rsplit_once('-'))
            .map(|(_, offset)| offset);
        if offset.is_some_and(|offset| offset.parse::<u64>().is_ok()) {
            ids.extend(id.map(str::to_owned));
        }
    }
    (!ids.is_empty()).then_some(Act::Ack { ids })
}

fn allocated(place: &Place, args: &[&[u8]]) -> Result<Option<Act>> {
    let [fd, mode, offset, len] = args else {
        bail!("fallocate takes four arguments")
    };
    let Some(fd) = place.file(fd)? else {
        return Ok(None);
    };
    let (offset, len) = (
        u64::try_from(number(offset)?)?,
        u64::try_from(number(len)?)?,
    );
    Ok(match *mode {
        b"0" => Some(Act::Reserve {
            fd,
            size: offset + len,
        }),
        b"FALLOC_FL_KEEP_SIZE" => None,
        b"FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE" => Some(Act::Zero { fd, offset, len }),
        mode => bail!("unknown mode {}", String::from_utf8_lossy(mode)),
    })
}

fn renamed(from: Option<PathBuf>, to: Option<PathBuf>) -> Result<Option<Act>> {
    both(from, to).map(|both| both.map(|(from, to)| Act::Rename { from, to }))
}

fn linked(from: Option<PathBuf>, to: Option<PathBuf>) -> Result<Option<Act>> {
    both(from, to).map(|both| both.map(|(from, to)| Act::Link { from, to }))
}

fn both(from: Option<PathBuf>, to: Option<PathBuf>) -> Result<Option<(PathBuf, PathBuf)>> {
    match (from, to) {
        (Some(from), Some(to)) => Ok(Some((from, to))),
        (None, None) => Ok(None),
        _ => bail!("a file moves into or out of the directory"),
    }
}

fn shared_and_writable(args: &[&[u8]]) -> bool {
    let has = |nth: usize, flag: &str| {
        args.get(nth)
            .is_some_and(|arg| memchr::memmem::find(arg, flag.as_bytes()).is_some())
    };
    has(2, "PROT_WRITE") && has(3, "MAP_SHARED")
}

fn spawned(call: &Call) -> Result<Option<Act>> {
    let Some(child) = call.returned() else {
        return Ok(None);
    };
    let shares_files = memchr::memmem::find(&call.args, b"CLONE_FILES").is_some();
    Ok(Some(Act::Spawn {
        child: child.try_into()?,
        shares_files,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::call::read;

    fn hex(text: &str) -> String {
        text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
    }

    fn acts(trace: &str) -> Result<Vec<Act>> {
        let place = Place {
            root: "/d".into(),
            cwd: "/d".into(),
        };
        let mut acts = Vec::new();
        read(trace.as_bytes(), |call| {
            acts.extend(step(&call, &place)?.map(|step| step.act));
            Ok(())
        })?;
        Ok(acts)
    }

    #[test]
    fn an_open_is_known_by_the_path_that_the_kernel_returned() {
        let line = format!(
            "1 1.0 openat(AT_FDCWD<{}>, \"{}\", O_RDWR|O_CREAT|O_APPEND, 0666) = 5<{}>\n",
            hex("/d"),
            hex("a"),
            hex("/d/a")
        );
        let open = Act::Open {
            fd: 5,
            path: "a".into(),
            create: true,
            truncate: false,
            append: true,
        };
        assert_eq!(acts(&line).unwrap(), [open]);
    }

    #[test]
    fn a_short_write_is_as_long_as_what_it_returned() {
        let line = format!(
            "1 1.0 pwrite64(5<{}>, \"{}\", 3, 9) = 2\n",
            hex("/d/a"),
            hex("abc")
        );
        let write = Act::Write {
            fd: 5,
            data: "ab".into(),
            offset: Some(9),
        };
        assert_eq!(acts(&line).unwrap(), [write]);
    }

    #[test]
    fn files_elsewhere_and_failed_calls_do_not_count() {
        let trace = format!(
            "1 1.0 write(5<{}>, \"{}\", 1) = 1\n1 1.0 unlink(\"{}\") = -1 ENOENT (No such file)\n",
            hex("/elsewhere"),
            hex("a"),
            hex("/d/a")
        );
        assert_eq!(acts(&trace).unwrap(), []);
    }

    #[test]
    fn an_answer_with_an_id_is_an_ack_and_other_traffic_is_not() {
        let socket = hex("socket:[1]");
        let answer = hex("HTTP/1.1 200 OK\r\n\r\n{\"id\":\"l0g-17\",\"duplicate\":false}");
        let other = hex("{\"id\":\"l0g-18\",\"body\":\"\"}");
        let trace = format!(
            "1 1.0 sendto(9<{socket}>, \"{answer}\", 9, 0, NULL, 0) = 9\n\
             1 1.0 writev(9<{socket}>, [{{iov_base=\"{other}\", iov_len=1}}], 1) = 1\n"
        );
        assert_eq!(
            acts(&trace).unwrap(),
            [Act::Ack {
                ids: vec!["l0g-17".into()]
            }]
        );
    }

    #[test]
    fn an_injected_success_is_no_sync() {
        let file = hex("/d/a");
        let trace = format!("1 1.0 fsync(5<{file}>) = 0 (INJECTED)\n1 1.0 fsync(5<{file}>) = 0\n");
        let expected = [
            Act::Sync { fd: 5, done: false },
            Act::Sync { fd: 5, done: true },
        ];
        assert_eq!(acts(&trace).unwrap(), expected);
    }

    #[test]
    fn what_the_model_cannot_see_is_an_error() {
        let file = hex("/d/a");
        let mapped =
            format!("1 1.0 mmap(NULL, 9, PROT_READ|PROT_WRITE, MAP_SHARED, 5<{file}>, 0) = 0x7f\n");
        assert!(acts(&mapped).is_err());
        let moved = format!("1 1.0 rename(\"{}\", \"{file}\") = 0\n", hex("/tmp/a"));
        assert!(acts(&moved).is_err());
        assert!(acts("1 1.0 io_uring_setup(8, {}) = 4\n").is_err());
    }
}
