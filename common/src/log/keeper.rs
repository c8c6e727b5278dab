//! The keeper: one thread for what must not hold up commits or leases: writing
//! runs of keys, removing volumes, looking at free space.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::engine::Engine;
use crate::ids::Offset;
use crate::log::gate::Gate;
use crate::log::keys::{Frozen, Runs};

/// How often free space is looked at.
const LOOK: Duration = Duration::from_secs(1);

enum Task {
    Keys(Arc<Frozen>),
    Remove(u64),
}

struct Shared {
    wants_keys: AtomicBool,
    covered: AtomicU64,
}

/// The handle of the keeper's thread; it ends when the last handle is dropped.
#[derive(Clone)]
pub struct Keeper {
    tasks: Sender<Task>,
    shared: Arc<Shared>,
}

/// What the thread works on.
pub struct Charge {
    /// Storage.
    pub engine: Arc<dyn Engine>,
    /// Keys on disk, where there is a disk.
    pub runs: Option<Arc<Runs>>,
    /// Free space.
    pub gate: Arc<Gate>,
}

impl Keeper {
    /// A handle and the thread's end of it.
    pub fn new(covered: Offset) -> (Self, impl FnOnce(Charge) + Send + 'static) {
        let (tasks, inbox) = crossbeam_channel::unbounded();
        let shared = Shared {
            wants_keys: AtomicBool::new(false),
            covered: AtomicU64::new(covered),
        };
        (
            Self {
                tasks,
                shared: Arc::new(shared),
            },
            move |charge| run(&charge, &inbox),
        )
    }

    /// Has a frozen table written.
    pub fn write_keys(&self, frozen: Arc<Frozen>) {
        self.shared.wants_keys.store(false, Ordering::Release);
        // a keeper that has ended leaves the keys to be read from the log again
        let _ = self.tasks.send(Task::Keys(frozen));
    }

    /// Has a volume removed.
    pub fn remove_volume(&self, number: u64) {
        // a keeper that has ended leaves the volume to the next start's retention
        let _ = self.tasks.send(Task::Remove(number));
    }

    /// Asks for a table to be frozen though it is not full, so that volumes may go.
    pub fn want_keys(&self) {
        self.shared.wants_keys.store(true, Ordering::Release);
    }

    /// Whether that was asked for.
    pub fn wants_keys(&self) -> bool {
        self.shared.wants_keys.load(Ordering::Acquire)
    }

    /// All keys below this offset need their volumes no more.
    pub fn keys_covered(&self, below: Offset) {
        self.shared.covered.store(below, Ordering::Release);
    }

    /// Below which offset volumes may go as far as keys are concerned.
    pub fn covered(&self) -> Offset {
        self.shared.covered.load(Ordering::Acquire)
    }
}

fn run(charge: &Charge, inbox: &Receiver<Task>) {
    let mut frozen = VecDeque::new();
    let mut left = BTreeSet::new();
    let mut looked = Instant::now();
    loop {
        match inbox.recv_timeout(LOOK) {
            Ok(Task::Keys(table)) => frozen.push_back(table),
            Ok(Task::Remove(number)) => {
                if !remove(charge, number) {
                    left.insert(number);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if looked.elapsed() >= LOOK {
            remove_again(charge, &mut left);
            charge.gate.look();
            looked = Instant::now();
        }
        // in order: a later run says that all keys before its end are in runs
        while let Some(table) = frozen.front()
            && write_keys(charge, table)
        {
            frozen.pop_front();
        }
    }
    if let Some(runs) = &charge.runs {
        runs.stop();
    }
}

/// Whether it is done with.
fn write_keys(charge: &Charge, frozen: &Frozen) -> bool {
    let Some(runs) = &charge.runs else {
        return true;
    };
    let written = runs.write(frozen);
    if let Err(error) = &written {
        // the table stays in memory and its volumes stay on disk
        tracing::error!(%error, "idempotency keys could not be written");
    }
    written.is_ok()
}

/// Whether it is done with.
fn remove(charge: &Charge, number: u64) -> bool {
    let removed = charge.engine.remove_volume(number);
    match &removed {
        Ok(()) => tracing::info!(
            volume = number,
            "a volume was removed: all in it was settled"
        ),
        Err(error) => tracing::error!(volume = number, %error, "a volume could not be removed"),
    }
    charge.gate.look();
    removed.is_ok()
}

/// Tries what could not be removed, of what is there still: nothing else looks at these volumes again.
fn remove_again(charge: &Charge, left: &mut BTreeSet<u64>) {
    if left.is_empty() {
        return;
    }
    let there: BTreeSet<u64> = charge.engine.volumes().iter().map(|v| v.number).collect();
    left.retain(|number| there.contains(number) && !remove(charge, *number));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::memory::{MemoryEngine, MemorySettings};
    use crate::log::account::Account;
    use crate::log::bounds::Bounds;
    use crate::testkit::engine::block;

    #[test]
    fn what_cannot_be_removed_is_tried_again() {
        let settings = MemorySettings {
            volume_bytes: 1,
            ..MemorySettings::default()
        };
        let engine = Arc::new(MemoryEngine::new(settings, 1));
        for offset in 1..4 {
            engine.append(&[block(offset, 1, 10)]).unwrap();
        }
        engine.fail_removals(3);
        let (keeper, run) = Keeper::new(Offset::MAX);
        let gate = Gate::new(
            engine.clone(),
            Bounds::default(),
            Arc::new(Account::default()),
        );
        let charge = Charge {
            engine: engine.clone(),
            runs: None,
            gate: Arc::new(gate),
        };
        let thread = std::thread::spawn(move || run(charge));
        keeper.remove_volume(1);
        keeper.remove_volume(2);
        while engine.volumes()[0].number < 3 {
            std::thread::yield_now();
        }
        drop(keeper);
        thread.join().unwrap();
    }
}
