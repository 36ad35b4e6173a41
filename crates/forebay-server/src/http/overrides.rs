//! `/v1/limits/{limit}/overrides`: what one key is allowed instead.

use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, Json, JsonResult, Path, Problem, Query, Read,
    query::{KeyQuery, checked_key},
};
use crate::{
    api::limit::{DecisionBody, OverriddenBody, OverrideRequest},
    app::Shared,
    text::Allowance,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, set, remove))
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

/// The keys that are allowed something else, by key.
#[utoipa::path(
    get, path = "/v1/limits/{limit}/overrides", operation_id = "list_overrides", params(ListQuery),
    responses(
        (status = 200, description = "As many as asked for, or all that there are", body = Vec<OverriddenBody>),
    ),
    security(("token" = ["read"])),
)]
async fn list(
    Read(app): Read,
    Path(limit): Path<String>,
    Query(query): Query<ListQuery>,
) -> JsonResult<Vec<OverriddenBody>> {
    let rules = app.rules();
    let limit = rules.limits.find(&limit)?;
    if !(1..=1_000).contains(&query.limit) {
        return Err(Problem::field("limit", format!("limit: {}: 1 to 1000", query.limit)));
    }
    let all = limit.handle.overrides().into_iter();
    let asked = all.filter(|one| query.after.as_ref().is_none_or(|after| one.key > *after));
    Ok(Json(asked.take(query.limit).map(OverriddenBody::from).collect()))
}

/// Lets one key be allowed something else, until that is changed or removed: kept in the store, and heeded by every server
/// that shares it within a second. Goes before what the configuration says of the key.
#[utoipa::path(
    put, path = "/v1/limits/{limit}/overrides", operation_id = "set_override", params(KeyQuery),
    responses(
        (status = 200, description = "Allowed from now on; what was counted goes on counting where the window is the same. The decision that a take of 1 would get", body = DecisionBody),
        (status = 503, description = "The store does not answer; it may be allowed from now on"),
    ),
    security(("token" = ["admin"])),
)]
async fn set(
    Admin(app): Admin,
    Path(limit): Path<String>,
    Query(query): Query<KeyQuery>,
    Json(request): Json<OverrideRequest>,
) -> JsonResult<DecisionBody> {
    let rules = app.rules();
    let limit = &rules.limits.find(&limit)?.handle;
    let allowance = request.allow.parse::<Allowance>();
    let Allowance(allowance) =
        allowance.map_err(|error| Problem::field("allow", format!("allow: {error}")))?;
    let key = checked_key(&query.key)?;
    limit.set_override(key, allowance).await?;
    Ok(Json(DecisionBody::from(&limit.peek(key).await?)))
}

/// Takes back what a request has set for a key; it is allowed what the configuration says.
#[utoipa::path(
    delete, path = "/v1/limits/{limit}/overrides", operation_id = "remove_override", params(KeyQuery),
    responses(
        (status = 204, description = "None is set any more"),
        (status = 503, description = "The store does not answer; it may be removed"),
    ),
    security(("token" = ["admin"])),
)]
async fn remove(
    Admin(app): Admin,
    Path(limit): Path<String>,
    Query(query): Query<KeyQuery>,
) -> Result<StatusCode, Problem> {
    app.rules().limits.find(&limit)?.handle.remove_override(checked_key(&query.key)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
