//! What the end-to-end tests stand on: processes, load, sinks and patience.
//!
//! A [`Site`] is a directory with a config, a [`Process`] is creel running in
//! it, [`Load`] is its senders, [`Sink`] its destination, [`eventually`] the
//! only way to wait. No test may need more than what its site holds.
#![allow(dead_code, reason = "a kit: not every test takes every piece of it")]

mod api;
mod body;
mod certified;
mod eventually;
pub mod frames;
pub mod github;
mod hand;
mod honest;
mod lines;
mod load;
mod log_reader;
mod manager;
mod marker;
mod process;
mod receiver;
mod seed;
mod sink;
mod site;
mod strace;
mod up;
mod wall;
mod worker;

pub use api::Api;
pub use body::Sizes;
pub use certified::Certified;
pub use eventually::eventually;
pub use hand::{Hand, Leased};
pub use honest::Honest;
pub use lines::json_lines;
pub use load::{Load, Tally};
pub use log_reader::{Exported, export, salvage, verify};
pub use manager::{Manager, Sockets};
pub use marker::Marker;
pub use process::{Exit, Process};
pub use receiver::{Receiver, StartFailed};
pub use seed::Seed;
pub use sink::{Answer, Arrival, Sink};
pub use site::{Role, Site};
pub use strace::{Strace, strace_or_left_out};
pub use up::Up;
pub use wall::wall_or_left_out;
