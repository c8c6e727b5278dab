//! Hand-written traces for the tests of this module.

use std::fmt::Write;

use super::history::History;
use super::namespace::Snapshot;
use super::step::Place;

/// Where a script's files are.
const ROOT: &str = "/d";

/// A trace under construction, one line per call.
#[derive(Default)]
pub struct Script {
    text: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "\\x{byte:02x}").expect("a string takes everything");
        out
    })
}

fn path(name: &str) -> String {
    if name.is_empty() {
        hex(ROOT.as_bytes())
    } else {
        hex(format!("{ROOT}/{name}").as_bytes())
    }
}

impl Script {
    pub fn line(&mut self, tid: u32, call: &str) -> u64 {
        writeln!(self.text, "{tid} 1.0 {call}").expect("a string takes everything");
        self.now()
    }

    /// The moment of the latest line.
    pub fn now(&self) -> u64 {
        self.text.lines().count() as u64
    }

    pub fn open(&mut self, tid: u32, fd: i32, name: &str) {
        let flags = if name.is_empty() {
            "O_RDONLY"
        } else {
            "O_RDWR|O_CREAT"
        };
        let path = path(name);
        self.line(
            tid,
            &format!(
                "openat(AT_FDCWD<{}>, \"{path}\", {flags}, 0600) = {fd}<{path}>",
                hex(b"/")
            ),
        );
    }

    pub fn write(&mut self, tid: u32, fd: i32, name: &str, data: &[u8]) {
        let (path, len) = (path(name), data.len());
        self.line(
            tid,
            &format!("write({fd}<{path}>, \"{}\", {len}) = {len}", hex(data)),
        );
    }

    pub fn write_at(&mut self, tid: u32, fd: i32, name: &str, data: &[u8], offset: u64) {
        let (path, len) = (path(name), data.len());
        let call = format!(
            "pwrite64({fd}<{path}>, \"{}\", {len}, {offset}) = {len}",
            hex(data)
        );
        self.line(tid, &call);
    }

    pub fn sync(&mut self, tid: u32, fd: i32, name: &str) {
        self.line(tid, &format!("fdatasync({fd}<{}>) = 0", path(name)));
    }

    pub fn range_sync(&mut self, tid: u32, fd: i32, name: &str) {
        self.line(
            tid,
            &format!(
                "sync_file_range({fd}<{}>, 0, 0, SYNC_FILE_RANGE_WRITE) = 0",
                path(name)
            ),
        );
    }

    pub fn begin_sync(&mut self, tid: u32, fd: i32, name: &str) {
        self.line(tid, &format!("fsync({fd}<{}> <unfinished ...>", path(name)));
    }

    pub fn end_sync(&mut self, tid: u32, result: i32) {
        let text = if result == 0 {
            "0"
        } else {
            "-1 EIO (Input/output error) (INJECTED)"
        };
        self.line(tid, &format!("<... fsync resumed>) = {text}"));
    }

    /// Makes `child` a thread of `parent`.
    pub fn share(&mut self, parent: u32, child: u32) {
        self.line(
            parent,
            &format!("clone3({{flags=CLONE_VM|CLONE_FILES|CLONE_THREAD}}, 88) = {child}"),
        );
    }

    pub fn rename(&mut self, tid: u32, from: &str, to: &str) {
        self.line(
            tid,
            &format!("rename(\"{}\", \"{}\") = 0", path(from), path(to)),
        );
    }

    pub fn unlink(&mut self, tid: u32, name: &str) {
        self.line(tid, &format!("unlink(\"{}\") = 0", path(name)));
    }

    pub fn mkdir(&mut self, tid: u32, name: &str) {
        self.line(tid, &format!("mkdir(\"{}\", 0700) = 0", path(name)));
    }

    pub fn ack(&mut self, tid: u32, id: &str) {
        let answer = format!("HTTP/1.1 200 OK\r\n\r\n{{\"id\":\"{id}\",\"duplicate\":false}}");
        let (socket, len) = (hex(b"socket:[1]"), answer.len());
        let call = format!(
            "sendto(9<{socket}>, \"{}\", {len}, 0, NULL, 0) = {len}",
            hex(answer.as_bytes())
        );
        self.line(tid, &call);
    }

    /// What the script did to a directory that was empty.
    pub fn history(&self) -> History {
        self.history_on(Snapshot::empty())
    }

    /// What the script did to a directory that held `snapshot`.
    pub fn history_on(&self, snapshot: Snapshot) -> History {
        let place = Place {
            root: ROOT.into(),
            cwd: "/".into(),
        };
        History::of(self.text.as_bytes(), &place, snapshot).unwrap()
    }
}
