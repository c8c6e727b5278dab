//! The log: its room and its bounds, where it stands, what it lost.

use creel_common::log::losses::Loss;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::label::{BoundLabel, SourceLabel, label};
use super::{Now, signed};

/// How the log stands; set when somebody looks.
#[derive(Debug, Default)]
pub(super) struct LogGauges {
    used: Gauge,
    free: Gauge,
    volumes: Gauge,
    next: Gauge,
    accepting: Gauge,
    ballast: Gauge,
    bounds: Family<BoundLabel, Gauge>,
    refusing: Family<BoundLabel, Gauge>,
    kept: Family<SourceLabel, Gauge>,
    lost: Gauge,
}

impl LogGauges {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register_with_unit("log", "What the log takes", Unit::Bytes, self.used.clone());
        r.register_with_unit("free", "Free for the log", Unit::Bytes, self.free.clone());
        r.register("log_volumes", "Volumes of the log", self.volumes.clone());
        r.register(
            "log_next_offset",
            "Offset of the next delivery",
            self.next.clone(),
        );
        r.register(
            "accepting",
            "1 while deliveries can be acknowledged",
            self.accepting.clone(),
        );
        r.register_with_unit(
            "ballast",
            "Of the log's bytes, those that are there to be given away",
            Unit::Bytes,
            self.ballast.clone(),
        );
        r.register_with_unit(
            "log_bound",
            "What a bound of the log's room is set to",
            Unit::Bytes,
            self.bounds.clone(),
        );
        r.register(
            "log_refusing",
            "1 while a bound of the log's room is reached",
            self.refusing.clone(),
        );
        r.register_with_unit(
            "kept",
            "Deliveries of a source that the log keeps",
            Unit::Bytes,
            self.kept.clone(),
        );
        r.register(
            "lost_offsets",
            "Deliveries that were found to be lost within the last week",
            self.lost.clone(),
        );
    }

    pub(super) fn set(&self, now: Now<'_>) {
        self.volumes.set(signed(now.volumes as u64));
        self.next.set(signed(now.next));
        self.accepting.set(i64::from(now.accepting));
        let news = now.lost.iter().filter(|loss| loss.is_news(now.wall));
        self.lost.set(signed(news.map(Loss::offsets).sum()));
        if let Some(space) = now.space {
            self.used.set(signed(space.used));
            self.free.set(signed(space.free));
            self.ballast.set(signed(space.ballast));
        }
        self.set_bounds(now);
    }

    fn set_bounds(&self, now: Now<'_>) {
        // a quota that was taken away is not shown for ever
        self.bounds.clear();
        self.refusing.clear();
        for (bound, bytes) in now.bounds {
            let label = BoundLabel::from(bound);
            let is_reached = now.reached.iter().any(|reached| reached.bound == *bound);
            self.bounds.get_or_create(&label).set(signed(*bytes));
            self.refusing
                .get_or_create(&label)
                .set(i64::from(is_reached));
        }
        // a source that left the log is not shown for ever
        self.kept.clear();
        for (source, kept) in now.kept {
            self.kept
                .get_or_create(&label(source))
                .set(signed(kept.bytes));
        }
    }
}
