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

pub mod auth;
mod body;
mod connection;
mod current;
mod doctor;
pub mod facts;
mod failure;
mod forwarded;
mod framing;
mod health;
mod ingest;
mod lending;
pub mod metrics;
mod operate;
pub mod private;
pub mod quarantine;
mod quiet;
mod receiver;
mod reload;
mod reply;
mod server;
pub mod source_doc;
pub mod sources;
mod standing;
mod uses;
pub mod verify;
mod visit;

pub use receiver::{BindError, Listeners, LogParts, Prepared, Receiver};
pub use reload::{Read, Reload, Surroundings};
