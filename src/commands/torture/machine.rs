//! What was tortured: this machine and its disk, for the report.

use std::path::Path;

use serde::Serialize;

/// A machine, as it calls itself.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// How many threads run at once.
    pub processors: usize,
    /// Name and release.
    pub kernel: String,
    /// The kind of file system the directory is on.
    pub file_system: String,
    /// What that is mounted from.
    pub device: String,
}

impl Machine {
    /// This one, with the file system that `dir` is on.
    pub fn of(dir: &Path) -> Self {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let (file_system, device) = mounted(&mounts, &dir).unwrap_or(("unknown", "unknown"));
        Self {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("{} {}", text(uname.sysname()), text(uname.release())),
            file_system: file_system.to_owned(),
            device: device.to_owned(),
        }
    }
}

/// Kind and source of the innermost mount that holds `dir`, of `/proc/self/mountinfo`: the mount
/// point is the fifth field, kind and source follow the field `-` (proc_pid_mountinfo(5)).
fn mounted<'a>(mounts: &'a str, dir: &Path) -> Option<(&'a str, &'a str)> {
    let holding = mounts.lines().filter_map(|line| {
        let point = line.split(' ').nth(4)?.replace("\\040", " ");
        let mut after = line.split_once(" - ")?.1.split(' ');
        let found = (after.next()?, after.next()?);
        dir.starts_with(&point).then_some((point.len(), found))
    });
    // of two on one point the later one is on top
    holding
        .max_by_key(|(depth, _)| *depth)
        .map(|(_, found)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_is_found() {
        let mounts = "\
            22 1 8:1 / / rw,noatime shared:1 - ext4 /dev/vda rw\n\
            23 22 8:2 / /var/lib rw - xfs /dev/vdb rw\n\
            24 22 0:5 / /var/li rw - tmpfs tmpfs rw\n";
        let of = |dir: &str| mounted(mounts, Path::new(dir));
        assert_eq!(of("/var/lib/creel"), Some(("xfs", "/dev/vdb")));
        assert_eq!(of("/home"), Some(("ext4", "/dev/vda")));
    }
}
