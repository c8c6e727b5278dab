//! Rates, each with its burst: two settings that belong together.

use super::Rate;
use super::places::Places;
use super::problems::Finding;
use super::raw::Fields;

/// Where nothing is said of a burst: what comes in so many seconds.
const BURST_SECS: f64 = 2.0;

/// The names of two settings that make a [`Rate`].
pub(super) struct Names {
    rate: &'static str,
    burst: &'static str,
}

/// Of all that a source takes.
pub(super) const OF_SOURCE: Names = Names {
    rate: "rate",
    burst: "burst",
};

/// Of what comes from one address.
pub(super) const PER_ADDRESS: Names = Names {
    rate: "rate_per_address",
    burst: "burst_per_address",
};

/// The rate that the settings of a file without problems make, if there is one.
pub(super) fn build(fields: &Fields, names: &Names) -> Option<Rate> {
    let per_second: f64 = fields.opt(names.rate)?;
    // bounds of the settings keep it far below what fits
    let worth = || (per_second * BURST_SECS).max(1.0) as u32;
    Some(Rate {
        per_second,
        burst: fields.opt(names.burst).unwrap_or_else(worth),
    })
}

/// A burst of nothing is a slip.
pub(super) fn check(fields: &Fields, all: &[&Names], places: &Places) -> Vec<Finding> {
    let slips = all.iter().filter(|names| {
        let given = |key| places.has(&fields.at(key));
        given(names.burst) && !given(names.rate)
    });
    slips
        .map(|names| {
            let message = format!("says nothing without `{}` beside it", names.rate);
            Finding::error(fields.at(names.burst), message)
        })
        .collect()
}
