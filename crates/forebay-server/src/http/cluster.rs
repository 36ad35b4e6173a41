//! `/v1/cluster`: the hosts of the store, and the hosts of a key.

use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Json, JsonResult, Query, Read,
    query::{KeyQuery, checked_key},
};
use crate::{
    api::cluster::{ClusterBody, Routes},
    app::Shared,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(route))
}

/// The hosts of the store, and their health.
#[utoipa::path(
    get, path = "/v1/cluster", operation_id = "cluster", security(("token" = ["read"])),
    responses((status = 200, description = "The hosts; one unless the store has several", body = ClusterBody)),
)]
async fn show(Read(app): Read) -> JsonResult<ClusterBody> {
    Ok(Json(ClusterBody::from(&app.bay.cluster())))
}

/// The hosts of a key: in limits, in each series and buffer, as a lock, and as a plain key.
#[utoipa::path(
    get, path = "/v1/cluster/route", params(KeyQuery), security(("token" = ["read"])),
    responses((status = 200, description = "The host of each of them", body = Routes)),
)]
async fn route(Read(app): Read, Query(query): Query<KeyQuery>) -> JsonResult<Routes> {
    let series = app.series.entries.iter().map(|(name, series)| (name, &series.handle));
    let buffers = app.buffers.entries.iter().map(|(name, buffer)| (name, &buffer.handle));
    Ok(Json(Routes::new(&app.bay.cluster(), checked_key(&query.key)?, series, buffers)))
}
