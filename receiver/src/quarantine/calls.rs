//! What people call about requests in quarantine.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use creel_common::ids::QuarantineId;
use creel_common::log::wire::{
    Chosen, ChosenCall, CountReply, PromoteCall, Promoted, QuarantinePage, QuarantineView,
    Reverified, ReverifyCall,
};
use creel_common::log::{OperateError, PAGE_DEFAULT, PAGE_MAX};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Quarantine;
use super::review::{Review, blocking};
use super::shown::Judged;
use crate::auth::Caller;
use crate::failure::{Errors, Failure, Payload};
use crate::operate::{actor, time};
use crate::private::Api;

/// Bytes of requests that are read for one page; it ends there.
const PAGE_BYTES_MAX: usize = 64 << 20;

/// Which requests. Everything that is given must hold.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct ListQuery {
    /// Only sent to this source.
    source: Option<String>,
    /// Only refused for this reason, such as `no_match`.
    reason: Option<String>,
    /// Only sent from this address.
    address: Option<String>,
    /// Received at or after: milliseconds since 1970, or RFC 3339.
    #[param(example = "2026-01-31T00:00:00Z")]
    since: Option<String>,
    /// Received before: milliseconds since 1970, or RFC 3339.
    until: Option<String>,
    /// Where the page begins: `next` of the one before.
    from: Option<String>,
    /// At most this many; 1 to 1,000, default 50.
    limit: u32,
}

fn quarantine(api: &Api) -> Result<&Arc<Quarantine>, Failure> {
    api.ingest.quarantine.as_ref().ok_or_else(|| {
        let what = "there is no quarantine here (`quarantine.max_bytes`)";
        Failure::from(OperateError::NotFound(what.to_owned()))
    })
}

fn id(text: &str) -> Result<QuarantineId, Failure> {
    text.parse()
        .map_err(|error: creel_common::ids::NotAnId| Failure::invalid(error.to_string()))
}

/// A change goes on when its caller hangs up: half of it done would have to be found out about.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, OperateError>> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::spawn(change).await;
    let done = done.unwrap_or_else(|error| Err(OperateError::Unavailable(error.to_string())));
    done.map_err(Failure::from)
}

fn something(which: &Chosen) -> Result<(), Failure> {
    match which.says_nothing() {
        true => Err(Failure::invalid(
            "say which requests: ids, a filter, or all",
        )),
        false => Ok(()),
    }
}

/// Lists requests in quarantine, in order of arrival, with what is the matter with each.
#[utoipa::path(
    get, path = "/v1/quarantine", tag = "quarantine", params(ListQuery),
    responses((status = 200, body = QuarantinePage), Errors),
    security(("token" = []))
)]
pub async fn list(
    State(api): State<Api>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<QuarantinePage>, Failure> {
    let Query(query) = query.map_err(|error| Failure::invalid(error.body_text()))?;
    let limit = match query.limit {
        0 => PAGE_DEFAULT,
        limit if limit <= PAGE_MAX => limit,
        _ => return Err(Failure::invalid(format!("limit: at most {PAGE_MAX}"))),
    } as usize;
    let address = query.address.map(|text| text.parse()).transpose();
    let which = Chosen {
        source: query.source,
        reason: query.reason,
        address: address.map_err(|_| Failure::invalid("address: an IP address"))?,
        since: time("since", query.since)?,
        until: time("until", query.until)?,
        ..Chosen::default()
    };
    let from = query.from.as_deref().map(id).transpose()?;
    let (own, ingest) = (quarantine(&api)?.clone(), api.ingest.clone());
    let page = blocking(move || {
        let mut walk = own.walk(&which, from)?;
        let (mut items, mut bytes, mut next) = (Vec::new(), 0, None);
        while let Some((_, item)) = walk.next()? {
            if items.len() == limit || bytes > PAGE_BYTES_MAX {
                next = Some(item.id);
                break;
            }
            bytes += item.weight();
            items.push(Judged::new(&ingest, &item).in_list());
        }
        Ok(QuarantinePage { items, next })
    })
    .await?;
    Ok(Json(page))
}

/// One request in quarantine, with its headers and its body.
#[utoipa::path(
    get, path = "/v1/quarantine/{id}", tag = "quarantine",
    params(("id" = String, Path, description = "the request")),
    responses((status = 200, body = QuarantineView), Errors),
    security(("token" = []))
)]
pub async fn show(
    State(api): State<Api>,
    Path(text): Path<String>,
) -> Result<Json<QuarantineView>, Failure> {
    let (_, item) = quarantine(&api)?.find(id(&text)?).await?;
    let ingest = api.ingest.clone();
    let view = blocking(move || Ok(Judged::new(&ingest, &item).whole())).await?;
    Ok(Json(view))
}

/// Judges requests again, as of their arrival, and appends what is genuine: in order of arrival, with
/// the time it came, each once. What is refused again stays. Call it with `next` until there is none.
#[utoipa::path(
    post, path = "/v1/quarantine/reverify", tag = "quarantine", request_body = ReverifyCall,
    responses((status = 200, body = Reverified), Errors),
    security(("token" = []))
)]
pub async fn reverify(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Payload(call): Payload<ReverifyCall>,
) -> Result<Json<Reverified>, Failure> {
    something(&call.which)?;
    let actor = actor(&caller, call.act)?;
    let review = Review {
        which: call.which,
        from: call.from,
        limit: call.limit,
        dry_run: call.dry_run,
    };
    let own = quarantine(&api)?.clone();
    let reverified = to_the_end(own.reverify(api, review, actor)).await?;
    Ok(Json(reverified))
}

/// Takes a request in although it failed verification. `why` must be given; it is recorded, and the
/// delivery's key says `promoted:` with this id.
#[utoipa::path(
    post, path = "/v1/quarantine/{id}/promote", tag = "quarantine", request_body = PromoteCall,
    params(("id" = String, Path, description = "the request")),
    responses((status = 200, body = Promoted), Errors),
    security(("token" = []))
)]
pub async fn promote(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
    Payload(call): Payload<PromoteCall>,
) -> Result<Json<Promoted>, Failure> {
    let actor = actor(&caller, call.act)?;
    if actor.why.as_ref().is_none_or(|why| why.trim().is_empty()) {
        return Err(Failure::invalid(
            "act.why: say why it is taken in unverified",
        ));
    }
    let (own, id) = (quarantine(&api)?.clone(), id(&text)?);
    let delivery = to_the_end(own.promote(api, id, actor)).await?;
    Ok(Json(Promoted { delivery }))
}

/// Drops requests for good.
#[utoipa::path(
    post, path = "/v1/quarantine/discard", tag = "quarantine", request_body = ChosenCall,
    responses((status = 200, body = CountReply), Errors),
    security(("token" = []))
)]
pub async fn discard(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Payload(call): Payload<ChosenCall>,
) -> Result<Json<CountReply>, Failure> {
    something(&call.which)?;
    let actor = actor(&caller, call.act)?;
    let own = quarantine(&api)?.clone();
    let count = to_the_end(own.discard(api, call.which, call.dry_run, actor)).await?;
    Ok(Json(CountReply { count }))
}
