//! A mounted layer from a process's side: what goes, what stays, what fails.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::*;

/// A directory to mount in, and a layer on it.
struct Mounted {
    layer: Layer,
    at: PathBuf,
    _dir: tempfile::TempDir,
}

impl Mounted {
    /// Says aloud that the test is left out where nothing can be mounted.
    fn new(test: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("disk");
        match Layer::mount(&at, Disk::empty()) {
            Ok(layer) => Some(Self {
                layer,
                at,
                _dir: dir,
            }),
            Err(why) => {
                println!("left out: {test}: {why}");
                eprintln!("left out: {test}: {why}");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    /// What is left when nothing survives that was not sure, mounted in its place.
    fn cut(&mut self) {
        let cut = self.layer.cut_strictly();
        self.serve(cut.disk);
    }

    fn serve(&mut self, disk: Disk) {
        self.layer.unmount();
        self.layer = Layer::mount(&self.at, disk).unwrap();
    }
}

fn sync_dir(dir: &Path) {
    File::open(dir).unwrap().sync_all().unwrap();
}

fn listed(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(name).collect();
    names.sort();
    names
        .into_iter()
        .map(|name| name.into_string().unwrap())
        .collect()
}

#[test]
fn what_was_synced_stays_and_what_was_not_goes() {
    let Some(mut disk) = Mounted::new("synced stays") else {
        return;
    };
    for name in ["synced", "unsynced", "without-name"] {
        fs::write(disk.path(name), b"before").unwrap();
    }
    let synced = OpenOptions::new().append(true).open(disk.path("synced"));
    let mut synced = synced.unwrap();
    synced.write_all(b" and after").unwrap();
    synced.sync_data().unwrap();
    fs::rename(disk.path("without-name"), disk.path("nameless")).unwrap();
    sync_dir(&disk.at);
    let late = disk.path("late");
    fs::write(&late, b"no name").unwrap();
    File::open(&late).unwrap().sync_all().unwrap();
    synced.write_all(b", not this").unwrap();
    drop(synced);
    assert_eq!(listed(&disk.at), ["late", "nameless", "synced", "unsynced"]);
    disk.cut();
    assert_eq!(listed(&disk.at), ["nameless", "synced", "unsynced"]);
    assert_eq!(fs::read(disk.path("synced")).unwrap(), b"before and after");
    assert_eq!(fs::read(disk.path("unsynced")).unwrap(), b"");
}

#[test]
fn a_removal_and_a_rename_go_without_their_directorys_sync() {
    let Some(mut disk) = Mounted::new("unsynced names go") else {
        return;
    };
    fs::create_dir_all(disk.path("a/b")).unwrap();
    for name in ["a/b/kept", "a/b/moved", "gone"] {
        fs::write(disk.path(name), name).unwrap();
        File::open(disk.path(name)).unwrap().sync_all().unwrap();
    }
    for dir in ["a/b", "a", ""] {
        sync_dir(&disk.path(dir));
    }
    fs::remove_file(disk.path("gone")).unwrap();
    fs::rename(disk.path("a/b/moved"), disk.path("a/moved")).unwrap();
    fs::remove_file(disk.path("a/b/kept")).unwrap();
    fs::remove_dir(disk.path("a/b")).unwrap();
    assert_eq!(listed(&disk.path("a")), ["moved"]);
    disk.cut();
    assert_eq!(listed(&disk.at), ["a", "gone"]);
    assert_eq!(listed(&disk.path("a/b")), ["kept", "moved"]);
    assert_eq!(fs::read(disk.path("a/b/kept")).unwrap(), b"a/b/kept");
}

#[test]
fn what_a_dice_leaves_is_always_one_of_the_states_there_were() {
    let Some(mut disk) = Mounted::new("dice") else {
        return;
    };
    let mut torn = 0;
    for seed in 0..40 {
        let path = disk.path("file");
        fs::write(&path, vec![b'0'; 8192]).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        sync_dir(&disk.at);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[b'1'; 8192], 0).unwrap();
        drop(file);
        let cut = disk.layer.cut(seed);
        torn += cut.left.writes_torn;
        disk.serve(cut.disk);
        let left = fs::read(&path).unwrap();
        let ones = left.iter().take_while(|&&byte| byte == b'1').count();
        assert!(left[ones..].iter().all(|&byte| byte == b'0') && left.len() == 8192);
        assert!(ones.is_multiple_of(512), "torn at {ones}");
    }
    assert!(torn > 3, "hardly ever torn: {torn}");
}

#[test]
fn after_a_cut_every_call_fails() {
    let Some(disk) = Mounted::new("frozen") else {
        return;
    };
    let file = File::create(disk.path("file")).unwrap();
    disk.layer.cut(1);
    let failed = |result: std::io::Result<()>| {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EIO));
    };
    failed((&file).write_all(b"x"));
    failed(file.sync_all());
    failed(file.set_len(3));
    failed(fs::read_dir(&disk.at).map(drop));
    failed(fs::metadata(disk.path("file")).map(drop));
    failed(fs::create_dir(disk.path("dir")));
}

#[test]
fn a_planned_cut_comes_before_its_step() {
    let Some(mut disk) = Mounted::new("planned cut") else {
        return;
    };
    disk.layer.cut_before(Step::Name, 2, 1);
    fs::write(disk.path("one"), b"1").unwrap();
    File::open(disk.path("one")).unwrap().sync_all().unwrap();
    sync_dir(&disk.at);
    assert!(!disk.layer.is_cut() && disk.layer.taken().is_none());
    let failed = fs::write(disk.path("two"), b"2").unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(libc::EIO));
    assert!(disk.layer.is_cut());
    let cut = disk.layer.taken().unwrap();
    disk.serve(cut.disk);
    assert_eq!(listed(&disk.at), ["one"]);
}

#[test]
fn a_write_that_is_synchronous_is_sure() {
    let Some(mut disk) = Mounted::new("O_DSYNC") else {
        return;
    };
    let flags = OFlags::DSYNC.bits().cast_signed();
    let open = |name: &str, flags| {
        let mut options = OpenOptions::new();
        options.write(true).create(true).custom_flags(flags);
        options.open(disk.path(name)).unwrap()
    };
    open("dsync", flags).write_all(b"sure").unwrap();
    open("plain", 0).write_all(b"not sure").unwrap();
    sync_dir(&disk.at);
    disk.cut();
    assert_eq!(fs::read(disk.path("dsync")).unwrap(), b"sure");
    assert_eq!(fs::read(disk.path("plain")).unwrap(), b"");
}

#[test]
fn syncs_that_are_not_believed_keep_nothing() {
    let Some(mut disk) = Mounted::new("unbelieved") else {
        return;
    };
    disk.layer.believe_syncs(false);
    fs::write(disk.path("file"), b"x").unwrap();
    File::open(disk.path("file")).unwrap().sync_all().unwrap();
    sync_dir(&disk.at);
    disk.cut();
    assert!(listed(&disk.at).is_empty());
}

#[test]
fn a_failed_sync_answers_once_and_keeps_nothing_of_what_it_covered() {
    let Some(mut disk) = Mounted::new("failed sync") else {
        return;
    };
    let mut file = File::create(disk.path("file")).unwrap();
    sync_dir(&disk.at);
    file.write_all(b"one").unwrap();
    disk.layer.fail_sync(2);
    sync_dir(&disk.at);
    let failed = file.sync_data().unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(libc::EIO));
    file.write_all(b"two").unwrap();
    file.sync_data().unwrap();
    drop(file);
    assert_eq!(disk.layer.counts().failed_syncs, 1);
    assert_eq!(fs::read(disk.path("file")).unwrap(), b"onetwo");
    disk.cut();
    assert_eq!(fs::read(disk.path("file")).unwrap(), b"\0\0\0two");
}

#[test]
fn a_full_disk_says_so_and_has_room_again_when_something_goes() {
    let Some(disk) = Mounted::new("full disk") else {
        return;
    };
    disk.layer.set_size(1 << 20);
    let free = || {
        let stat = rustix::fs::statvfs(&disk.at).unwrap();
        stat.f_bavail * stat.f_frsize
    };
    assert_eq!(free(), 1 << 20);
    let mut file = File::create(disk.path("large")).unwrap();
    file.write_all(&vec![1; 1 << 20]).unwrap();
    assert_eq!(free(), 0);
    let full = file.write_all(b"x").unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    // in place nothing more is needed
    file.write_all_at(b"y", 5).unwrap();
    drop(file);
    fs::remove_file(disk.path("large")).unwrap();
    sync_dir(&disk.at);
    assert_eq!((free(), disk.layer.counts().full), (1 << 20, 1));
}

#[test]
fn it_is_a_file_system_like_others() {
    let Some(disk) = Mounted::new("a file system") else {
        return;
    };
    let path = disk.path("file");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    let large: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
    file.write_all(&large).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert!(read == large);
    file.set_len(10).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 10);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::copy(&path, disk.path("copy")).unwrap();
    assert_eq!(fs::read(disk.path("copy")).unwrap(), large[..10]);
    // locks are between open files, as everywhere
    let other = File::open(&path).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let refused = flock(&other, FlockOperation::NonBlockingLockExclusive);
    assert_eq!(refused, Err(Errno::WOULDBLOCK));
    // open files outlive their names
    fs::remove_file(&path).unwrap();
    assert_eq!(file.read_at(&mut [0; 4], 0).unwrap(), 4);
    let gone = File::open(&path).unwrap_err();
    assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
    let many: Vec<String> = (0..500).map(|n| format!("dir/{n:03}")).collect();
    fs::create_dir(disk.path("dir")).unwrap();
    for name in &many {
        fs::write(disk.path(name), b"").unwrap();
    }
    assert_eq!(listed(&disk.path("dir")).len(), 500);
    let full = fs::remove_dir(disk.path("dir")).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::DirectoryNotEmpty);
    fs::remove_dir_all(disk.path("dir")).unwrap();
}

#[test]
fn sleds_own_sync_arrives_as_a_real_one() {
    let Some(disk) = Mounted::new("sled") else {
        return;
    };
    crate::engine::sled::durable::arm(&disk.at).unwrap();
    let config = sled::Config::new().path(disk.path("db"));
    let db = config.flush_every_ms(None).open().unwrap();
    for dir in ["db/blobs", "db", ""] {
        sync_dir(&disk.path(dir));
    }
    File::open(disk.path("db/conf"))
        .unwrap()
        .sync_all()
        .unwrap();
    let before = disk.layer.counts().syncs;
    db.insert(b"key", b"value").unwrap();
    db.flush().unwrap();
    assert!(disk.layer.counts().syncs > before);
    let cut = disk.layer.cut_strictly();
    // closing it would write to a disk without power
    std::mem::forget(db);
    let elsewhere = tempfile::tempdir().unwrap();
    cut.disk.write_to(elsewhere.path()).unwrap();
    let config = sled::Config::new().path(elsewhere.path().join("db"));
    let db = config.open().unwrap();
    assert_eq!(db.get(b"key").unwrap().unwrap(), b"value");
}

#[test]
fn what_is_left_can_be_written_elsewhere() {
    let Some(disk) = Mounted::new("written elsewhere") else {
        return;
    };
    fs::create_dir(disk.path("dir")).unwrap();
    let mut file = File::create(disk.path("dir/file")).unwrap();
    file.write_all(b"bytes").unwrap();
    file.sync_all().unwrap();
    sync_dir(&disk.path("dir"));
    sync_dir(&disk.at);
    let into = tempfile::tempdir().unwrap();
    let left = disk.layer.cut_strictly().disk;
    left.write_to(&into.path().join("left")).unwrap();
    let written = into.path().join("left/dir/file");
    assert_eq!(fs::read(written).unwrap(), b"bytes");
}

#[test]
#[allow(
    clippy::zombie_processes,
    reason = "one that cannot end cannot be waited for"
)]
fn a_process_that_has_a_file_open_on_its_own_layer_can_end() {
    let Some(disk) = Mounted::new("ending") else {
        return;
    };
    drop(disk);
    let dir = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "layer::tests::child_ends"])
        .env("CREEL_TEST_DIR", dir.path())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let mut ended = None;
    while ended.is_none() && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
        ended = child.try_wait().unwrap();
    }
    // the file system of a process that has gone
    let _ = unmount(dir.path(), UnmountFlags::DETACH);
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}

#[test]
#[ignore = "run by a_process_that_has_a_file_open_on_its_own_layer_can_end"]
fn child_ends() {
    let dir = PathBuf::from(std::env::var_os("CREEL_TEST_DIR").unwrap());
    // of a lower number than the device of the layer, so that it is closed while that is open
    let low = File::open("/dev/null").unwrap();
    let layer = Layer::mount(&dir, Disk::empty()).unwrap();
    drop(low);
    std::mem::forget(File::create(dir.join("file")).unwrap());
    std::mem::forget(layer);
}
