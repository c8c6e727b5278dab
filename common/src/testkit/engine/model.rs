//! Random histories, compared with a model of what an engine is.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Fresh, SMALL, assert_same_blocks, block, read_all};
use crate::engine::{Block, Engine, StateBatch};
use crate::ids::Offset;

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(u32, usize)>),
    Put(u8, usize),
    Remove(u8),
    RemoveOldest,
    Raise(u64),
    Reopen { close: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let blocks = proptest::collection::vec((1..50u32, 0..40_000usize), 1..5);
    prop_oneof![
        8 => blocks.prop_map(Step::Append),
        3 => (any::<u8>(), 0..5000usize).prop_map(|(k, n)| Step::Put(k % 20, n)),
        1 => any::<u8>().prop_map(|k| Step::Remove(k % 20)),
        1 => Just(Step::RemoveOldest),
        1 => (0..30u64).prop_map(Step::Raise),
        2 => any::<bool>().prop_map(|close| Step::Reopen { close }),
    ]
}

/// What a log has to hold.
#[derive(Default)]
struct Model {
    blocks: Vec<Block>,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    next: Offset,
}

/// Plays `cases` random histories of up to 40 steps on fresh storages and compares each with a
/// model after every reopening and at the end.
///
/// # Panics
/// When they differ; the smallest history found that does so is printed.
pub fn histories_agree(fresh: Fresh<'_>, cases: u32) {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let history = proptest::collection::vec(step(), 1..40);
    let played = TestRunner::new(config).run(&history, |steps| {
        play(fresh, &steps);
        Ok(())
    });
    if let Err(failed) = played {
        panic!("{failed}");
    }
}

fn play(fresh: Fresh<'_>, steps: &[Step]) {
    let mut storage = fresh(SMALL);
    let mut engine = storage.open();
    let mut model = Model {
        next: 1,
        ..Model::default()
    };
    for step in steps {
        if let Step::Reopen { close } = step {
            if *close {
                engine.close().expect("close");
            }
            drop(engine);
            engine = storage.open();
            assert_eq!(engine.opened().clean, *close);
            assert_eq!(engine.opened().next, model.next);
            assert!(engine.opened().lost.is_empty());
            model.agree(&*engine);
        } else {
            model.take(step, &*engine);
        }
    }
    model.agree(&*engine);
}

impl Model {
    fn take(&mut self, step: &Step, engine: &dyn Engine) {
        match step {
            Step::Append(sizes) => self.append(sizes, engine),
            Step::Put(key, bytes) => {
                let mut batch = StateBatch::default();
                batch.put([*key], vec![*key; *bytes]);
                engine.commit(&batch).expect("commit");
                self.state.insert(vec![*key], vec![*key; *bytes]);
            }
            Step::Remove(key) => {
                let mut batch = StateBatch::default();
                batch.remove([*key]);
                engine.commit(&batch).expect("commit");
                self.state.remove(&vec![*key]);
            }
            Step::RemoveOldest => {
                let oldest = engine.volumes().remove(0);
                if oldest.sealed {
                    engine.remove_volume(oldest.number).expect("remove");
                    self.blocks.retain(|b| b.first >= oldest.end);
                }
            }
            Step::Raise(by) => {
                let raised = engine.raise_next(self.next + by).expect("raise");
                assert!(raised >= self.next + by);
                self.next = raised;
            }
            Step::Reopen { .. } => {}
        }
    }

    fn append(&mut self, sizes: &[(u32, usize)], engine: &dyn Engine) {
        let mut blocks = Vec::new();
        for (count, bytes) in sizes {
            blocks.push(block(self.next, *count, *bytes));
            self.next += Offset::from(*count);
        }
        engine.append(&blocks).expect("append");
        self.blocks.extend(blocks);
    }

    fn agree(&self, engine: &dyn Engine) {
        assert_same_blocks(&read_all(engine), &self.blocks);
        let state = engine.scan(&[], &[255], usize::MAX).expect("scan");
        let wanted: Vec<_> = self.state.clone().into_iter().collect();
        assert_eq!(state, wanted);
        let volumes = engine.volumes();
        let end = self.blocks.last().map_or(1, Block::end);
        let last = volumes.last().expect("one is always being written");
        assert!((end..=self.next).contains(&last.end) && !last.sealed);
        for gap in engine.gaps() {
            let inside = self
                .blocks
                .iter()
                .any(|b| b.first <= gap.last && b.end() > gap.first);
            assert!(!inside, "{gap:?} holds blocks");
        }
    }
}
