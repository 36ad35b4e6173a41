//! The HTTP interface: one file per primitive, and what they share.
//!
//! ```text
//! connection ─ listen.rs ─ observe.rs ─ auth.rs ───────── encoding.rs ─ once.rs ─ event limit series buffer lock operate
//!   shutdown                time, panics  Host and Origin  gzip, deflate   repeats  a scope in each signature, Json in,
//!                                                                                   Json or Problem out
//! ```
//!
//! Below the requests, `stream.rs` gives up peers that take nothing, `upload.rs` bounds bodies and reads what handlers leave
//! of them, and `peers.rs` knows all connections and closes the longest stalled one when there is no room (`bounds.rs`).
//!
//! A new route is a handler with `#[utoipa::path]`, its scope ([`Read`], [`Write`] or [`Admin`]) as first argument,
//! added to the `routes` of its file; a new file is one more `merge` below. The OpenAPI document follows by itself.

pub mod auth;
mod batch;
pub mod body;
pub mod bounds;
mod buffer;
mod cluster;
mod dead;
mod declared;
mod encoding;
mod event;
pub mod fields;
mod lease;
mod limit;
pub mod listen;
pub mod lock;
mod moves;
mod observe;
mod once;
mod openapi;
mod operate;
mod overrides;
mod peers;
mod problem;
mod query;
mod reservation;
mod row;
mod series;
mod stream;
mod upload;

pub use auth::{Admin, Read, Write};
pub use body::{Json, OneOrMany};
pub(crate) use cluster::HostBody;
pub(crate) use encoding::Document;
pub use openapi::document;
pub use problem::{Problem, ProblemBody};
pub use query::{Path, Query};

use std::sync::Arc;

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    middleware::{from_fn, from_fn_with_state},
};
use utoipa_axum::router::OpenApiRouter;

use crate::{app::App, dashboard};

/// What handlers get as their state.
pub type Shared = Arc<App>;

/// All routes, with what every request passes through.
pub fn router(app: Shared) -> Router {
    let (router, _) = routes().split_for_parts();
    router
        .merge(dashboard::pages())
        .fallback(async |uri: Uri| {
            Problem::new(StatusCode::NOT_FOUND, "not-found", format!("there is nothing at {}", uri.path()))
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            let detail =
                format!("{} does not answer {method}; the Allow header lists what it does", uri.path());
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
        })
        .layer(from_fn_with_state(app.clone(), once::once))
        .layer(from_fn(encoding::decode))
        .layer(from_fn_with_state(app.clone(), auth::guard))
        .layer(from_fn_with_state(app.clone(), observe::observe))
        .layer(from_fn(observe::no_store))
        .with_state(app)
}

/// The routes and their descriptions.
fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::frame())
        .merge(event::routes())
        .merge(limit::routes())
        .merge(declared::routes())
        .merge(lease::routes())
        .merge(overrides::routes())
        .merge(reservation::routes())
        .merge(series::routes())
        .merge(buffer::routes())
        .merge(dead::routes())
        .merge(moves::routes())
        .merge(lock::routes())
        .merge(cluster::routes())
        .merge(operate::routes())
        .merge(dashboard::routes())
}
