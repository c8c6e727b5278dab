//! What a process really did to its disk: a system call trace, read back and cut.
//!
//! `strace` writes down every file system call and every answer of a creel
//! process. [`History`] turns that into an ordered list of events on one
//! directory. [`Disk`] knows which of them a disk has promised to keep at any
//! moment, and rebuilds the directory as a power cut at that moment may leave
//! it. [`acks_are_covered`] asks of every answer whether a sync stood before it.
//!
//! Two moments of each call matter: a sync counts only when it has returned,
//! a write or an answer counts as soon as it starts.

mod args;
mod call;
mod coverage;
mod disk;
mod history;
mod namespace;
mod real;
#[cfg(test)]
mod script;
mod step;

pub use coverage::{Acked, acks_are_covered};
pub use disk::{Cut, Disk, Trust};
pub use history::{History, Tick};
pub use namespace::Snapshot;
pub use real::differences;
