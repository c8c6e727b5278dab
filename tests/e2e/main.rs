//! creel from outside: the real binary, real sockets, real disks.
#![allow(clippy::unwrap_used)]

mod cli;
mod docs;
mod faults;
mod harness;
mod scale;
mod sdks;
mod security;
mod trace;
