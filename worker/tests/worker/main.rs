//! A worker over a log that misbehaves on purpose, and every kind of destination.
#![allow(clippy::unwrap_used)]

mod child;
mod conformance;
mod drain;
mod fake;
mod file;
mod http;
mod lines;
mod log;
mod rate;
mod sample;
#[cfg(feature = "schema")]
mod schema;
mod sink;
mod split;
mod tls;
