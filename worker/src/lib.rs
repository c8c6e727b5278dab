//! creel's worker: leases deliveries and loads them into destinations.
//!
//! ```text
//!            long polls, one per receiver while all is quiet (drain)
//!  receiver ───────────────► lease ─► lane of its route ─► calls ─► destination
//!     ▲                        │  queue, batches,            │ timeout and panic
//!     │   settle, extend       ▼  fair slots                 ▼ are caught here
//!     └───────────────────── hold ◄───────────────────── outcomes
//! ```
//!
//! A worker has no state of its own: what it holds comes back when its leases end.
//! It enforces timeouts and classifies what a destination said; what follows from
//! that (retry, dead letter, pause) is decided by the lender alone.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod call;
pub mod destinations;
mod drain;
mod hold;
mod lane;
mod pause;
mod pipeline;
mod room;
mod slots;
mod split;
mod tally;
mod worker;

pub use pipeline::check;
pub use tally::Counts;
pub use worker::{Destinations, Settings, SetupError, Worker};
