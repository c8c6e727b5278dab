//! A worker played by the test: leases and settles in JSON, and dies when told to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Api;

/// What is asked for at most in one lease.
const MAX_BYTES: u64 = 8 << 20;

/// A worker without a loop: each step is the test's.
pub struct Hand {
    api: Api,
}

/// A lease that it was given.
#[derive(Debug, Clone)]
pub struct Leased {
    pub id: String,
    pub expires_in: Duration,
    pub items: Vec<Item>,
}

/// One delivery of a lease.
#[derive(Debug, Clone)]
pub struct Item {
    pub id: String,
    pub offset: u64,
    pub attempt: u64,
    pub body: Vec<u8>,
}

impl Hand {
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    /// Leases up to `max` deliveries of `route`; `None` if none came within `wait`.
    pub async fn lease(&self, route: &str, max: u32, wait: Duration) -> Option<Leased> {
        static ASKED: AtomicU64 = AtomicU64::new(0);
        let asked = ASKED.fetch_add(1, Ordering::Relaxed);
        let request = format!("hand-{}-{asked}", std::process::id());
        self.lease_as(&request, route, max, wait).await
    }

    /// The same under a request id of the caller's: one that was used before asks
    /// for the reply that got lost.
    pub async fn lease_as(
        &self,
        request: &str,
        route: &str,
        max: u32,
        wait: Duration,
    ) -> Option<Leased> {
        let call = json!({
            "request": request,
            "worker": "hand",
            "wants": [{ "route": route, "max_items": max, "max_bytes": MAX_BYTES }],
            "wait_ms": u64::try_from(wait.as_millis()).expect("a short wait"),
        });
        let reply = self.api.post("/v1/lease", &call).await;
        let text = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, 200, "lease: {text}");
        reply.json()["leases"]
            .as_array()
            .expect("leases")
            .first()
            .map(leased)
    }

    /// Says what came of some deliveries of a lease; the status of the answer.
    pub async fn settle(&self, lease: &Leased, offsets: &[u64], outcome: &str) -> u16 {
        let settled = |offset: &u64| json!({ "offset": offset, "outcome": outcome });
        let settled: Vec<Value> = offsets.iter().map(settled).collect();
        let path = format!("/v1/leases/{}/settle", lease.id);
        self.api
            .post(&path, &json!({ "settled": settled }))
            .await
            .status
    }

    /// Asks for more time; the status of the answer.
    pub async fn extend(&self, lease: &Leased) -> u16 {
        self.api
            .post(&format!("/v1/leases/{}/extend", lease.id), &json!({}))
            .await
            .status
    }
}

fn leased(value: &Value) -> Leased {
    let items = value["items"].as_array().expect("items");
    Leased {
        id: value["id"].as_str().expect("a lease id").to_owned(),
        expires_in: Duration::from_millis(value["expires_in_ms"].as_u64().expect("milliseconds")),
        items: items.iter().map(item).collect(),
    }
}

fn item(value: &Value) -> Item {
    let body = value["delivery"]["body_base64"]
        .as_str()
        .unwrap_or_default();
    Item {
        id: value["id"].as_str().expect("an id").to_owned(),
        offset: value["offset"].as_u64().expect("an offset"),
        attempt: value["attempt"].as_u64().expect("a number"),
        body: STANDARD.decode(body).expect("base64"),
    }
}
