//! `/v1/limits`: take, peek, refund, reset, and the lists. Leases are in `lease.rs`.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use forebay::{
    Decision, Name,
    limit::{Charge, Decisions, LimitHandle, headers},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, Json, JsonResult, Path, Problem, Query, Read, Write,
    query::{KeyQuery, checked_key, checked_limit},
};
use crate::{
    api::limit::{
        ChargeRequest, DecisionBody, DecisionsBody, DeniedKey, LimitAnswer, LimitBody, NearKey,
        OutstandingBody, TakeAllRequest, TakeRequest,
    },
    app::Shared,
    registry::LimitEntry,
    text::seconds,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(take, peek, reset))
        .routes(routes!(list, take_all))
        .routes(routes!(refund))
        .routes(routes!(top))
        .routes(routes!(near))
}

/// The headers of the limits for a client's key, without `Retry-After`, which a problem has.
fn limit_headers<'a>(
    answers: impl Iterator<Item = (&'a LimitHandle, &'a str, Option<&'a Decision>)>,
) -> HeaderMap {
    let answers: Vec<_> = answers.map(|(limit, key, decision)| (limit.policy(key), decision)).collect();
    let headers = headers(answers.iter().map(|(policy, decision)| (policy, *decision)));
    let header = |(name, value): (&'static str, String)| {
        Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))
    };
    headers.into_iter().filter(|(name, _)| *name != "retry-after").filter_map(header).collect()
}

/// The 429 of several decisions, with the place and the decision of the limit for which the caller has to wait longest. A
/// blocked key waits for ever.
pub(super) fn denied_by_any<'a>(
    decisions: &'a Decisions,
    name: impl Fn(usize) -> &'a Name,
) -> (Problem, Option<(usize, &'a Decision)>) {
    let denials = decisions.asked().filter(|(_, decision)| !decision.is_allowed());
    let longest = denials.max_by_key(|(_, denied)| (denied.is_blocked(), denied.retry_after()));
    let problem = match longest {
        Some((place, decision)) => denied(name(place), decision),
        None => Problem::new(StatusCode::TOO_MANY_REQUESTS, "limited", "denied").retry_after(None),
    };
    (problem, longest)
}

/// The 429 of a denial, without the members of the decision.
pub(super) fn denied(limit: &Name, decision: &Decision) -> Problem {
    let (used, quota) = (decision.used(), decision.limit());
    let blocked = decision.is_blocked();
    let detail = match decision.retry_after() {
        Some(span) => format!("limit {limit}: {used} of {quota} used; try again in {} s", seconds(span)),
        None if decision.is_degraded() => {
            format!("limit {limit}: denied, because its store does not answer")
        }
        None if blocked => format!("limit {limit}: the key is blocked"),
        None => format!("limit {limit}: {used} of {quota} leases in use"),
    };
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "limited", detail).retry_denied(decision)
}

/// The limits of the configuration, by name.
#[utoipa::path(
    get, path = "/v1/limits", operation_id = "list_limits", security(("token" = ["read"])),
    responses((status = 200, description = "All limits in force", body = Vec<LimitBody>)),
)]
async fn list(Read(app): Read) -> JsonResult<Vec<LimitBody>> {
    Ok(Json(app.rules().config.limits.iter().map(LimitBody::new).collect()))
}

/// Takes a cost from a limit.
#[utoipa::path(
    post, path = "/v1/limits/{limit}", security(("token" = ["write"])),
    responses(
        (status = 200, description = "Admitted and charged", body = DecisionBody),
        (status = "4XX", description = "429: denied; the members have the decision"),
    ),
)]
async fn take(
    Write(app): Write,
    Path(limit): Path<String>,
    Json(request): Json<TakeRequest>,
) -> Result<(HeaderMap, Json<DecisionBody>), Problem> {
    let rules = app.rules();
    let limit = rules.limits.find(&limit)?;
    let decision = limit.handle.take_n(&request.key.0, request.cost.0).await?;
    if request.cost.0 > 0 {
        limit.metrics.count(&decision);
    }
    let headers = limit_headers(std::iter::once((&limit.handle, &*request.key.0, Some(&decision))));
    let body = DecisionBody::from(&decision);
    if decision.is_allowed() {
        Ok((headers, Json(body)))
    } else {
        Err(denied(limit.handle.name(), &decision).with_all(body).with_headers(headers))
    }
}

/// Takes from several limits: all are charged, or none.
#[utoipa::path(
    post, path = "/v1/limits", security(("token" = ["write"])),
    responses(
        (status = 200, description = "Admitted and charged to all", body = DecisionsBody),
        (status = "4XX", description = "429: denied, and charged to none; the members have the decisions"),
    ),
)]
async fn take_all(
    Write(app): Write,
    Json(request): Json<TakeAllRequest>,
) -> Result<(HeaderMap, Json<DecisionsBody>), Problem> {
    if request.take.is_empty() {
        return Err(Problem::field("take", "take: 1 to 64 limits"));
    }
    let rules = app.rules();
    let find = |charge: &ChargeRequest| rules.limits.find(&charge.limit);
    let limits = request.take.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let charge = |(charge, limit): (ChargeRequest, &&LimitEntry)| Charge {
        limit: limit.handle.clone(),
        key: charge.key.0,
        cost: charge.cost.0,
    };
    let charges: Vec<Charge> = request.take.into_iter().zip(&limits).map(charge).collect();
    let decisions = app.bay.take_all(&charges).await?;
    for (place, decision) in decisions.asked().filter(|(place, _)| charges[*place].cost > 0) {
        if decisions.allowed || !decision.is_allowed() {
            limits[place].metrics.count(decision);
        }
    }
    let body = DecisionsBody {
        allowed: decisions.allowed,
        limits: decisions.limits.iter().map(|limit| LimitAnswer::from(limit.as_ref())).collect(),
    };
    let each = charges.iter().zip(&decisions.limits);
    let headers =
        limit_headers(each.map(|(charge, decision)| (&charge.limit, &*charge.key, decision.as_ref())));
    if decisions.allowed {
        return Ok((headers, Json(body)));
    }
    let (problem, _) = denied_by_any(&decisions, |place| limits[place].handle.name());
    Err(problem.with_all(body).with_headers(headers))
}

/// Peeks at a limit: the decision that a take of 1 would get, without a charge.
#[utoipa::path(
    get, path = "/v1/limits/{limit}", params(KeyQuery), security(("token" = ["read"])),
    responses((status = 200, description = "The decision that a take of 1 would get", body = DecisionBody)),
)]
async fn peek(
    Read(app): Read,
    Path(limit): Path<String>,
    Query(query): Query<KeyQuery>,
) -> JsonResult<DecisionBody> {
    let decision = app.rules().limits.find(&limit)?.handle.peek(checked_key(&query.key)?).await?;
    Ok(Json(DecisionBody::from(&decision)))
}

/// Resets a key. Data of another program under the same key is removed, too.
#[utoipa::path(
    delete, path = "/v1/limits/{limit}", params(KeyQuery), security(("token" = ["admin"])),
    responses(
        (status = 200, description = "Reset, except for what others hold", body = OutstandingBody),
        (status = 204, description = "Reset"),
    ),
)]
async fn reset(
    Admin(app): Admin,
    Path(limit): Path<String>,
    Query(query): Query<KeyQuery>,
) -> Result<Response, Problem> {
    let outstanding = app.rules().limits.find(&limit)?.handle.reset(checked_key(&query.key)?).await?;
    Ok(match outstanding {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(outstanding) => Json(OutstandingBody::from(outstanding)).into_response(),
    })
}

/// Refunds a take.
#[utoipa::path(
    post, path = "/v1/limits/{limit}/refund", security(("token" = ["write"])),
    responses((status = 200, description = "The state after the refund", body = DecisionBody)),
)]
async fn refund(
    Write(app): Write,
    Path(limit): Path<String>,
    Json(request): Json<TakeRequest>,
) -> JsonResult<DecisionBody> {
    let decision = app.rules().limits.find(&limit)?.handle.refund(&request.key.0, request.cost.0).await?;
    Ok(Json(DecisionBody::from(&decision)))
}

/// The query of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TopQuery {
    /// 1 to 256.
    #[serde(default = "ten")]
    #[param(minimum = 1, maximum = 256, default = 10)]
    limit: usize,
}

fn ten() -> usize {
    10
}

/// The keys that this server denied most since it started, also those that a shadow would have denied.
#[utoipa::path(
    get, path = "/v1/limits/{limit}/top", operation_id = "top_denied", params(TopQuery),
    responses((status = 200, description = "The keys, most denied first", body = Vec<DeniedKey>)),
    security(("token" = ["read"])),
)]
async fn top(
    Read(app): Read,
    Path(limit): Path<String>,
    Query(query): Query<TopQuery>,
) -> JsonResult<Vec<DeniedKey>> {
    let rules = app.rules();
    let limit = rules.limits.find(&limit)?;
    let top = limit.handle.top_denied(checked_limit(query.limit, 256)?);
    Ok(Json(top.into_iter().map(DeniedKey::from).collect()))
}

/// The keys nearest to their limit, as far as this server knows: at least 80 % used, in a window that has not ended.
#[utoipa::path(
    get, path = "/v1/limits/{limit}/near", operation_id = "near_limit", params(TopQuery),
    responses((status = 200, description = "The keys, nearest first", body = Vec<NearKey>)),
    security(("token" = ["read"])),
)]
async fn near(
    Read(app): Read,
    Path(limit): Path<String>,
    Query(query): Query<TopQuery>,
) -> JsonResult<Vec<NearKey>> {
    let rules = app.rules();
    let near = rules.limits.find(&limit)?.handle.near(checked_limit(query.limit, 256)?);
    Ok(Json(near.into_iter().map(NearKey::from).collect()))
}
