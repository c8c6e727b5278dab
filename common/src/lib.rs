//! creel's domain: deliveries, routes, configuration, the log and its engines.
//!
//! No web framework and no destination client is named here. `receiver` and
//! `worker` stand on this crate and never on each other.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod attempt;
pub mod config;
pub mod delivery;
pub mod engine;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod heavy;
pub mod ids;
pub mod json;
#[cfg(feature = "layer")]
pub mod layer;
pub mod log;
pub mod outcome;
pub mod retry;
pub mod schemas;
pub mod secret;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod time;
#[cfg(feature = "web")]
pub mod tls;
#[cfg(feature = "layer")]
pub mod wall;
#[cfg(feature = "web")]
pub mod web;
