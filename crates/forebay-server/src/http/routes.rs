//! The routes of the HTTP interface, and the layers that every request passes through.

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    middleware::{from_fn, from_fn_with_state},
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    Problem, auth, buffer, chart, cluster, dead, encoding, event, lease, limit, lock, map, moves, observe,
    once, openapi, operate, overrides, prometheus, ranking, reservation, series, series_export,
};
use crate::app::Shared;

/// The routes of all primitives, with their descriptions.
pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::frame())
        .merge(event::routes())
        .merge(limit::routes())
        .merge(lease::routes())
        .merge(overrides::routes())
        .merge(reservation::routes())
        .merge(series::routes())
        .merge(ranking::routes())
        .merge(chart::routes())
        .merge(series_export::routes())
        .merge(buffer::routes())
        .merge(dead::routes())
        .merge(moves::routes())
        .merge(lock::routes())
        .merge(cluster::routes())
        .merge(map::routes())
        .merge(prometheus::routes())
        .merge(operate::routes())
}

/// Adds the answers for unknown paths and methods, and the layers of every request.
pub(crate) fn serve(router: Router<Shared>, app: Shared) -> Router {
    router
        .fallback(async |uri: Uri| {
            Problem::new(StatusCode::NOT_FOUND, "not-found", format!("there is nothing at {}", uri.path()))
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            let detail = format!(
                "{} does not accept {method}; the Allow header lists the methods that it does",
                uri.path()
            );
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
        })
        .layer(from_fn_with_state(app.clone(), once::once))
        .layer(from_fn(encoding::decode))
        .layer(from_fn_with_state(app.clone(), auth::guard))
        .layer(from_fn_with_state(app.clone(), observe::observe))
        .layer(from_fn(observe::no_store))
        .with_state(app)
}
