//! The HTTP interface: one file per primitive, and what they share.
//!
//! ```text
//! connection ─ listen.rs ─ observe.rs ─ auth.rs ───────── encoding.rs ─ once.rs ─ event limit series buffer lock operate
//!   shutdown                time, panics  Host and Origin  gzip, deflate   repeats  the scope in each signature,      
//!                                                                                   JsonResult out
//! ```
//!
//! Below the requests, `stream.rs` closes connections whose peer reads nothing, `upload.rs` bounds bodies and drains what
//! handlers did not read, and `peers.rs` knows all connections and closes the longest stalled one when there is no room
//! (`bounds.rs`).
//!
//! A new route is a handler with `#[utoipa::path]`, its scope (`Read`, `Write`, `Admin` or `Map`) as first argument,
//! added to the `routes` of its file; a new file is one more `merge` in `routes.rs`. The OpenAPI document follows: it adds
//! the tag, the parameters' descriptions and the error responses, which are the same for all routes.

mod auth;
mod batch;
mod body;
pub mod bounds;
mod buffer;
mod chart;
mod chosen;
mod cluster;
mod connections;
mod dead;
mod encoding;
mod event;
mod lease;
mod limit;
pub mod listen;
mod lock;
mod map;
mod moves;
mod observe;
mod once;
mod openapi;
mod operate;
mod overrides;

mod problem;
mod prometheus;
mod query;
mod ranking;
mod reservation;
mod routes;
mod row;
mod series;
mod series_export;
mod stream;
mod summary;
mod upload;

pub(crate) use auth::{Admin, Map, Read, Write};
pub(crate) use body::{Json, JsonResult, OneOrMany};
pub(crate) use encoding::Document;
pub(crate) use openapi::complete;
pub(crate) use operate::OpenApi;
pub(crate) use problem::Problem;
pub(crate) use query::{Path, Query};
pub(crate) use routes::{routes, serve};
