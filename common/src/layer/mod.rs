//! A disk that can lose its power: a file system on FUSE, for tests and `creel torture`.
//!
//! Processes see an ordinary directory. Below it everything has two states: as processes see it,
//! and as it is sure to be after a power cut. What is sure is as little as POSIX promises:
//!
//! ```text
//! a file's bytes and size      after fsync or fdatasync of that file, or a write with O_(D)SYNC
//! a name (create, remove,      after fsync of its directory; a rename is one change, and one
//!   rename, mkdir, rmdir)        between two directories is sure once either of them was synced
//! everything else              nothing: not a file's name by its own fsync, not sync(2)
//! ```
//!
//! [`Layer::cut`] freezes one moment: from then on every call fails with EIO, and what is left is
//! all that was sure, and of the rest what a seeded dice leaves of it, for a real disk may keep
//! any of it. The rest of the tree is a [`Disk`] to mount again.
//!
//! It also plays a disk that fails a sync, one that is full, and one that says it synced and did
//! not. Files are in memory; modes and owners are kept at once. Locks are the kernel's own. Files
//! are opened for direct IO, so that the kernel caches nothing; shared mappings are refused.

mod content;
mod dice;
mod fuse;
mod state;
#[cfg(test)]
mod tests;
mod tree;

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fuser::{Config, MountOption, Session, SessionUnmounter};
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use self::dice::Dice;
use self::fuse::Served;
use self::state::State;
pub use self::state::{Counts, Left, Step};
use self::tree::Tree;

/// How long to wait for the last file to be closed before it is taken away from under its users.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);

/// Why there is no layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// This machine or container has no FUSE, or not for this user.
    #[error("there is no FUSE here: cannot open /dev/fuse: {0}")]
    NoFuse(#[source] io::Error),
    /// It is there, but nothing can be mounted.
    #[error("cannot mount a file system on {at}: {source} (it takes root, or CAP_SYS_ADMIN)")]
    NotMounted {
        /// Where.
        at: String,
        /// What mounting answered.
        #[source]
        source: io::Error,
    },
}

/// Files and directories, all of them sure.
#[derive(Debug)]
pub struct Disk(Tree);

impl Disk {
    /// An empty one.
    pub fn empty() -> Self {
        Self(Tree::empty())
    }

    /// Writes all of it into `dir`, which is made.
    ///
    /// # Errors
    /// Those of writing there.
    pub fn write_to(&self, dir: &Path) -> io::Result<()> {
        self.0.write_to(dir)
    }
}

/// What a power cut left.
#[derive(Debug)]
pub struct Cut {
    /// The disk, to be mounted again.
    pub disk: Disk,
    /// How it was decided about what was not sure.
    pub left: Left,
}

/// A mounted disk; unmounted when dropped, which waits a while for processes to close their files.
#[derive(Debug)]
pub struct Layer {
    at: PathBuf,
    state: Arc<Mutex<State>>,
    /// What unmounts it, and the thread that answers.
    session: Option<(SessionUnmounter, JoinHandle<io::Result<()>>)>,
}

impl Layer {
    /// Mounts `disk` on `at`, which is made if it is not there.
    ///
    /// # Errors
    /// When there is no FUSE, or no right to mount.
    pub fn mount(at: &Path, disk: Disk) -> Result<Self, LayerError> {
        let failed = |source| LayerError::NotMounted {
            at: at.display().to_string(),
            source,
        };
        let device = fs::File::options().read(true).write(true).open("/dev/fuse");
        device.map_err(LayerError::NoFuse)?;
        let at = match fs::create_dir_all(at).and_then(|()| at.canonicalize()) {
            Ok(at) => at,
            Err(error) => return Err(failed(error)),
        };
        let state = Arc::new(Mutex::new(State::new(disk.0)));
        let served = Served(Arc::clone(&state));
        let mut session = Session::new(served, &at, &options()).map_err(failed)?;
        let unmounter = session.unmount_callable();
        let thread = std::thread::Builder::new().name("layer".to_owned());
        let served = thread.spawn(move || session.run()).map_err(failed)?;
        Ok(Self {
            at,
            state,
            session: Some((unmounter, served)),
        })
    }

    /// Whether a layer can be mounted here at all: tries it in a directory of its own.
    ///
    /// # Errors
    /// Why not.
    pub fn probe() -> Result<(), LayerError> {
        let failed = |source| LayerError::NotMounted {
            at: std::env::temp_dir().display().to_string(),
            source,
        };
        let name = format!(
            "creel-layer-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        );
        let at = std::env::temp_dir().join(name);
        let mounted = Self::mount(&at, Disk::empty()).map(drop);
        fs::remove_dir(&at).map_err(failed)?;
        mounted
    }

    /// Cuts the power: every further call fails, and what is left is decided by `seed`.
    /// The same calls and the same seed leave the same.
    pub fn cut(&self, seed: u64) -> Cut {
        self.cut_by(Dice::seeded(seed))
    }

    /// As [`Layer::cut`], but nothing is left that was not sure.
    pub fn cut_strictly(&self) -> Cut {
        self.cut_by(Dice::strict())
    }

    /// Cuts the power by itself, right before the `nth` step from now. [`Layer::taken`] answers
    /// what was left.
    pub fn cut_before(&self, step: Step, nth: u64, seed: u64) {
        self.state.lock().plan(step, nth, Dice::seeded(seed));
    }

    /// Whether there is no power any more.
    pub fn is_cut(&self) -> bool {
        self.state.lock().is_cut()
    }

    /// What the cut that was planned left, once it has come; once.
    pub fn taken(&self) -> Option<Cut> {
        let (tree, left) = self.state.lock().take()?;
        Some(Cut {
            disk: Disk(tree),
            left,
        })
    }

    fn cut_by(&self, dice: Dice) -> Cut {
        let (tree, left) = self.state.lock().cut(dice);
        Cut {
            disk: Disk(tree),
            left,
        }
    }

    /// Lets syncs answer well and do nothing (`false`), or really sync: what shows that a test
    /// would notice.
    pub fn believe_syncs(&self, believe: bool) {
        self.state.lock().believe = believe;
    }

    /// Lets the `nth` sync from now on, of a file or a directory, fail with EIO. What it was to
    /// make sure stays unsure for ever, as with a kernel that reports a lost page once.
    pub fn fail_sync(&self, nth: u64) {
        self.state.lock().fail_in = nth;
    }

    /// Lets syncs succeed again.
    pub fn mend(&self) {
        self.state.lock().fail_in = 0;
    }

    /// Sets the size of the disk. What would need more answers ENOSPC.
    pub fn set_size(&self, bytes: u64) {
        self.state.lock().size = bytes;
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().tree.used_bytes()
    }

    /// What was done since it was mounted.
    pub fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    /// Where it is mounted.
    pub fn at(&self) -> &Path {
        &self.at
    }

    fn unmount(&mut self) {
        let Some((mut unmounter, served)) = self.session.take() else {
            return;
        };
        // it tries once; a process that was just killed may still close its files
        let mut gone = unmounter.unmount().is_ok();
        let began = Instant::now();
        while !gone && began.elapsed() < CLOSED_WITHIN {
            std::thread::sleep(Duration::from_millis(2));
            gone = unmount(&self.at, UnmountFlags::empty()) != Err(Errno::BUSY);
        }
        if gone {
            let _ = served.join();
        } else {
            // somebody still uses it: the name goes, the rest when they do
            let _ = unmount(&self.at, UnmountFlags::DETACH);
        }
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn options() -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("creel-layer".to_owned()),
        MountOption::NoAtime,
    ];
    config
}

/// Whether a name is as long as one may be.
fn is_valid(name: &std::ffi::OsStr) -> bool {
    (1..=255).contains(&name.as_bytes().len())
}
