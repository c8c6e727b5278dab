//! An executable without JSON Schemas: says so where one is configured.

use super::Mismatch;

/// No schema is ever compiled.
#[derive(Debug)]
pub(super) enum Compiled {}

impl Compiled {
    pub fn of(_: &[u8]) -> Result<Self, String> {
        Err("this creel was built without JSON Schemas: build it with the feature `schema`".into())
    }

    pub fn check(&self, _: &[u8]) -> Result<(), Mismatch> {
        match *self {}
    }
}
