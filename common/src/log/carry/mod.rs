//! Carrying over: what is left of old volumes moves together, so that the rest of them can go.
//!
//! One thread, asked by the desk for one thing at a time. First it looks what is left of a volume
//! (`survey.rs`); the desk then declares all else gone, and has that much written into a new volume
//! (`cut.rs`). So nothing of what is left can be missed: what becomes waiting or dead between the two
//! is told to the desk, and what is settled cannot come back once it counts as gone.

mod cut;
mod plan;
mod survey;

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::engine::{Engine, EngineError};
use crate::ids::Offset;
use crate::log::gate::Gate;
use crate::log::shelf::Shelf;

pub use self::plan::Carrying;
pub use self::survey::{LaneView, Left, Survey, Unrouted};

/// Neighbouring volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volumes {
    /// Number of the first.
    pub first: u64,
    /// Number of the last.
    pub last: u64,
    /// First offset of the first and one past the last one of the last.
    pub span: (Offset, Offset),
    /// Bytes they take on disk.
    pub bytes: u64,
}

enum Task {
    Survey(Survey),
    Carry(Volumes, Vec<Offset>),
}

/// What came of a task.
pub enum Done {
    /// What is left of the volumes; `None` when it is too much to be worth it.
    Surveyed(Result<Option<Vec<Left>>, EngineError>),
    /// Only what is left is there now.
    Carried(Result<(), EngineError>),
}

/// The handle of the carrier's thread; it ends when this is dropped.
pub struct Carrier {
    tasks: Sender<Task>,
    done: Receiver<Done>,
}

/// What the thread works on.
pub struct Charge {
    /// Storage.
    pub engine: Arc<dyn Engine>,
    /// The log, for reading.
    pub shelf: Arc<Shelf>,
    /// Free space.
    pub gate: Arc<Gate>,
}

impl Carrier {
    /// A handle and the thread's end of it.
    pub fn new() -> (Self, impl FnOnce(Charge) + Send + 'static) {
        let (tasks, inbox) = crossbeam_channel::unbounded();
        let (answer, done) = crossbeam_channel::unbounded();
        let run = move |charge: Charge| {
            for task in inbox {
                // a desk that has ended wants no answer
                let _ = answer.send(charge.carry_out(task));
            }
        };
        (Self { tasks, done }, run)
    }

    /// Has it looked what is left of volumes.
    pub fn survey(&self, survey: Survey) {
        // a carrier that has ended leaves the volumes as they are
        let _ = self.tasks.send(Task::Survey(survey));
    }

    /// Has volumes replaced by what is left of them: these offsets, in order.
    pub fn carry(&self, volumes: Volumes, left: Vec<Offset>) {
        let _ = self.tasks.send(Task::Carry(volumes, left));
    }

    /// What has been done since the last call, if anything.
    pub fn done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}

impl Charge {
    fn carry_out(&self, task: Task) -> Done {
        match task {
            Task::Survey(survey) => Done::Surveyed(survey.look(&self.shelf, &*self.engine)),
            Task::Carry(volumes, left) => {
                let carried = cut::carry(&*self.engine, volumes, &left, &|| self.gate.is_stopped());
                self.gate.look();
                Done::Carried(carried.map(|left| {
                    self.gate.account().rewritten(volumes.first, left);
                }))
            }
        }
    }
}
