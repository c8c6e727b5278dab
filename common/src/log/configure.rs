//! Other routes for a lender at work: what a start does with a changed configuration, without one.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Route;
use crate::log::desk::Desk;
use crate::log::opening::{begin_lane, moved, tell_left};
use crate::log::{Actor, OperateError};

impl Desk {
    /// The places in `routes` of those that cannot be taken over, each with why not.
    pub fn unfit(&self, routes: &[Route]) -> Vec<(usize, String)> {
        let routes = routes.iter().enumerate();
        let unfit = routes.filter_map(|(at, route)| {
            let lane = self.lender.lane(&route.name)?;
            Some((at, moved(lane.record(), route)?))
        });
        unfit.collect()
    }

    /// Lends by these routes from now on: all of them, or, where one cannot be, as before.
    ///
    /// New ones get their cursor, as at a start. Those that are not among them keep theirs and are
    /// lent no more; what workers hold of them may still be settled.
    pub fn configure(
        &mut self,
        routes: &[Route],
        actor: &Actor,
        subject: &str,
    ) -> Result<(), OperateError> {
        if let Some((_, why)) = self.unfit(routes).into_iter().next() {
            return Err(OperateError::Invalid(why));
        }
        self.begin_new(routes)?;
        let wanted: BTreeMap<&str, &Route> = routes.iter().map(|r| (r.name.as_str(), r)).collect();
        let lanes = self.lender.lanes();
        let names: Vec<String> = lanes.map(|lane| lane.name().to_owned()).collect();
        let now = self.now().mono;
        for name in names {
            let config = wanted.get(name.as_str()).copied().cloned();
            let Some(lane) = self.lender.lane_mut(&name) else {
                continue;
            };
            if config.is_none() && lane.config().is_some() {
                tell_left(&name);
            }
            lane.configure(config, now);
        }
        self.record("reload", subject, 0, actor);
        Ok(())
    }

    fn begin_new(&mut self, routes: &[Route]) -> Result<(), OperateError> {
        let lanes = self.lender.lanes();
        let mut sources: BTreeSet<String> =
            lanes.map(|lane| lane.record().source.clone()).collect();
        for route in routes {
            if self.lender.lane(&route.name).is_some() {
                continue;
            }
            let first_of_source = sources.insert(route.source.clone());
            let now = self.now().mono;
            let lane = begin_lane(
                &*self.engine,
                &self.shelf,
                route,
                first_of_source,
                self.lost_max,
                now,
            );
            let lane = lane.map_err(|error| OperateError::Unavailable(error.to_string()))?;
            self.lender.set_lane(&route.name, Some(lane));
            // what is being carried over was planned without it
            self.retention.void();
        }
        Ok(())
    }
}
