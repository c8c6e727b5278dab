//! What a log keeps, and for how long.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used)]

mod carrying;
mod retention;
mod subject;
