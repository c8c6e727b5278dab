//! What is counted of a listener's connections.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::label::ListenerLabel;

/// Why a connection was closed by us. A closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Nothing of a first request came in time.
    Silent,
    /// The head of a request did not come in time.
    SlowHead,
    /// It was idle between requests for too long.
    Idle,
    /// There were too many, and it had been slow or idle longest.
    GaveWay,
    /// The TLS handshake failed.
    Handshake,
}

impl Closed {
    const ALL: [Self; 5] = [
        Self::Silent,
        Self::SlowHead,
        Self::Idle,
        Self::GaveWay,
        Self::Handshake,
    ];

    /// The word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::SlowHead => "slow_head",
            Self::Idle => "idle",
            Self::GaveWay => "gave_way",
            Self::Handshake => "handshake",
        }
    }
}

/// One listener and reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClosedLabel {
    listener: &'static str,
    reason: &'static str,
}

/// All listeners.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Family<ListenerLabel, Gauge>,
    closed: Family<ClosedLabel, Counter>,
}

/// One listener, held by it so that a connection looks nothing up.
#[derive(Debug, Clone)]
pub struct ConnectionMetrics {
    /// Connections that are open.
    pub open: Gauge,
    closed: [Counter; Closed::ALL.len()],
}

impl Connections {
    /// Has them shown.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "open_connections",
            "Connections that are open",
            self.open.clone(),
        );
        registry.register(
            "connections_closed",
            "Connections that were closed before the peer did, by reason",
            self.closed.clone(),
        );
    }

    /// Those of one listener.
    pub fn of(&self, listener: &'static str) -> ConnectionMetrics {
        let closed = |closed: Closed| {
            let reason = closed.word();
            let label = ClosedLabel { listener, reason };
            self.closed.get_or_create(&label).clone()
        };
        ConnectionMetrics {
            open: self.open.get_or_create(&ListenerLabel { listener }).clone(),
            closed: Closed::ALL.map(closed),
        }
    }
}

impl ConnectionMetrics {
    /// A connection was closed by us.
    pub fn closed(&self, why: Closed) {
        self.closed[why as usize].inc();
    }
}
