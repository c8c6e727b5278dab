//! Running creel under `strace`, to record what it does or to fail what it asks for.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Calls that change files, send answers, or make threads and processes.
const RECORDED: &str = "openat,openat2,open,creat,close,dup,dup2,dup3,fcntl,\
    write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,lseek,\
    ftruncate,truncate,fallocate,fsync,fdatasync,sync_file_range,\
    rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,\
    symlink,symlinkat,mmap,copy_file_range,sendfile,io_uring_setup,\
    chdir,fchdir,clone,clone3,fork,vfork,execve";

/// The longest write that is recorded whole; a longer one is an error on reading.
const STRING_BYTES_MAX: &str = "4194304";

/// What strace is to do beside running the program.
#[derive(Debug, Clone)]
pub enum Strace {
    /// Write down every call that matters into this file.
    Record(PathBuf),
    /// The same, and let calls fail as strace's own `inject=` puts it.
    Inject { what: String, into: PathBuf },
}

impl Strace {
    fn sends_signals(&self) -> bool {
        matches!(self, Self::Inject { what, .. } if what.contains("signal="))
    }

    /// `program` under strace; arguments are added by the caller.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("strace");
        command.args(["--follow-forks", "-ttt", "-xx", "-y", "-q"]);
        if !self.sends_signals() {
            // other calls run at full speed; strace 6.1 forgets to send signals then
            command.arg("--seccomp-bpf");
        }
        command.args(["-s", STRING_BYTES_MAX]);
        command.args(["-e", &format!("trace={RECORDED}")]);
        let into = match self {
            Self::Record(into) => into,
            Self::Inject { what, into } => {
                command.args(["-e", &format!("inject={what}")]);
                into
            }
        };
        command.arg("-o").arg(into);
        command.arg("--").arg(program);
        command
    }
}

/// Whether strace is there and may trace; if not, says aloud that `test` is
/// left out.
pub fn strace_or_left_out(test: &str) -> bool {
    let mut probe = Command::new("strace");
    probe.args(["-f", "--seccomp-bpf", "-o", "/dev/null", "--", "true"]);
    let why = match probe.stdout(Stdio::null()).stderr(Stdio::piped()).output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("strace cannot be run: {error}"),
    };
    println!("left out: {test}: {why}");
    eprintln!("left out: {test}: {why}");
    false
}
