//! `/v1/limits`: take, look, give back, reset. Leases are in `lease.rs`.

use axum::{
    Json as Answer,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use forebay::{
    Decision, Name,
    limit::{Charge, LimitHandle, Near, Outstanding, headers},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, Json, Path, Problem, ProblemBody, Query, Read, Shared, Write,
    fields::{Cost, Key},
    query::{KeyQuery, checked_key},
};
use crate::text::seconds;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(take, peek, reset))
        .routes(routes!(take_all))
        .routes(routes!(refund))
        .routes(routes!(top))
        .routes(routes!(near))
}

/// A cost against a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with key, and perhaps cost")]
pub(super) struct TakeRequest {
    key: Key,
    /// How much; default 1, at most the limit. 0 looks without charging: what a cost of 1 would be told.
    #[serde(default)]
    cost: Cost,
}

/// Costs against several limits: all are charged, or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with take")]
pub(super) struct TakeAllRequest {
    /// 1 to 64; each limit and key once.
    #[schema(min_items = 1, max_items = 64)]
    take: Vec<ChargeRequest>,
}

/// A cost against a key of a limit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with limit and key, and perhaps cost")]
pub(super) struct ChargeRequest {
    /// A declared limit.
    limit: String,
    key: Key,
    /// How much; default 1, at most the limit. 0 looks without charging: what a cost of 1 would be told.
    #[serde(default)]
    cost: Cost,
}

/// What a limit says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Decision)]
pub(super) struct DecisionBody {
    allowed: bool,
    /// How much of the limit is used.
    used: u64,
    /// The quota, or the burst of a token bucket.
    limit: u64,
    /// How much would still be admitted now.
    remaining: u64,
    /// Seconds until nothing is used.
    reset_after: f64,
    /// Seconds until a denied cost would be admitted; null if it was admitted, or nobody knows, as of leases.
    retry_after: Option<f64>,
    /// Who decided: `engine`, `lease` (this server, within a slice of the quota), `deny_cache`, `fallback` (see
    /// `degraded`), or `definition` (unlimited, or blocked).
    source: &'static str,
    /// The store did not answer, and `on_error` decided.
    degraded: bool,
    /// The limit is a shadow: it would have denied.
    shadowed: bool,
}

/// What several limits say, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Decisions)]
pub(super) struct DecisionsBody {
    allowed: bool,
    limits: Vec<DecisionBody>,
}

impl From<&Decision> for DecisionBody {
    fn from(decision: &Decision) -> Self {
        Self {
            allowed: decision.is_allowed(),
            used: decision.used(),
            limit: decision.limit(),
            remaining: decision.remaining(),
            reset_after: seconds(decision.reset_after()),
            retry_after: decision.retry_after().map(seconds),
            source: decision.source().as_str(),
            degraded: decision.is_degraded(),
            shadowed: decision.is_shadowed(),
        }
    }
}

/// What the limits tell a client about its key, but for `Retry-After`, which a problem has anyway.
fn told<'a>(answers: impl Iterator<Item = (&'a LimitHandle, &'a str, &'a Decision)>) -> HeaderMap {
    let answers: Vec<_> = answers.map(|(limit, key, decision)| (limit.policy(key), decision)).collect();
    let headers = headers(answers.iter().map(|(policy, decision)| (policy, *decision)));
    let header = |(name, value): (&'static str, String)| {
        Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))
    };
    headers.into_iter().filter(|(name, _)| *name != "retry-after").filter_map(header).collect()
}

/// A problem with more headers.
fn with_headers(problem: Problem, headers: HeaderMap) -> Problem {
    headers.into_iter().fold(problem, |problem, (name, value)| match name {
        Some(name) => problem.header(name, value),
        None => problem,
    })
}

/// Of several denials the larger lasts longer: for ever, or until it would be admitted.
pub(super) fn lasts(denied: &Decision) -> (bool, Option<std::time::Duration>) {
    (denied.is_blocked(), denied.retry_after())
}

/// 429 without the decision's members.
pub(super) fn denied(limit: &Name, decision: &Decision) -> Problem {
    let (used, quota) = (decision.used(), decision.limit());
    let blocked = decision.is_blocked();
    let detail = match decision.retry_after() {
        Some(span) => format!("limit {limit}: {used} of {quota} used; try again in {} s", seconds(span)),
        None if decision.is_degraded() => {
            format!("limit {limit}: denied without its store, which does not answer")
        }
        None if blocked => format!("limit {limit}: the key is blocked"),
        None => format!("limit {limit}: {used} of {quota} lent"),
    };
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "limited", detail).retry_denied(decision)
}

/// Takes a cost from a limit.
#[utoipa::path(
    post,
    path = "/v1/limits/{limit}",
    tag = "limits",
    params(("limit" = String, Path, description = "A declared limit")),
    request_body = TakeRequest,
    responses(
        (status = 200, description = "Admitted and charged", body = DecisionBody),
        (status = "4XX", description = "429: denied; the decision is among the members. Others: it was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["write"])),
)]
async fn take(
    _: Write,
    State(app): State<Shared>,
    Path(limit): Path<String>,
    Json(request): Json<TakeRequest>,
) -> Result<(HeaderMap, Answer<DecisionBody>), Problem> {
    let rules = app.rules();
    let limit = rules.limits.find(&limit)?;
    let decision = limit.handle.take_n(&request.key.0, request.cost.0).await?;
    if request.cost.0 > 0 {
        limit.metrics.count(&decision);
    }
    let headers = told(std::iter::once((&limit.handle, &*request.key.0, &decision)));
    let body = DecisionBody::from(&decision);
    if decision.is_allowed() {
        Ok((headers, Answer(body)))
    } else {
        Err(with_headers(denied(limit.handle.name(), &decision).with_all(body), headers))
    }
}

/// Takes from several limits: from all, or from none.
#[utoipa::path(
    post,
    path = "/v1/limits",
    tag = "limits",
    request_body = TakeAllRequest,
    responses(
        (status = 200, description = "Admitted and charged to all", body = DecisionsBody),
        (status = "4XX", description = "429: denied, and charged to none; the decisions are among the members. Others: it was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["write"])),
)]
async fn take_all(
    _: Write,
    State(app): State<Shared>,
    Json(request): Json<TakeAllRequest>,
) -> Result<(HeaderMap, Answer<DecisionsBody>), Problem> {
    if request.take.is_empty() {
        return Err(Problem::field("take", "take: 1 to 64 limits"));
    }
    let rules = app.rules();
    let find = |charge: &ChargeRequest| rules.limits.find(&charge.limit);
    let limits = request.take.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let charge = |(charge, limit): (ChargeRequest, &&crate::rules::LimitEntry)| Charge {
        limit: limit.handle.clone(),
        key: charge.key.0,
        cost: charge.cost.0,
    };
    let charges: Vec<Charge> = request.take.into_iter().zip(&limits).map(charge).collect();
    let decisions = app.bay().take_all(&charges).await?;
    for ((limit, charge), decision) in limits.iter().zip(&charges).zip(&decisions.limits) {
        let is_charged = charge.cost > 0;
        if is_charged && (decisions.allowed || !decision.is_allowed()) {
            limit.metrics.count(decision);
        }
    }
    let body = DecisionsBody {
        allowed: decisions.allowed,
        limits: decisions.limits.iter().map(DecisionBody::from).collect(),
    };
    let each = charges.iter().zip(&decisions.limits);
    let headers = told(each.map(|(charge, decision)| (&charge.limit, &*charge.key, decision)));
    if decisions.allowed {
        return Ok((headers, Answer(body)));
    }
    let denials = limits.iter().zip(&decisions.limits).filter(|(_, decision)| !decision.is_allowed());
    let problem = match denials.max_by_key(|(_, decision)| lasts(decision)) {
        Some((limit, decision)) => denied(limit.handle.name(), decision),
        None => Problem::new(StatusCode::TOO_MANY_REQUESTS, "limited", "denied").retry_after(None),
    };
    Err(with_headers(problem.with_all(body), headers))
}

/// Looks at a limit without taking: what a take of 1 would be told.
#[utoipa::path(
    get,
    path = "/v1/limits/{limit}",
    tag = "limits",
    params(("limit" = String, Path, description = "A declared limit"), KeyQuery),
    responses(
        (status = 200, description = "The decision that a take of 1 would get", body = DecisionBody),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["read"])),
)]
async fn peek(
    _: Read,
    State(app): State<Shared>,
    Path(limit): Path<String>,
    Query(query): Query<KeyQuery>,
) -> Result<Answer<DecisionBody>, Problem> {
    let decision = app.rules().limits.find(&limit)?.handle.peek(checked_key(&query.key)?).await?;
    Ok(Answer(DecisionBody::from(&decision)))
}

/// What others hold of a key that was reset: other servers of a leased limit, or who has a lease.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Outstanding)]
pub(super) struct OutstandingBody {
    /// How much stays charged.
    outstanding: u64,
    /// Until when at the latest, unless it is extended.
    #[schema(format = DateTime)]
    until: String,
}

/// Forgets what was taken for a key. What is there of somebody else goes, too.
#[utoipa::path(
    delete,
    path = "/v1/limits/{limit}",
    tag = "limits",
    params(("limit" = String, Path, description = "A declared limit"), KeyQuery),
    responses(
        (status = 200, description = "Nothing is used any more but what others hold", body = OutstandingBody),
        (status = 204, description = "Nothing is used any more"),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"])),
)]
async fn reset(
    _: Admin,
    State(app): State<Shared>,
    Path(limit): Path<String>,
    Query(query): Query<KeyQuery>,
) -> Result<Response, Problem> {
    let outstanding = app.rules().limits.find(&limit)?.handle.reset(checked_key(&query.key)?).await?;
    Ok(match outstanding {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Outstanding { amount, until, .. }) => {
            Answer(OutstandingBody { outstanding: amount, until: until.to_string() }).into_response()
        }
    })
}

/// Gives back what was taken for something that then did not happen.
#[utoipa::path(
    post,
    path = "/v1/limits/{limit}/refund",
    tag = "limits",
    params(("limit" = String, Path, description = "A declared limit")),
    request_body = TakeRequest,
    responses(
        (status = 200, description = "The state after the refund", body = DecisionBody),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["write"])),
)]
async fn refund(
    _: Write,
    State(app): State<Shared>,
    Path(limit): Path<String>,
    Json(request): Json<TakeRequest>,
) -> Result<Answer<DecisionBody>, Problem> {
    let decision = app.rules().limits.find(&limit)?.handle.refund(&request.key.0, request.cost.0).await?;
    Ok(Answer(DecisionBody::from(&decision)))
}

/// How many.
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

impl TopQuery {
    fn checked(&self) -> Result<usize, Problem> {
        if (1..=256).contains(&self.limit) {
            return Ok(self.limit);
        }
        Err(Problem::field("limit", format!("limit: {}: 1 to 256", self.limit)))
    }
}

/// A key that was denied often.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeniedKey)]
pub(super) struct DeniedBody {
    key: String,
    /// How often, at most.
    denied: u64,
    /// By how much that may be too high.
    error: u64,
}

/// The keys that this server denied most since it started; those that a shadow would have denied, too.
#[utoipa::path(
    get,
    path = "/v1/limits/{limit}/top",
    tag = "limits",
    operation_id = "top_denied",
    params(("limit" = String, Path, description = "A declared limit"), TopQuery),
    responses(
        (status = 200, description = "The most denied first", body = Vec<DeniedBody>),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["read"])),
)]
async fn top(
    _: Read,
    State(app): State<Shared>,
    Path(limit): Path<String>,
    Query(query): Query<TopQuery>,
) -> Result<Answer<Vec<DeniedBody>>, Problem> {
    let rules = app.rules();
    let limit = rules.limits.find(&limit)?;
    let top = limit.handle.top_denied(query.checked()?).into_iter();
    Ok(Answer(
        top.map(|denied| DeniedBody { key: denied.key, denied: denied.count, error: denied.error }).collect(),
    ))
}

/// A key that has used most of what it is allowed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NearKey)]
pub(super) struct NearBody {
    key: String,
    /// How much, after the last take that was admitted.
    used: u64,
    /// Of how much.
    limit: u64,
    /// The part that is used, 0.8 to 1; more for what a shadow let pass.
    share: f64,
}

/// The keys that this server saw nearest to their limit: at least 80 % used, and not over yet.
#[utoipa::path(
    get,
    path = "/v1/limits/{limit}/near",
    tag = "limits",
    operation_id = "near_limit",
    params(("limit" = String, Path, description = "A declared limit"), TopQuery),
    responses(
        (status = 200, description = "The nearest first", body = Vec<NearBody>),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["read"])),
)]
async fn near(
    _: Read,
    State(app): State<Shared>,
    Path(limit): Path<String>,
    Query(query): Query<TopQuery>,
) -> Result<Answer<Vec<NearBody>>, Problem> {
    let rules = app.rules();
    let near = rules.limits.find(&limit)?.handle.near(query.checked()?).into_iter();
    let body = |near: Near| {
        let share = (near.share() * 1_000.0).round() / 1_000.0;
        NearBody { key: near.key, used: near.used, limit: near.limit, share }
    };
    Ok(Answer(near.map(body).collect()))
}
