//! Routes: what is before them, and how old the oldest of it is.

use creel_common::log::RouteStatus;
use creel_common::time::Timestamp;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::label::RouteLabel;
use super::{Now, Seconds, signed};

/// How the routes stand; set when somebody looks.
#[derive(Debug, Default)]
pub(super) struct RouteGauges {
    backlog: Family<RouteLabel, Gauge>,
    open: Family<RouteLabel, Gauge>,
    waiting: Family<RouteLabel, Gauge>,
    dead: Family<RouteLabel, Gauge>,
    paused: Family<RouteLabel, Gauge>,
    oldest: Family<RouteLabel, Seconds>,
}

impl RouteGauges {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register(
            "route_backlog",
            "Deliveries pending, open or waiting",
            self.backlog.clone(),
        );
        r.register("route_open", "Deliveries leased now", self.open.clone());
        r.register(
            "route_waiting",
            "Deliveries to be tried again",
            self.waiting.clone(),
        );
        r.register("route_dead", "Dead letters", self.dead.clone());
        r.register("route_paused", "1 while paused", self.paused.clone());
        r.register_with_unit(
            "route_oldest_age",
            "Age of the oldest delivery that is not settled",
            Unit::Seconds,
            self.oldest.clone(),
        );
    }

    pub(super) fn set(&self, now: Now<'_>) {
        self.clear();
        for route in now.routes {
            self.set_route(route, now.wall);
        }
    }

    /// So that a forgotten route is not shown for ever.
    fn clear(&self) {
        self.backlog.clear();
        self.open.clear();
        self.waiting.clear();
        self.dead.clear();
        self.paused.clear();
        self.oldest.clear();
    }

    fn set_route(&self, status: &RouteStatus, now: Timestamp) {
        let label = RouteLabel {
            route: status.name.clone(),
        };
        let set = |family: &Family<RouteLabel, Gauge>, value: u64| {
            family.get_or_create(&label).set(signed(value));
        };
        let backlog = status.pending + status.open + status.waiting;
        set(&self.backlog, backlog);
        set(&self.open, status.open);
        set(&self.waiting, status.waiting);
        set(&self.dead, status.dead);
        set(&self.paused, u64::from(status.paused));
        let age = status.oldest.map(|oldest| now.since(oldest));
        let seconds = age.unwrap_or_default().as_secs_f64();
        self.oldest.get_or_create(&label).set(seconds);
    }
}
