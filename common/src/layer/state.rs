//! The disk behind one mount: its tree, its switches, what was counted.

use std::fmt;
use std::ops::AddAssign;

use rustix::io::Errno;

use super::content::Edit;
use super::dice::Dice;
use super::tree::{Ino, Tree};

/// Far more than any test writes.
const SIZE_BYTES: u64 = 64 << 30;

/// What was done on a layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes and changes of size.
    pub writes: u64,
    /// Changes of names.
    pub names: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Syncs of directories.
    pub dir_syncs: u64,
    /// Syncs that were failed on purpose.
    pub failed_syncs: u64,
    /// Calls that found the disk full.
    pub full: u64,
}

/// How a power cut decided about what was not sure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Writes that survived.
    pub writes_kept: u64,
    /// Writes that are gone.
    pub writes_dropped: u64,
    /// Writes of which a part survived.
    pub writes_torn: u64,
    /// Changes of names that survived.
    pub names_kept: u64,
    /// Changes of names that are gone.
    pub names_dropped: u64,
}

impl Counts {
    /// Everything that is a [`Step`].
    pub fn steps(&self) -> u64 {
        self.writes + self.names + self.syncs + self.dir_syncs
    }
}

impl AddAssign for Left {
    fn add_assign(&mut self, other: Self) {
        self.writes_kept += other.writes_kept;
        self.writes_dropped += other.writes_dropped;
        self.writes_torn += other.writes_torn;
        self.names_kept += other.names_kept;
        self.names_dropped += other.names_dropped;
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unsure writes {} kept, {} dropped, {} torn, unsure names {} kept, {} dropped",
            self.writes_kept,
            self.writes_dropped,
            self.writes_torn,
            self.names_kept,
            self.names_dropped
        )
    }
}

/// What is counted to find the moment of a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Every write, change of size, change of a name, and sync.
    Any,
    /// Changes of names only: files and directories that come, go or are renamed.
    Name,
}

/// A cut that is to come.
#[derive(Debug)]
struct Plan {
    counts: Step,
    /// Steps until then.
    left: u64,
    dice: Dice,
}

/// A disk while it is mounted.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tree: Tree,
    plan: Option<Plan>,
    /// No power, no answer.
    is_cut: bool,
    /// What the planned cut left, until it is fetched.
    taken: Option<(Tree, Left)>,
    pub(super) believe: bool,
    /// How many syncs from now the one is that fails; 0 for none.
    pub(super) fail_in: u64,
    pub(super) size: u64,
    pub(super) counts: Counts,
}

impl State {
    pub(super) fn new(tree: Tree) -> Self {
        Self {
            tree,
            plan: None,
            is_cut: false,
            taken: None,
            believe: true,
            fail_in: 0,
            size: SIZE_BYTES,
            counts: Counts::default(),
        }
    }

    /// Calls are answered only while there is power.
    pub(super) fn powered(&mut self) -> Result<&mut Self, Errno> {
        if self.is_cut {
            Err(Errno::IO)
        } else {
            Ok(self)
        }
    }

    pub(super) fn cut(&mut self, mut dice: Dice) -> (Tree, Left) {
        self.is_cut = true;
        self.plan = None;
        let left = self.tree.left(&mut dice);
        (left, dice.left)
    }

    /// Plans a cut before the `nth` step from now.
    pub(super) fn plan(&mut self, counts: Step, nth: u64, dice: Dice) {
        self.plan = Some(Plan {
            counts,
            left: nth,
            dice,
        });
    }

    /// What the planned cut left, once.
    pub(super) fn take(&mut self) -> Option<(Tree, Left)> {
        self.taken.take()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Begins something that changes the disk, unless the power is cut right before it.
    fn begin(&mut self, step: Step) -> Result<(), Errno> {
        let counts = |plan: &Plan| plan.counts == Step::Any || plan.counts == step;
        let Some(plan) = self.plan.as_mut().filter(|plan| counts(plan)) else {
            return Ok(());
        };
        plan.left = plan.left.saturating_sub(1);
        if plan.left > 0 {
            return Ok(());
        }
        if let Some(plan) = self.plan.take() {
            self.taken = Some(self.cut(plan.dice));
        }
        Err(Errno::IO)
    }

    /// Changes bytes or the size of a file.
    pub(super) fn edit(&mut self, ino: Ino, edit: Edit) -> Result<(), Errno> {
        self.begin(Step::Any)?;
        let now = self.tree.file(ino)?.len();
        self.room_for(edit.end().saturating_sub(now))?;
        self.counts.writes += 1;
        self.tree.edit(ino, edit)
    }

    /// The tree, to change one name in.
    pub(super) fn names(&mut self) -> Result<&mut Tree, Errno> {
        self.begin(Step::Name)?;
        self.counts.names += 1;
        Ok(&mut self.tree)
    }

    /// Refuses what needs `more` bytes than there are.
    fn room_for(&mut self, more: u64) -> Result<(), Errno> {
        if more > 0 && self.tree.used_bytes() + more > self.size {
            self.counts.full += 1;
            return Err(Errno::NOSPC);
        }
        Ok(())
    }

    pub(super) fn sync_file(&mut self, ino: Ino) -> Result<(), Errno> {
        self.begin(Step::Any)?;
        self.counts.syncs += 1;
        let fails = self.is_to_fail();
        let content = self.tree.file_mut(ino)?;
        if fails {
            content.forsake();
            return Err(Errno::IO);
        }
        if self.believe {
            content.sync();
        }
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, ino: Ino) -> Result<(), Errno> {
        self.begin(Step::Any)?;
        self.counts.dir_syncs += 1;
        if self.is_to_fail() {
            return Err(Errno::IO);
        }
        if self.believe {
            self.tree.sync_names(ino)?;
        }
        Ok(())
    }

    fn is_to_fail(&mut self) -> bool {
        let fails = self.fail_in == 1;
        self.fail_in = self.fail_in.saturating_sub(1);
        self.counts.failed_syncs += u64::from(fails);
        fails
    }
}
