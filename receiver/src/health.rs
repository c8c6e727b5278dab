//! Is it alive, can it acknowledge, and how is it doing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use creel_common::log::bounds::Reached;
use creel_common::log::wire::{Refusal, RefusalKind};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;

use crate::facts;
use crate::failure::{Errors, Failure};
use crate::metrics::Now;
use crate::private::{Api, CameFrom};
use crate::quarantine::{Quarantine, SourceFacts};

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
    /// The program's version.
    version: String,
}

/// Whether a delivery would be acknowledged now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// It would.
    ready: bool,
    /// Why not, in words, with what would help; empty when it would.
    reasons: Vec<String>,
    /// What is refused although it would: all of a source whose quota is used up.
    refused: Vec<RefusedSource>,
}

/// A source of which nothing is taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefusedSource {
    /// Its name.
    source: String,
    /// Why, in words, with what would help.
    reason: String,
}

/// The process is there. Says nothing about the log: see `/ready`.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Health)))]
pub async fn health(State(api): State<Api>) -> Json<Health> {
    Json(Health {
        status: "ok",
        version: api.version.to_string(),
    })
}

/// Deliveries can be acknowledged.
#[utoipa::path(
    get, path = "/ready", tag = "health",
    responses((status = 200, body = Ready), (status = 503, body = Ready, description = "not now"))
)]
pub async fn ready(State(api): State<Api>) -> (StatusCode, Json<Ready>) {
    let facts = facts::read(&api.facts).await;
    let mut reasons: Vec<String> = facts::reasons(&facts);
    if api.stop.is_cancelled() {
        reasons.push("stopping".into());
    }
    let ready = reasons.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let of_source = |reached: &Reached| {
        Some(RefusedSource {
            source: reached.bound.source()?.to_string(),
            reason: reached.to_string(),
        })
    };
    let refused = facts.reached.iter().filter_map(of_source).collect();
    let ready = Ready {
        ready,
        reasons,
        refused,
    };
    (status, Json(ready))
}

/// Counters for Prometheus. Needs no token from this machine, any token from elsewhere.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, content_type = "text/plain", body = String), Errors)
)]
pub async fn metrics(
    State(api): State<Api>,
    Extension(from): Extension<CameFrom>,
    request: Request,
) -> Result<Response, Failure> {
    let caller = api.tokens.caller(request.headers(), request.uri())?;
    if caller.is_none() && !from.0.ip().to_canonical().is_loopback() {
        let what = "a bearer token is needed from another machine";
        return Err(Failure(Refusal::new(RefusalKind::Unauthorized, what)));
    }
    // a log that has stopped has no routes to show, and its other figures matter all the more
    let routes = api.operate.routes().await.unwrap_or_default();
    let facts = facts::read(&api.facts).await;
    let ingest = &api.ingest;
    let quarantine = quarantined(ingest.quarantine.clone()).await;
    let secrets = &ingest.metrics.secrets;
    secrets.set(&ingest.sources.now(), ingest.clock.wall());
    let text = ingest.metrics.text(Now {
        wall: ingest.clock.wall(),
        uptime: ingest.clock.mono().saturating_sub(api.started),
        routes: &routes,
        space: facts.space,
        bounds: &facts.bounds,
        reached: &facts.reached,
        kept: &facts.account.sources(),
        volumes: facts.volumes.len(),
        next: facts.next,
        accepting: facts.refusing.is_none() && !api.stop.is_cancelled(),
        lost: &facts.lost,
        dedupe: facts.dedupe,
        quarantine: &quarantine,
        body_bytes: ingest.bodies.used(),
    });
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

/// What is in quarantine; asked off the async threads, because its thread may be at the disk.
async fn quarantined(quarantine: Option<Arc<Quarantine>>) -> BTreeMap<String, SourceFacts> {
    let Some(quarantine) = quarantine else {
        return BTreeMap::new();
    };
    let facts = tokio::task::spawn_blocking(move || quarantine.facts()).await;
    facts.unwrap_or_default()
}
