//! What operators and their programs ask: alive, ready, metrics, the API itself.

use std::time::Duration;

use axum::{
    Json as Answer,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use forebay::time::secs;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Problem, ProblemBody, Read, Shared, openapi::document};

/// How long store and database may take to answer before they count as not answering.
const PING_TIME: Duration = secs(2);

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(alive))
        .routes(routes!(ready))
        .routes(routes!(metrics))
        .routes(routes!(api))
}

/// That the process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alive {
    /// Always `alive`.
    status: &'static str,
}

/// Whether store and database answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    /// `ok`, or why the store does not answer.
    store: String,
    /// `ok`, or why the database does not answer.
    database: String,
    /// Settings of the store that break a promise, and rows that nobody flushes; empty: none known.
    warnings: Vec<String>,
}

/// Whether the process is alive.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, description = "It is", body = Alive)))]
async fn alive() -> Answer<Alive> {
    Answer(Alive { status: "alive" })
}

/// Whether store and database answer.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operation",
    responses(
        (status = 200, description = "Both answer", body = Ready),
        (status = 503, description = "One does not; the members say which", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn ready(State(app): State<Shared>) -> Result<Answer<Ready>, Problem> {
    let in_time = |answer: Option<Result<(), String>>| match answer {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(error),
        None => Err(format!("no answer within {} s", PING_TIME.as_secs())),
    };
    let store = async { app.bay().ping().await.map_err(|error| error.to_string()) };
    let database = async { app.ping_database().await.map_err(|error| error.to_string()) };
    let (store, database) =
        tokio::join!(app.clock().timeout(PING_TIME, store), app.clock().timeout(PING_TIME, database));
    let (store, database) = (in_time(store), in_time(database));
    let is_ready = store.is_ok() && database.is_ok();
    let word = |answer: Result<(), String>| answer.map_or_else(|error| error, |()| "ok".to_owned());
    let ready =
        Ready { store: word(store), database: word(database), warnings: app.warnings(PING_TIME).await };
    if is_ready {
        return Ok(Answer(ready));
    }
    let detail = "the store or the database does not answer";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", detail).retry_after(None).with_all(ready))
}

/// The server's counters in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operation",
    responses(
        (status = 200, description = "Metrics", body = String, content_type = "text/plain"),
        (status = "4XX", description = "A token with the scope read is missing", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["read"])),
)]
async fn metrics(_: Read, State(app): State<Shared>) -> impl IntoResponse {
    app.show_gauges(PING_TIME).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics().render())
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operation",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
)]
async fn api() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document())
}
