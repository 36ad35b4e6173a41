//! `/v1/limits/{limit}/overrides`: what one key is allowed instead.

use axum::{Json as Answer, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, Json, Path, Problem, ProblemBody, Query, Shared,
    limit::DecisionBody,
    query::{KeyQuery, checked_key},
};
use crate::text::Allowance;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(set, remove))
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

/// Lets one key be allowed something else, in this server, until it stops; a configuration says it for good.
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
        (status = 503, description = "Allowed from now on, but the store does not answer", body = ProblemBody, content_type = "application/problem+json"),
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
    let limit = &app.limits.find(&limit)?.handle;
    let allowance = request.allow.parse::<Allowance>();
    let Allowance(allowance) =
        allowance.map_err(|error| Problem::field("allow", format!("allow: {error}")))?;
    let key = checked_key(&query.key)?;
    limit.set_override(key, allowance)?;
    Ok(Answer(DecisionBody::from(&limit.peek(key).await?)))
}

/// Lets one key be allowed what all are.
#[utoipa::path(
    delete,
    path = "/v1/limits/{limit}/overrides",
    tag = "limits",
    operation_id = "remove_override",
    params(("limit" = String, Path, description = "A declared limit"), KeyQuery),
    responses(
        (status = 204, description = "There is none any more"),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"])),
)]
async fn remove(
    _: Admin,
    State(app): State<Shared>,
    Path(limit): Path<String>,
    Query(query): Query<KeyQuery>,
) -> Result<StatusCode, Problem> {
    app.limits.find(&limit)?.handle.remove_override(checked_key(&query.key)?);
    Ok(StatusCode::NO_CONTENT)
}
