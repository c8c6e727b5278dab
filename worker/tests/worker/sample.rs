//! Deliveries, items, routes and clocks to test with.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use creel_common::config::{Breaker, Route};
use creel_common::delivery::{Delivery, Envelope, Head, Header};
use creel_common::ids::{DeliveryId, LogId};
use creel_common::retry::RetryPolicy;
use creel_common::time::{Clock, SystemClock, Timestamp};
use creel_worker::destinations::{Destination, Item, OpenError, Opening, open};

pub const LOG: u64 = 0xfeed;

pub fn delivery(body: impl Into<Bytes>) -> Delivery {
    Delivery {
        envelope: Envelope {
            source: "github".into(),
            event_type: Some("push".into()),
            received_at: Timestamp(1_700_000_000_120),
        },
        head: Head {
            method: "POST".into(),
            target: "/in/github?a=1".into(),
            headers: vec![
                Header::new("content-type", "application/json"),
                Header::new("x-many", "1"),
                Header::new("x-many", "2"),
                Header::new("x-latin", b"caf\xe9".to_vec()),
            ],
            remote: None,
            event_id: Some("evt-1".into()),
            key: None,
            body_authenticated: true,
        },
        body: body.into(),
    }
}

pub fn item(offset: u64, body: impl Into<Bytes>) -> Item {
    Item {
        id: DeliveryId {
            log: LogId::from_bits(LOG),
            offset,
        }
        .into(),
        route: Arc::from("github-there"),
        attempt: 1,
        generation: 0,
        started_at: Timestamp(1_700_000_001_000),
        delivery: delivery(body),
    }
}

pub fn route(name: &str, destination: &str) -> Route {
    Route {
        name: name.into(),
        source: "github".into(),
        destination: destination.into(),
        events: Vec::new(),
        retry: RetryPolicy::default(),
        open_max: 1024,
        rate: None,
        breaker: Breaker::default(),
        start: None,
        timeout: Duration::from_secs(10),
        split: None,
    }
}

/// Opens a kind with settings written as TOML.
pub fn opened(kind: &str, settings: &str, base: &Path) -> Result<Arc<dyn Destination>, OpenError> {
    opened_at(kind, settings, base, Arc::new(SystemClock::default()))
}

pub fn opened_at(
    kind: &str,
    settings: &str,
    base: &Path,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Destination>, OpenError> {
    open(
        kind,
        &Opening {
            name: "there",
            settings: &settings.parse().unwrap(),
            base,
            unique: &unique(),
            clock,
        },
    )
}

pub fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("test-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A clock that stands still until it is moved.
#[derive(Default)]
pub struct HandClock(AtomicU64);

impl HandClock {
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap();
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn wall(&self) -> Timestamp {
        Timestamp(1_700_000_000_000 + self.0.load(Ordering::SeqCst))
    }

    fn mono(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}
