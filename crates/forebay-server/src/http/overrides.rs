//! `/v1/limits/{limit}/overrides`: overrides for single keys.

use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, Json, JsonResult, Path, Problem, Query, Read,
    query::{KeyQuery, checked_key, checked_limit},
};
use crate::{
    api::limit::{DecisionBody, OverriddenBody, OverrideRequest},
    app::Shared,
    text::Allowance,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, set, remove))
}

/// The query of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Only keys after this one, in the order of their bytes.
    after: Option<String>,
    /// 1 to 1000.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
}

fn hundred() -> usize {
    100
}

/// The overrides of a limit, by key.
#[utoipa::path(
    get, path = "/v1/limits/{limit}/overrides", operation_id = "list_overrides", params(ListQuery),
    responses((status = 200, description = "A page of overrides", body = Vec<OverriddenBody>)),
    security(("token" = ["read"])),
)]
async fn list(
    Read(app): Read,
    Path(limit): Path<String>,
    Query(query): Query<ListQuery>,
) -> JsonResult<Vec<OverriddenBody>> {
    let rules = app.rules();
    let limit = rules.limits.find(&limit)?;
    let length = checked_limit(query.limit, 1_000)?;
    let all = limit.handle.overrides().into_iter();
    let asked = all.filter(|one| query.after.as_ref().is_none_or(|after| one.key > *after));
    Ok(Json(asked.take(length).map(OverriddenBody::from).collect()))
}

/// Sets the override of a key, until it is changed or removed. It is kept in the store, and every server of the store applies
/// it within a second. It takes precedence over an override in the configuration.
#[utoipa::path(
    put, path = "/v1/limits/{limit}/overrides", operation_id = "set_override", params(KeyQuery),
    responses(
        (status = 200, description = "Set; counts continue if the window stays the same. The decision that a take of 1 would get", body = DecisionBody),
        (status = 503, description = "The store does not answer; it may be set"),
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

/// Removes the override that a request has set. The configuration decides then.
#[utoipa::path(
    delete, path = "/v1/limits/{limit}/overrides", operation_id = "remove_override", params(KeyQuery),
    responses(
        (status = 204, description = "Removed"),
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
