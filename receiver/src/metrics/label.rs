//! What tells the lines of one metric apart.

use creel_common::log::bounds::Bound;
use prometheus_client::encoding::EncodeLabelSet;

/// One source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SourceLabel {
    pub(super) source: String,
}

/// One source and reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusedLabel {
    pub(super) source: String,
    pub(super) reason: &'static str,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RouteLabel {
    pub(super) route: String,
}

/// One route and outcome.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AttemptLabel {
    pub(super) route: String,
    pub(super) outcome: &'static str,
}

/// One bound of the log's room; the source is empty unless it is a quota.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BoundLabel {
    pub(super) bound: &'static str,
    pub(super) source: String,
}

impl From<&Bound> for BoundLabel {
    fn from(bound: &Bound) -> Self {
        Self {
            bound: bound.word(),
            source: bound.source().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ListenerLabel {
    pub(super) listener: &'static str,
}

pub(super) fn label(source: &str) -> SourceLabel {
    SourceLabel {
        source: source.to_owned(),
    }
}
