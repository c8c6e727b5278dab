//! A progress bar over the bytes of a backup.

use creel_common::engine::Block as Stored;
use creel_common::engine::backup::{Stage, Watch};
use creel_common::log::block::Block;
use indicatif::ProgressBar;

use crate::output::progress_bytes;

/// Shows how a backup, a verification or a restore goes.
pub struct Bar(ProgressBar);

impl Bar {
    /// Hidden when stderr is no terminal.
    pub fn new() -> Self {
        Self(progress_bytes("looking"))
    }

    /// Takes it off the screen.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }

    /// Shows where it is.
    pub fn show(&self, stage: Stage, done: u64, total: u64) {
        self.0.set_message(match stage {
            Stage::State => "cursors, dead letters",
            Stage::Volumes => "deliveries",
            Stage::Files => "keys and attempts",
            Stage::Verify => "reading it back",
        });
        self.0.set_length(total.max(done));
        self.0.set_position(done);
    }
}

impl Watch for Bar {
    fn went(&self, stage: Stage, done: u64, total: u64) {
        self.show(stage, done, total);
    }

    fn check(&self, block: &Stored) -> Result<(), String> {
        Block::open(block).map(drop).map_err(|e| e.to_string())
    }
}
