//! A delivery that carries several items, sent item by item.
//!
//! ```text
//!              cut                      send, in order
//!  delivery ───────► item 1 … item n ─────────────────► destination
//!      │ no array there                     │ refused for good: noted, the next one goes on
//!      ▼                                    ▼ failed: stops here; the next try goes on here
//!  dead letter, or sent whole          progress
//! ```
//!
//! The lease, the tries and the dead letter are the delivery's. An item's id is the delivery's and its
//! number, so that a destination recognises one that comes again.

mod cut;
mod progress;
mod run;
mod send;

use parking_lot::Mutex;

use self::cut::Cutter;
use self::progress::Progress;
pub(crate) use self::send::Call;
use creel_common::config::Split;

/// Splits the deliveries of one lane.
#[derive(Debug)]
pub(crate) struct Splitter {
    cutter: Cutter,
    progress: Mutex<Progress>,
}

impl Splitter {
    /// # Errors
    /// The pack's path is wanted, and not known here.
    pub(crate) fn new(split: &Split) -> Result<Self, String> {
        Ok(Self {
            cutter: Cutter::new(split)?,
            progress: Mutex::default(),
        })
    }
}
