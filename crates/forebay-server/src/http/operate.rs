//! Routes for operators: health, readiness, metrics, and the OpenAPI document.

use std::{sync::LazyLock, time::Duration};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use forebay::{sink::SinkError, time::secs};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Document, Json, JsonResult, Problem, Read, problem::kind_of};
use crate::{
    app::Shared,
    host_metrics,
    warning::{Warning, warnings},
};

/// The time in which the store and the database must answer.
const PING_TIMEOUT: Duration = secs(2);

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(alive))
        .routes(routes!(ready))
        .routes(routes!(metrics))
        .routes(routes!(api))
}

/// The OpenAPI document, which covers more routes than this module knows.
#[derive(Clone, Copy)]
pub(crate) struct OpenApi(pub(crate) &'static LazyLock<Document>);

/// The answer of a process that is alive.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alive {
    /// Always `alive`.
    status: &'static str,
}

/// The last reload of the configuration that changed something.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reloaded {
    /// When it was.
    #[schema(format = DateTime)]
    at: String,
    /// The changes, such as `limit hits: removed`.
    changes: Vec<String>,
}

/// Whether the store and the database answer.
///
/// Callers without the scope `read` (if tokens are configured) get a code instead of each text, which may name hosts, files,
/// keys and names.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    /// `ok`, or why the store does not answer; without the scope `read` a code such as `unavailable` or `timeout`.
    store: String,
    /// `ok`, or why the database does not answer; without the scope `read` a code.
    database: String,
    /// The warnings for operators. Without the scope `read` a code for each kind: `store`,
    /// `database`, `configuration`, `canary-late`, `buffer-paused`, `buffer-filling`, `buffer-parked`, `buffer-orphaned`.
    warnings: Vec<String>,
    /// The last reload that changed something; only with the scope `read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reloaded: Option<Reloaded>,
}

/// The reason why the store or the database does not answer.
struct Failure {
    code: &'static str,
    text: String,
}

impl Failure {
    fn of_store(error: &forebay::Error) -> Self {
        Self { code: kind_of(error).1, text: error.to_string() }
    }

    fn of_database(error: &SinkError) -> Self {
        let (SinkError::Transient(cause) | SinkError::Permanent(cause)) = error else {
            return Self { code: "unavailable", text: error.to_string() };
        };
        Self::of_store(cause)
    }

    /// `ok`, or the failure as this caller may see it.
    fn shown(answer: &Result<(), Self>, may_read: bool) -> String {
        match answer {
            Ok(()) => "ok".to_owned(),
            Err(failure) if may_read => failure.text.clone(),
            Err(failure) => failure.code.to_owned(),
        }
    }
}

/// The warnings as this caller may see them.
fn shown(warnings: Vec<Warning>, may_read: bool) -> Vec<String> {
    if may_read {
        return warnings.into_iter().map(|warning| warning.text).collect();
    }
    let mut codes: Vec<String> = warnings.into_iter().map(|warning| warning.code.to_owned()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// Whether the process is alive.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "The process is alive", body = Alive)))]
async fn alive() -> JsonResult<Alive> {
    Ok(Json(Alive { status: "alive" }))
}

/// Whether the store and the database answer.
#[utoipa::path(
    get, path = "/readyz",
    responses(
        (status = 200, description = "Both answer", body = Ready),
        (status = 503, description = "One does not answer; the members say which"),
    ),
)]
async fn ready(reader: Result<Read, Problem>, State(app): State<Shared>) -> JsonResult<Ready> {
    let may_read = reader.is_ok();
    let in_time = |answer: Option<Result<(), Failure>>| {
        answer.unwrap_or_else(|| {
            let text = format!("no answer within {} s", PING_TIMEOUT.as_secs());
            Err(Failure { code: "timeout", text })
        })
    };
    let store = async { app.bay.ping().await.map_err(|error| Failure::of_store(&error)) };
    let database = async { app.database.ping().await.map_err(|error| Failure::of_database(&error)) };
    let (store, database) =
        tokio::join!(app.clock.timeout(PING_TIMEOUT, store), app.clock.timeout(PING_TIMEOUT, database));
    let (store, database) = (in_time(store), in_time(database));
    let reloaded = app.reload_status.last().filter(|_| may_read);
    let ready = Ready {
        store: Failure::shown(&store, may_read),
        database: Failure::shown(&database, may_read),
        warnings: shown(warnings(&app, PING_TIMEOUT).await, may_read),
        reloaded: reloaded.map(|(at, changes)| Reloaded { at: at.to_string(), changes }),
    };
    if store.is_ok() && database.is_ok() {
        return Ok(Json(ready));
    }
    let detail = "the store or the database does not answer";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", detail).retry_after(None).with_all(ready))
}

/// The metrics in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", security(("token" = ["read"])),
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain")),
)]
async fn metrics(Read(app): Read) -> impl IntoResponse {
    app.show_gauges(PING_TIMEOUT).await;
    let hosts = host_metrics::render(&app.bay.cluster().hosts());
    let text = app.metrics.render() + &hosts;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
)]
async fn api(Extension(OpenApi(document)): Extension<OpenApi>, headers: HeaderMap) -> Response {
    document.answer(&headers)
}
