//! The receiver over real sockets: what senders, workers and operators see.
#![allow(clippy::unwrap_used)]

mod access;
mod client;
mod conformance;
mod doc;
mod drain;
mod fairness;
mod http2;
mod keys;
mod limits;
mod logs;
mod prepare;
mod quarantine;
mod refusals;
mod reload;
mod remote;
mod setup;
mod taking;
mod tls;
