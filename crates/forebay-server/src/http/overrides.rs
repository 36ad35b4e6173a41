//! `/v1/limits/{limit}/overrides`: what one key is allowed instead.

use axum::{Json as Answer, extract::State, http::StatusCode};
use forebay::limit::{Overridden, SetBy};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, Json, Path, Problem, ProblemBody, Query, Read, Shared,
    limit::DecisionBody,
    query::{KeyQuery, checked_key},
};
use crate::text::Allowance;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, set, remove))
}

/// What a key is allowed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with allow")]
pub(super) struct OverrideRequest {
    /// A rate such as `100/1m`, for a token bucket perhaps with its burst, `100/1m burst 500`; of a concurrency limit
    /// the number of leases; `unlimited`; or `blocked`.
    #[schema(example = "100/1m")]
    allow: String,
}

/// Which overrides to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Those of keys after this one, in the order of their bytes.
    after: Option<String>,
    /// 1 to 1000.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
}

fn hundred() -> usize {
    100
}

/// What a key is allowed instead, and who said so.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Overridden)]
pub(super) struct OverriddenBody {
    key: String,
    /// As in a request that sets it.
    allow: String,
    /// `configuration`, or `request`, which goes before it.
    set_by: &'static str,
}

impl From<Overridden> for OverriddenBody {
    fn from(one: Overridden) -> Self {
        let set_by = match one.set_by {
            SetBy::Definition => "configuration",
            _ => "request",
        };
        Self { key: one.key, allow: one.instead.to_string(), set_by }
    }
}

/// The keys that are allowed something else, by key.
#[utoipa::path(
    get,
    path = "/v1/limits/{limit}/overrides",
    tag = "limits",
    operation_id = "list_overrides",
    params(("limit" = String, Path, description = "A declared limit"), ListQuery),
    responses(
        (status = 200, description = "As many as asked for, or all that there are", body = Vec<OverriddenBody>),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["read"])),
)]
async fn list(
    _: Read,
    State(app): State<Shared>,
    Path(limit): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Answer<Vec<OverriddenBody>>, Problem> {
    let rules = app.rules();
    let limit = rules.limits.find(&limit)?;
    if !(1..=1_000).contains(&query.limit) {
        return Err(Problem::field("limit", format!("limit: {}: 1 to 1000", query.limit)));
    }
    let all = limit.handle.overrides().into_iter();
    let asked = all.filter(|one| query.after.as_ref().is_none_or(|after| one.key > *after));
    Ok(Answer(asked.take(query.limit).map(OverriddenBody::from).collect()))
}

/// Lets one key be allowed something else, until that is changed or removed: kept in the store, and heeded by every server
/// that shares it within a second. Goes before what the configuration says of the key.
#[utoipa::path(
    put,
    path = "/v1/limits/{limit}/overrides",
    tag = "limits",
    operation_id = "set_override",
    params(("limit" = String, Path, description = "A declared limit"), KeyQuery),
    request_body = OverrideRequest,
    responses(
        (status = 200, description = "Allowed from now on; what was counted goes on counting where the window is the same. The decision that a take of 1 would get", body = DecisionBody),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer; it may be allowed from now on", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"])),
)]
async fn set(
    _: Admin,
    State(app): State<Shared>,
    Path(limit): Path<String>,
    Query(query): Query<KeyQuery>,
    Json(request): Json<OverrideRequest>,
) -> Result<Answer<DecisionBody>, Problem> {
    let rules = app.rules();
    let limit = &rules.limits.find(&limit)?.handle;
    let allowance = request.allow.parse::<Allowance>();
    let Allowance(allowance) =
        allowance.map_err(|error| Problem::field("allow", format!("allow: {error}")))?;
    let key = checked_key(&query.key)?;
    limit.set_override(key, allowance).await?;
    Ok(Answer(DecisionBody::from(&limit.peek(key).await?)))
}

/// Takes back what a request has set for a key; it is allowed what the configuration says.
#[utoipa::path(
    delete,
    path = "/v1/limits/{limit}/overrides",
    tag = "limits",
    operation_id = "remove_override",
    params(("limit" = String, Path, description = "A declared limit"), KeyQuery),
    responses(
        (status = 204, description = "None is set any more"),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer; it may be removed", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"])),
)]
async fn remove(
    _: Admin,
    State(app): State<Shared>,
    Path(limit): Path<String>,
    Query(query): Query<KeyQuery>,
) -> Result<StatusCode, Problem> {
    app.rules().limits.find(&limit)?.handle.remove_override(checked_key(&query.key)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
