//! What a try is: looked at by the source's schema, split if the route says so, and called.

use std::sync::Arc;

use creel_common::config::{Config, Problems, Route};
use creel_common::schemas::{Schemas, SourceSchemas};

use crate::call;
use crate::destinations::{Attempted, Item};
use crate::hold::Held;
use crate::lane::Lane;
use crate::split::{Call, Splitter};

/// What stands between a lease of a route and its destination.
#[derive(Clone, Default)]
pub(crate) struct Stages {
    schemas: Option<Arc<SourceSchemas>>,
    splitter: Option<Arc<Splitter>>,
}

impl Stages {
    /// # Errors
    /// Why the route cannot be split here.
    pub(crate) fn of(route: &Route, schemas: &Schemas) -> Result<Self, String> {
        let splitter = route.split.as_ref().map(Splitter::new).transpose()?;
        Ok(Self {
            schemas: schemas.of(&route.source).cloned(),
            splitter: splitter.map(Arc::new),
        })
    }
}

/// What a worker would stumble over in a configuration: schemas that are none, and routes that it cannot
/// split. Reads files.
pub fn check(config: &Config) -> Problems {
    let mut problems = Schemas::read(config).err().unwrap_or_default();
    for (at, route) in config.routes.iter().enumerate() {
        let split = route.split.as_ref();
        if let Some(Err(why)) = split.map(Splitter::new) {
            problems.merge(config.origin.error(format!("routes[{at}].split"), why));
        }
    }
    problems
}

impl Lane {
    /// Tries deliveries, in order. What came of each; those that do not match their schema come first.
    pub(crate) async fn attempt(&self, items: Vec<Item>, held: &Held) -> Vec<(Item, Attempted)> {
        let (mut items, mut ended) = self.matching(items).await;
        let results = match &self.stages.splitter {
            _ if items.is_empty() => Vec::new(),
            None => {
                let destination = &*self.opened.destination;
                call::call(destination, &mut items, self.timeout, &*self.clock).await
            }
            Some(splitter) => splitter.send(&items, &self.how(held)).await,
        };
        ended.extend(items.into_iter().zip(results));
        ended
    }

    fn how<'a>(&'a self, held: &'a Held) -> Call<'a> {
        Call {
            destination: &*self.opened.destination,
            timeout: self.timeout,
            clock: &*self.clock,
            over: &held.over,
        }
    }

    /// Those that match their source's schema, and what came of the others: no try will ever help.
    async fn matching(&self, items: Vec<Item>) -> (Vec<Item>, Vec<(Item, Attempted)>) {
        let Some(schemas) = &self.stages.schemas else {
            return (items, Vec::new());
        };
        let (mut matching, mut ended) = (Vec::with_capacity(items.len()), Vec::new());
        for item in items {
            match schemas.check(&item.delivery).await {
                Ok(()) => matching.push(item),
                Err(mismatch) => {
                    let mut result = Attempted::reject(mismatch.to_string());
                    result.report.started_at = self.clock.wall();
                    ended.push((item, result));
                }
            }
        }
        (matching, ended)
    }
}
