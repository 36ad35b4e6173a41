//! `/api/v1`: the HTTP interface of Prometheus, for Grafana and other programs that speak it.
//!
//! ```text
//! parameters.rs   forms and queries, times and steps      query.rs   query and query_range
//! refusal.rs      errors in the form of Prometheus        lists.rs   labels, values, series, metadata, buildinfo
//! ```

mod lists;
mod parameters;
mod query;
mod refusal;

use utoipa_axum::router::OpenApiRouter;

use crate::app::Shared;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    query::routes().merge(lists::routes())
}
