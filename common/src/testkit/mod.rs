//! Conformance suites, fakes and sample builders for tests.

pub mod engine;
