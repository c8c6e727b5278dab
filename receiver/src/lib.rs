//! creel's receiver: verifies deliveries, keeps them, lends them out.
//!
//! ```text
//!  sender ──► public listener ──► ingest ──► log      (Intake)
//!  worker ──► private listener ─► lending ─► log      (Work)
//!  people ──►        "           operate ──► log      (Operate)
//! ```
//!
//! Absent on purpose: no handler answers a sender before `append` returned; no
//! clock is read but the one handed in; no destination is known here.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accept;
pub mod auth;
mod body;
mod connection;
mod crowd;
mod current;
mod doctor;
pub mod facts;
mod failure;
mod forwarded;
mod framing;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod health;
mod ingest;
pub mod keys;
mod lending;
mod limits;
pub mod metrics;
mod operate;
mod pace;
pub mod private;
pub mod quarantine;
mod quiet;
mod receiver;
mod reload;
mod reply;
mod server;
mod socket;
pub mod source_doc;
pub mod sources;
mod standing;
mod tag;
mod tls;
mod uses;
pub mod verify;
mod visit;
mod watched;

pub use receiver::{BindError, Listeners, LogParts, Prepared, Receiver};
pub use reload::{Read, Reload, Surroundings};
