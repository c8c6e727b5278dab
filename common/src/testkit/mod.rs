//! Conformance suites, fakes and sample builders for tests.

pub mod account;
pub mod certificates;
pub mod clock;
pub mod disk;
pub mod doors;
pub mod engine;
pub mod log;
pub mod sample;
