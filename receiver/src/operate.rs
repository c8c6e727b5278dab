//! What people call on the private listener: look, reprocess, discard, pause, rewind.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use creel_common::ids::DeliveryId;
use creel_common::log::wire::{
    ActCall, AttemptView, BackupOrderCall, CountReply, DeadCall, DeadPage, FoundPage, FoundView,
    LogView, Refusal, RenameCall, RewindCall, SeenView, SourceView, TEXT_BYTES_MAX, VisitView,
};
use creel_common::log::{
    Actor, Audit, BackupOrder, BackupStatus, Changed, Find, Found, OperateError, PAGE_DEFAULT,
    PAGE_MAX, Page, RouteStatus,
};
use creel_common::time::Timestamp;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::facts;
use crate::failure::{Errors, Failure, Payload};
use crate::private::Api;

/// Most bytes of bodies on one page; a larger single body has its own page.
const PAGE_BODY_BYTES_MAX: u64 = 16 << 20;

/// Acts shown when nothing was said.
const AUDIT_DEFAULT: u32 = 50;

/// What to look for. Everything that is given must hold.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct FindQuery {
    /// Only this source.
    source: Option<String>,
    /// Only this event type.
    event: Option<String>,
    /// Only what has to do with this route.
    route: Option<String>,
    /// Received (or died) at or after: milliseconds since 1970, or RFC 3339.
    #[param(example = "2026-01-31T00:00:00Z")]
    since: Option<String>,
    /// Received (or died) before: milliseconds since 1970, or RFC 3339.
    until: Option<String>,
    /// Where the page begins: `next` of the one before.
    from: Option<u64>,
    /// At most this many; 1 to 1,000, default 50.
    limit: u32,
    /// Newest first.
    newest: bool,
    /// Bodies wanted too. A page then ends before 16 MiB of bodies.
    bodies: bool,
}

impl TryFrom<FindQuery> for Find {
    type Error = Failure;
    fn try_from(query: FindQuery) -> Result<Self, Failure> {
        let limit = match query.limit {
            0 => PAGE_DEFAULT,
            limit if limit <= PAGE_MAX => limit,
            _ => return Err(Failure::invalid(format!("limit: at most {PAGE_MAX}"))),
        };
        Ok(Self {
            source: query.source,
            event: query.event,
            route: query.route,
            since: time("since", query.since)?,
            until: time("until", query.until)?,
            from: query.from,
            limit,
            newest: query.newest,
            bodies: query.bodies,
        })
    }
}

/// A time in a query.
pub fn time(name: &str, text: Option<String>) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = text else { return Ok(None) };
    if let Ok(millis) = text.parse::<u64>() {
        return Ok(Some(Timestamp(millis)));
    }
    let parsed = text.parse::<jiff::Timestamp>().ok();
    let millis = parsed.and_then(|at| u64::try_from(at.as_millisecond()).ok());
    millis
        .map(|at| Some(Timestamp(at)))
        .ok_or_else(|| Failure::invalid(format!("{name}: milliseconds since 1970, or RFC 3339")))
}

/// Reads the query, refusing what is not understood.
type FindParams = Result<Query<FindQuery>, axum::extract::rejection::QueryRejection>;

fn read_find(query: FindParams) -> Result<Find, Failure> {
    let Query(query) = query.map_err(|error| Failure::invalid(error.body_text()))?;
    query.try_into()
}

fn read_id(text: &str) -> Result<DeliveryId, Failure> {
    text.parse()
        .map_err(|error: creel_common::ids::NotAnId| Failure::invalid(error.to_string()))
}

/// The log as a whole: its name, next offset, volumes, gaps, space.
#[utoipa::path(
    get, path = "/v1/log", tag = "log",
    responses((status = 200, body = LogView), Errors),
    security(("token" = []))
)]
pub async fn log(State(api): State<Api>) -> Json<LogView> {
    Json(facts::view(facts::read(&api.facts).await))
}

/// Lists deliveries.
#[utoipa::path(
    get, path = "/v1/deliveries", tag = "deliveries", params(FindQuery),
    responses((status = 200, body = FoundPage), Errors),
    security(("token" = []))
)]
pub async fn find(State(api): State<Api>, query: FindParams) -> Result<Json<FoundPage>, Failure> {
    let find = read_find(query)?;
    let bodies = find.bodies;
    let page = if bodies {
        find_with_bodies(&api, find).await?
    } else {
        api.operate.find(find).await?
    };
    let items = page.items.iter();
    Ok(Json(FoundPage {
        items: items.map(|found| FoundView::new(found, bodies)).collect(),
        next: page.next,
    }))
}

/// Looks at the sizes first, so that a page of bodies is bounded before any of them is read.
async fn find_with_bodies(api: &Api, find: Find) -> Result<Page<Found>, OperateError> {
    let sizes = api
        .operate
        .find(Find {
            bodies: false,
            ..find.clone()
        })
        .await?;
    let mut bytes = 0;
    let fitting = sizes.items.iter().take_while(|found| {
        bytes += found.body_bytes;
        bytes <= PAGE_BODY_BYTES_MAX
    });
    let limit = u32::try_from(fitting.count().max(1)).unwrap_or(1);
    api.operate.find(Find { limit, ..find }).await
}

/// One delivery with its body.
#[utoipa::path(
    get, path = "/v1/deliveries/{id}", tag = "deliveries",
    params(("id" = String, Path, description = "the delivery")),
    responses((status = 200, body = FoundView), Errors),
    security(("token" = []))
)]
pub async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<FoundView>, Failure> {
    let found = api.operate.show(read_id(&id)?).await?;
    Ok(Json(FoundView::new(&found, true)))
}

/// The body of a delivery, byte for byte.
#[utoipa::path(
    get, path = "/v1/deliveries/{id}/body", tag = "deliveries",
    params(("id" = String, Path, description = "the delivery")),
    responses((status = 200, content_type = "application/octet-stream", body = [u8]), Errors),
    security(("token" = []))
)]
pub async fn body(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Failure> {
    let found = api.operate.show(read_id(&id)?).await?;
    // a stranger's bytes: never shown by a browser as anything
    let headers: [(HeaderName, HeaderValue); 3] = [
        (
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
        (CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, found.delivery.body).into_response())
}

/// The kept attempts of one delivery, oldest first.
#[utoipa::path(
    get, path = "/v1/deliveries/{id}/attempts", tag = "deliveries",
    params(("id" = String, Path, description = "the delivery")),
    responses((status = 200, body = Vec<AttemptView>), Errors),
    security(("token" = []))
)]
pub async fn attempts(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Vec<AttemptView>>, Failure> {
    let attempts = api.operate.attempts(read_id(&id)?).await?;
    Ok(Json(attempts.iter().map(AttemptView::from).collect()))
}

/// Lists dead letters; `since` and `until` are about the time of death.
#[utoipa::path(
    get, path = "/v1/dead", tag = "dead letters", params(FindQuery),
    responses((status = 200, body = DeadPage), Errors),
    security(("token" = []))
)]
pub async fn dead(State(api): State<Api>, query: FindParams) -> Result<Json<DeadPage>, Failure> {
    let page = api.operate.dead(read_find(query)?).await?;
    Ok(Json(DeadPage {
        items: page.items,
        next: page.next,
    }))
}

/// Gives dead letters fresh attempts.
#[utoipa::path(
    post, path = "/v1/dead/reprocess", tag = "dead letters", request_body = DeadCall,
    responses((status = 200, body = Changed), Errors),
    security(("token" = []))
)]
pub async fn reprocess(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Payload(call): Payload<DeadCall>,
) -> Result<Json<Changed>, Failure> {
    let actor = actor(&caller, call.act)?;
    Ok(Json(api.operate.reprocess(call.which, actor).await?))
}

/// Drops dead letters on purpose.
#[utoipa::path(
    post, path = "/v1/dead/discard", tag = "dead letters", request_body = DeadCall,
    responses((status = 200, body = Changed), Errors),
    security(("token" = []))
)]
pub async fn discard(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Payload(call): Payload<DeadCall>,
) -> Result<Json<Changed>, Failure> {
    let actor = actor(&caller, call.act)?;
    Ok(Json(api.operate.discard(call.which, actor).await?))
}

/// All routes: configured ones, and those that left the configuration.
#[utoipa::path(
    get, path = "/v1/routes", tag = "routes",
    responses((status = 200, body = Vec<RouteStatus>), Errors),
    security(("token" = []))
)]
pub async fn routes(State(api): State<Api>) -> Result<Json<Vec<RouteStatus>>, Failure> {
    Ok(Json(api.operate.routes().await?))
}

/// Stops new leases of a route, durably; held ones go on.
#[utoipa::path(
    post, path = "/v1/routes/{name}/pause", tag = "routes", request_body = ActCall,
    params(("name" = String, Path, description = "the route")),
    responses((status = 204, description = "durable"), Errors),
    security(("token" = []))
)]
pub async fn pause(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Payload(act): Payload<ActCall>,
) -> Result<StatusCode, Failure> {
    api.operate.pause(&name, actor(&caller, act)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Undoes a pause.
#[utoipa::path(
    post, path = "/v1/routes/{name}/resume", tag = "routes", request_body = ActCall,
    params(("name" = String, Path, description = "the route")),
    responses((status = 204, description = "durable"), Errors),
    security(("token" = []))
)]
pub async fn resume(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Payload(act): Payload<ActCall>,
) -> Result<StatusCode, Failure> {
    api.operate.resume(&name, actor(&caller, act)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets a route's cursor back. Answers how many offsets are before it again.
#[utoipa::path(
    post, path = "/v1/routes/{name}/rewind", tag = "routes", request_body = RewindCall,
    params(("name" = String, Path, description = "the route")),
    responses((status = 200, body = CountReply), Errors),
    security(("token" = []))
)]
pub async fn rewind(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Payload(call): Payload<RewindCall>,
) -> Result<Json<CountReply>, Failure> {
    let actor = actor(&caller, call.act)?;
    let count = api.operate.rewind(&name, call.to, actor).await?;
    Ok(Json(CountReply { count }))
}

/// Moves the cursor of a route that is no longer configured to another name.
#[utoipa::path(
    post, path = "/v1/routes/{name}/rename", tag = "routes", request_body = RenameCall,
    params(("name" = String, Path, description = "the route")),
    responses((status = 204, description = "durable"), Errors),
    security(("token" = []))
)]
pub async fn rename(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Payload(call): Payload<RenameCall>,
) -> Result<StatusCode, Failure> {
    let actor = actor(&caller, call.act)?;
    api.operate.rename(&name, &call.to, actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Drops the cursor, waiting entries and dead letters of a route that is no longer configured.
#[utoipa::path(
    post, path = "/v1/routes/{name}/forget", tag = "routes", request_body = ActCall,
    params(("name" = String, Path, description = "the route")),
    responses((status = 204, description = "durable"), Errors),
    security(("token" = []))
)]
pub async fn forget(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Payload(act): Payload<ActCall>,
) -> Result<StatusCode, Failure> {
    api.operate.forget(&name, actor(&caller, act)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How many acts to show.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct AuditQuery {
    /// At most this many; 1 to 1,000, default 50.
    limit: u32,
}

/// Recorded acts, newest first.
#[utoipa::path(
    get, path = "/v1/audit", tag = "log", params(AuditQuery),
    responses((status = 200, body = Vec<Audit>), Errors),
    security(("token" = []))
)]
pub async fn audit(
    State(api): State<Api>,
    query: Result<Query<AuditQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<Audit>>, Failure> {
    let Query(AuditQuery { limit }) = query.map_err(|error| Failure::invalid(error.body_text()))?;
    let limit = if limit == 0 {
        AUDIT_DEFAULT
    } else {
        limit.min(PAGE_MAX)
    };
    Ok(Json(api.operate.audit(limit).await?))
}

/// Begins a backup of the running log into a directory of the receiver's machine. There is one at a
/// time; how it goes is to be asked with GET.
#[utoipa::path(
    post, path = "/v1/backup", tag = "log", request_body = BackupOrderCall,
    responses(
        (status = 202, body = BackupStatus, description = "under way"),
        (status = 409, body = Refusal, description = "another one is under way"),
        Errors
    ),
    security(("token" = []))
)]
pub async fn begin_backup(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Payload(call): Payload<BackupOrderCall>,
) -> Result<(StatusCode, Json<BackupStatus>), Failure> {
    let actor = actor(&caller, call.act)?;
    let order = BackupOrder {
        dir: call.dir,
        verify: call.verify,
    };
    let status = api.operate.backup(order, actor).await?;
    Ok((StatusCode::ACCEPTED, Json(status)))
}

/// The backup that is under way, or the last one of this process.
#[utoipa::path(
    get, path = "/v1/backup", tag = "log",
    responses((status = 200, body = BackupStatus), Errors),
    security(("token" = []))
)]
pub async fn backup(State(api): State<Api>) -> Result<Json<BackupStatus>, Failure> {
    Ok(Json(api.operate.backup_status().await?))
}

/// Awaits one request on the public listener for a minute: the one that carries this nonce in the header
/// `creel-doctor`. It is judged and noted, and not stored.
#[utoipa::path(
    post, path = "/v1/doctor", tag = "log",
    responses((status = 200, body = VisitView), Errors),
    security(("token" = []))
)]
pub async fn expect_visit(State(api): State<Api>) -> Json<VisitView> {
    Json(api.ingest.doctor.expect(api.ingest.clock.mono()))
}

/// What arrived of the request that was awaited last.
#[utoipa::path(
    get, path = "/v1/doctor", tag = "log",
    responses((status = 200, body = SeenView), Errors),
    security(("token" = []))
)]
pub async fn seen(State(api): State<Api>) -> Result<Json<SeenView>, Failure> {
    let seen = api.ingest.doctor.seen(api.ingest.clock.mono());
    let what = "no request that was awaited has arrived";
    let seen = seen.ok_or_else(|| OperateError::NotFound(what.to_owned()))?;
    Ok(Json(seen))
}

/// The configured sources: where to send to, and what is expected.
#[utoipa::path(
    get, path = "/v1/sources", tag = "log",
    responses((status = 200, body = Vec<SourceView>), Errors),
    security(("token" = []))
)]
pub async fn sources(State(api): State<Api>) -> Json<Vec<SourceView>> {
    let (sources, now) = (api.ingest.sources.now(), api.ingest.clock.wall());
    Json(
        sources
            .all()
            .iter()
            .map(|source| source.view(now))
            .collect(),
    )
}

/// Who acts: the token's name always, and what the caller says of themselves.
pub fn actor(caller: &Caller, act: ActCall) -> Result<Actor, Failure> {
    let texts = [&act.who, &act.why];
    if texts
        .into_iter()
        .flatten()
        .any(|text| text.len() > TEXT_BYTES_MAX)
    {
        return Err(Failure::invalid(format!(
            "who, why: at most {TEXT_BYTES_MAX} bytes"
        )));
    }
    let token = &caller.name;
    Ok(Actor {
        who: act
            .who
            .map_or_else(|| token.to_string(), |who| format!("{who} ({token})")),
        why: act.why,
    })
}
