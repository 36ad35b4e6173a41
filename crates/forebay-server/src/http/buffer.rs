//! `/v1/buffers`: writes, the state of rows and buffers, flushes and pauses.

use std::time::Duration;

use axum::{Extension, http::StatusCode, response::Response};
use forebay::{
    buffer::{BufferHandle, Row},
    time::secs,
};
use futures::{StreamExt, stream};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, Json, JsonResult, OneOrMany, Path, Problem, Query, Read, Write,
    batch::{LineResult, MAX_IN_FLIGHT, failure, respond_added, respond_added_batch},
    once::Keyed,
    row::{cells_of_query, key_of, row, to_json},
};
use crate::{
    api::{
        batch::Added,
        buffer::{BufferBody, BufferStats, Flushed, Paused, RowState, WriteRequest},
        cells::Cells,
    },
    app::Shared,
};

/// The time in which the database must count dead letters. After that the answer has no count.
const COUNT_TIMEOUT: Duration = secs(2);

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(write, value))
        .routes(routes!(stats))
        .routes(routes!(flush))
        .routes(routes!(pause))
        .routes(routes!(resume))
}

/// One write, or a batch of at most 10 000.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body to OpenAPI; `OneOrMany` reads it")]
#[serde(untagged)]
enum Writes {
    One(WriteRequest),
    Many(Vec<WriteRequest>),
}

/// The buffers of the configuration, by name.
#[utoipa::path(
    get, path = "/v1/buffers", security(("token" = ["read"])),
    responses((status = 200, description = "All of them", body = Vec<BufferBody>)),
)]
async fn list(Read(app): Read) -> JsonResult<Vec<BufferBody>> {
    Ok(Json(app.buffers.entries.iter().map(|(name, buffer)| BufferBody::new(name, &buffer.handle)).collect()))
}

/// Merges writes into their rows.
#[utoipa::path(
    post, path = "/v1/buffers/{buffer}", security(("token" = ["write"])),
    request_body(content((Writes = "application/json"), (String = "application/x-ndjson"))),
    responses(
        (status = 202, description = "Acknowledged; for a batch, with the outcome of each line", body = Added),
        (status = 207, description = "A batch with an `Idempotency-Key` and a failed line; a repeat completes it", body = Added),
        (status = 503, description = "The store could not take it"),
    ),
)]
async fn write(
    Write(app): Write,
    Path(buffer): Path<String>,
    keyed: Option<Extension<Keyed>>,
    body: OneOrMany<WriteRequest>,
) -> Result<Response, Problem> {
    let buffer = &app.buffers.find(&buffer)?.handle;
    Ok(match (body, keyed.as_deref()) {
        (OneOrMany::One(request), keyed) => {
            let row = row(buffer, &request.row, &request.columns)?;
            let answer = match keyed {
                Some(keyed) => buffer.add_once(&keyed.line(0), row).await,
                None => buffer.add_rows(vec![row]).await.into_iter().collect(),
            };
            respond_added(answer.map_err(failure))?
        }
        (OneOrMany::Many(requests), keyed) => {
            let lines = match keyed {
                Some(keyed) => add_rows_once(buffer, requests, keyed).await,
                None => add_rows(buffer, requests).await,
            };
            respond_added_batch(lines, keyed.is_some())
        }
    })
}

/// Writes the valid rows; returns the result of each request, in order.
async fn add_rows(buffer: &BufferHandle, requests: Vec<Result<WriteRequest, Problem>>) -> Vec<LineResult> {
    let mut good: Vec<Row> = vec![];
    let mut answers: Vec<Result<(), Problem>> = vec![];
    for request in requests {
        answers.push(read(buffer, request).map(|row| good.push(row)));
    }
    let mut written = buffer.add_rows(good).await.into_iter();
    let line = |answer: Result<(), Problem>| match answer {
        Ok(()) => LineResult::from(written.next().unwrap_or(Ok(()))),
        Err(problem) => problem.into(),
    };
    answers.into_iter().map(line).collect()
}

/// Like [`add_rows`], for a request with a key: each row is written once over all attempts.
async fn add_rows_once(
    buffer: &BufferHandle,
    requests: Vec<Result<WriteRequest, Problem>>,
    keyed: &Keyed,
) -> Vec<LineResult> {
    let add_line = async |(number, request): (usize, Result<WriteRequest, Problem>)| {
        if let Some(answer) = keyed.answer(number) {
            return LineResult::known(answer);
        }
        match read(buffer, request) {
            Ok(row) => LineResult::from(buffer.add_once(&keyed.line(number), row).await),
            Err(problem) => problem.into(),
        }
    };
    stream::iter(requests).enumerate().map(add_line).buffered(MAX_IN_FLIGHT).collect().await
}

fn read(buffer: &BufferHandle, request: Result<WriteRequest, Problem>) -> Result<Row, Problem> {
    let request = request?;
    row(buffer, &request.row, &request.columns)
}

/// The pending and the final state of a row.
#[utoipa::path(
    get, path = "/v1/buffers/{buffer}", security(("token" = ["read"])),
    params(
        ("buffer" = String, Path, description = "A declared buffer"),
        ("row" = Cells, Query, style = Form, explode, description = "Each key column as a parameter: `?id=42`"),
    ),
    responses(
        (status = 200, description = "The row; nulls if it was never written", body = RowState),
        (status = 503, description = "The store or the database does not answer"),
    ),
)]
async fn value(
    Read(app): Read,
    Path(buffer): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> JsonResult<RowState> {
    let buffer = &app.buffers.find(&buffer)?.handle;
    let schema = buffer.schema();
    let key = key_of(schema, &cells_of_query(query)?)?;
    let pending = buffer.pending(&key).await?;
    let value = buffer.value(&key).await?;
    let partial = pending.partial || value.partial;
    Ok(Json(RowState { pending: to_json(schema, &pending), value: to_json(schema, &value), partial }))
}

/// The state of a buffer.
#[utoipa::path(
    get, path = "/v1/buffers/{buffer}/stats", security(("token" = ["read"])),
    responses((status = 200, description = "The state", body = BufferStats)),
)]
async fn stats(Read(app): Read, Path(buffer): Path<String>) -> JsonResult<BufferStats> {
    let handle = &app.buffers.find(&buffer)?.handle;
    let (stats, dead) = tokio::join!(handle.stats(), app.clock.timeout(COUNT_TIMEOUT, handle.dead_count()));
    Ok(Json(BufferStats::new(stats?, dead.and_then(Result::ok))))
}

/// Flushes everything that was acknowledged, and answers after the commit.
#[utoipa::path(
    post, path = "/v1/buffers/{buffer}/flush", security(("token" = ["admin"])),
    responses(
        (status = 200, description = "The number of rows that this flush committed", body = Flushed),
        (status = "4XX", description = "409: the buffer is paused"),
        (status = 503, description = "The store or the database does not answer; the remaining rows are flushed later"),
    ),
)]
async fn flush(Admin(app): Admin, Path(buffer): Path<String>) -> JsonResult<Flushed> {
    let handle = &app.buffers.find(&buffer)?.handle;
    check_running(handle).await?;
    let rows = handle.flush().await?;
    Ok(Json(Flushed { rows }))
}

/// Refuses an operation on the table of a paused buffer.
pub(super) async fn check_running(buffer: &BufferHandle) -> Result<(), Problem> {
    if buffer.is_paused().await? {
        let name = &buffer.schema().name;
        let detail = format!("buffer {name} is paused; POST /v1/buffers/{name}/resume resumes it");
        return Err(Problem::new(StatusCode::CONFLICT, "paused", detail));
    }
    Ok(())
}

/// Pauses the flushing of a buffer, on every server of the store, until it is resumed. Writes are still accepted.
#[utoipa::path(
    post, path = "/v1/buffers/{buffer}/pause", security(("token" = ["admin"])),
    responses(
        (status = 200, description = "Paused, also if it was before; a running flush ends first", body = Paused),
    ),
)]
async fn pause(Admin(app): Admin, Path(buffer): Path<String>) -> JsonResult<Paused> {
    app.buffers.find(&buffer)?.handle.pause().await?;
    Ok(Json(Paused { paused: true }))
}

/// Resumes the flushing of a buffer.
#[utoipa::path(
    post, path = "/v1/buffers/{buffer}/resume", security(("token" = ["admin"])),
    responses(
        (status = 200, description = "Resumed, also if it was not paused; flushing begins within a second", body = Paused),
    ),
)]
async fn resume(Admin(app): Admin, Path(buffer): Path<String>) -> JsonResult<Paused> {
    app.buffers.find(&buffer)?.handle.resume().await?;
    Ok(Json(Paused { paused: false }))
}
