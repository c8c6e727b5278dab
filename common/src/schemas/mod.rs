//! JSON Schemas that bodies must match: read when a role starts or reloads, compiled once.
//!
//! What does not match is told by its place and by what the schema wanted there. The payload's
//! values are in no message. A schema that refers to another file or URL is refused: nothing is
//! fetched. Patterns run in time that grows with the text, whatever a sender puts there.

#[cfg(not(feature = "schema"))]
mod absent;
#[cfg(feature = "schema")]
mod compiled;
mod mismatch;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

#[cfg(not(feature = "schema"))]
use self::absent::Compiled;
#[cfg(feature = "schema")]
use self::compiled::Compiled;
pub use self::mismatch::Mismatch;
pub use self::read::FILE_BYTES_MAX;
use crate::config::{Config, OnMismatch, Problems};
use crate::delivery::Delivery;
use crate::heavy::{heavy, is_heavy};

/// Large bodies that are looked at at once, over the whole process: as a tree a body takes many times
/// its bytes.
static LARGE: Semaphore = Semaphore::const_new(2);

/// The schemas of all sources that have some.
#[derive(Debug, Clone, Default)]
pub struct Schemas(BTreeMap<String, Arc<SourceSchemas>>);

/// The schemas of one source.
#[derive(Debug)]
pub struct SourceSchemas {
    on_mismatch: OnMismatch,
    any: Option<Arc<Compiled>>,
    by_event: BTreeMap<String, Arc<Compiled>>,
}

impl Schemas {
    /// Reads and compiles every schema that a configuration names; blocks.
    ///
    /// # Errors
    /// Every file that cannot be read or is no schema, each with the line that names it.
    pub fn read(config: &Config) -> Result<Self, Problems> {
        read::all(config).map(Self)
    }

    /// Those of a source.
    pub fn of(&self, source: &str) -> Option<&Arc<SourceSchemas>> {
        self.0.get(source)
    }

    /// Looks at a delivery that is about to be taken in.
    ///
    /// # Errors
    /// Its source refuses what does not match, and it does not.
    pub async fn admit(&self, delivery: &Delivery) -> Result<(), Mismatch> {
        match self.of(&delivery.envelope.source) {
            Some(schemas) if schemas.on_mismatch == OnMismatch::Refuse => {
                schemas.check(delivery).await
            }
            _ => Ok(()),
        }
    }
}

impl SourceSchemas {
    /// Looks at a delivery's body: by the schema of its event type, else by that of all others.
    ///
    /// # Errors
    /// The first place that does not match.
    pub async fn check(&self, delivery: &Delivery) -> Result<(), Mismatch> {
        let event = delivery.envelope.event_type.as_ref();
        let own = event.and_then(|event| self.by_event.get(event));
        let Some(schema) = own.or(self.any.as_ref()) else {
            return Ok(());
        };
        let body: &Bytes = &delivery.body;
        let _turn = match is_heavy(body.len()) {
            true => LARGE.acquire().await.ok(),
            false => None,
        };
        heavy(body.len(), || schema.check(body))
    }
}
