//! `/v1/buffers`: writes that gather, and reach the database together.

use std::time::Duration;

use axum::{Extension, Json as Answer, extract::State, http::StatusCode, response::Response};
use forebay::{
    Name,
    buffer::{BufferHandle, Parked, Pressure, Row},
    time::secs,
};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, OneOrMany, Path, Problem, ProblemBody, Query, Read, Shared, Write,
    batch::{AT_ONCE, Added, Line, respond_one},
    once::Keyed,
    row::{Cells, cells_of_query, key_of, row, to_json},
};
use crate::app::BufferEntry;

/// How long the database may take to count dead letters before an answer goes without.
const DEAD_TIME: Duration = secs(2);

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(write, value))
        .routes(routes!(stats))
        .routes(routes!(flush))
        .routes(routes!(pause))
        .routes(routes!(resume))
}

/// A write to a row.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with row and columns")]
pub(super) struct WriteRequest {
    /// Every key column.
    row: Cells,
    /// What to merge; columns that are not named are left alone.
    columns: Cells,
}

/// One write, or a batch of at most 10 000.
#[derive(ToSchema)]
#[schema(as = Writes)]
#[expect(dead_code, reason = "describes a body to OpenAPI; `OneOrMany` reads it")]
#[serde(untagged)]
enum WritesSchema {
    One(WriteRequest),
    Many(Vec<WriteRequest>),
}

/// A row: what is on its way, and what it will be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RowState)]
pub(super) struct RowBody {
    /// What is not in the database yet, by column; null where nothing is.
    pending: Map<String, Value>,
    /// What the columns will be once everything is flushed; null where nothing was ever written.
    value: Map<String, Value>,
}

/// How much a buffer holds, and since when.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BufferStats)]
pub(super) struct StatsBody {
    /// Rows that are not in the database yet; 0: all are.
    pending_rows: u64,
    /// Age in seconds of the oldest of them.
    oldest_age: f64,
    /// Batches on their way.
    frozen_batches: u64,
    /// Rows that wait among the dead letters, whoever put them there; null if the database does not say so within 2 s.
    dead_rows: Option<u64>,
    /// Whether flushing is paused.
    paused: bool,
    /// `none`, `soft` (somebody should look) or `hard` (writes are refused): what waits, compared with the configured bounds.
    pressure: &'static str,
    /// Batches that this process put aside: they stay in the store until what keeps them is mended.
    parked: Vec<ParkedBody>,
    /// Why the last flush failed, until one succeeds.
    last_error: Option<String>,
}

/// A batch that was put aside.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ParkedBatch)]
pub(super) struct ParkedBody {
    /// Its id, as the ledger would have it.
    id: String,
    partition: u16,
    rows: u64,
    /// Why it cannot be applied, and how to mend that.
    reason: String,
}

/// Whether the flushing of a buffer is paused.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Paused {
    paused: bool,
}

/// A buffer of the configuration.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Buffer)]
pub(super) struct BufferBody {
    /// Its name.
    name: String,
    /// The table that it flushes to.
    table: String,
    /// The columns that tell rows apart.
    key: Vec<String>,
    /// The columns that are written.
    columns: Vec<String>,
}

/// What a flush brought to the database.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Flushed {
    rows: u64,
}

/// The buffers of the configuration, by name.
#[utoipa::path(
    get,
    path = "/v1/buffers",
    tag = "buffers",
    responses(
        (status = 200, description = "All of them", body = Vec<BufferBody>),
        (status = "4XX", description = "A token with the scope read is missing", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["read"])),
)]
async fn list(_: Read, State(app): State<Shared>) -> Answer<Vec<BufferBody>> {
    let body = |name: &Name, buffer: &BufferEntry| {
        let schema = buffer.handle.schema();
        BufferBody {
            name: name.to_string(),
            table: schema.table.to_string(),
            key: schema.keys.iter().map(|column| column.name.to_string()).collect(),
            columns: schema.columns.iter().map(|column| column.name.to_string()).collect(),
        }
    };
    Answer(app.buffers.iter().map(|(name, buffer)| body(name, buffer)).collect())
}

/// Merges writes into their rows.
#[utoipa::path(
    post,
    path = "/v1/buffers/{buffer}",
    tag = "buffers",
    params(("buffer" = String, Path, description = "A declared buffer")),
    request_body(content(
        (WritesSchema = "application/json"),
        (String = "application/x-ndjson"),
    )),
    responses(
        (status = 202, description = "Acknowledged; of a batch, what became of each line", body = Added),
        (status = 207, description = "A batch with an `Idempotency-Key` of which a line failed; a repeat completes it", body = Added),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store could not take it", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["write"])),
)]
async fn write(
    _: Write,
    State(app): State<Shared>,
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
            respond_one(StatusCode::ACCEPTED, answer)?
        }
        (OneOrMany::Many(requests), keyed) => {
            let lines = match keyed {
                Some(keyed) => add_rows_once(buffer, requests, keyed).await,
                None => add_rows(buffer, requests).await,
            };
            Added::batch(lines).respond(StatusCode::ACCEPTED, keyed.is_some())
        }
    })
}

/// Writes the rows that are well formed, and answers for each request in order.
async fn add_rows(buffer: &BufferHandle, requests: Vec<Result<WriteRequest, Problem>>) -> Vec<Line> {
    let mut good: Vec<Row> = vec![];
    let mut answers: Vec<Result<(), Problem>> = vec![];
    for request in requests {
        answers.push(read(buffer, request).map(|row| good.push(row)));
    }
    let mut written = buffer.add_rows(good).await.into_iter();
    let line = |answer: Result<(), Problem>| match answer {
        Ok(()) => Line::from(written.next().unwrap_or(Ok(()))),
        Err(problem) => Line::error(problem, None),
    };
    answers.into_iter().map(line).collect()
}

/// [`add_rows`] of a request with a key: each row once, by whichever attempt.
async fn add_rows_once(
    buffer: &BufferHandle,
    requests: Vec<Result<WriteRequest, Problem>>,
    keyed: &Keyed,
) -> Vec<Line> {
    let add_line = async |(number, request): (usize, Result<WriteRequest, Problem>)| {
        if let Some(answer) = keyed.answer(number) {
            return Line::known(answer);
        }
        match read(buffer, request) {
            Ok(row) => Line::from(buffer.add_once(&keyed.line(number), row).await),
            Err(problem) => Line::error(problem, None),
        }
    };
    stream::iter(requests).enumerate().map(add_line).buffered(AT_ONCE).collect().await
}

fn read(buffer: &BufferHandle, request: Result<WriteRequest, Problem>) -> Result<Row, Problem> {
    let request = request?;
    row(buffer, &request.row, &request.columns)
}

/// A row: what of it is on its way, and what it will be.
#[utoipa::path(
    get,
    path = "/v1/buffers/{buffer}",
    tag = "buffers",
    params(
        ("buffer" = String, Path, description = "A declared buffer"),
        ("row" = Cells, Query, style = Form, explode, description = "Each key column as a parameter: `?id=42`"),
    ),
    responses(
        (status = 200, description = "A row that was never written has nulls", body = RowBody),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store or the database does not answer", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["read"])),
)]
async fn value(
    _: Read,
    State(app): State<Shared>,
    Path(buffer): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Answer<RowBody>, Problem> {
    let buffer = &app.buffers.find(&buffer)?.handle;
    let schema = buffer.schema();
    let key = key_of(schema, &cells_of_query(query)?)?;
    let pending = buffer.pending(&key).await?;
    let value = buffer.value(&key).await?;
    Ok(Answer(RowBody { pending: to_json(schema, &pending), value: to_json(schema, &value) }))
}

/// How much a buffer holds, and since when.
#[utoipa::path(
    get,
    path = "/v1/buffers/{buffer}/stats",
    tag = "buffers",
    params(("buffer" = String, Path, description = "A declared buffer")),
    responses(
        (status = 200, description = "The state", body = StatsBody),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["read"])),
)]
async fn stats(
    _: Read,
    State(app): State<Shared>,
    Path(buffer): Path<String>,
) -> Result<Answer<StatsBody>, Problem> {
    let handle = &app.buffers.find(&buffer)?.handle;
    let (stats, dead) = tokio::join!(handle.stats(), app.clock().timeout(DEAD_TIME, handle.dead_count()));
    let stats = stats?;
    Ok(Answer(StatsBody {
        pending_rows: stats.pending_rows,
        oldest_age: stats.oldest_age.as_secs_f64(),
        frozen_batches: stats.frozen_batches,
        dead_rows: dead.and_then(Result::ok),
        paused: stats.paused,
        pressure: match stats.pressure {
            Pressure::None => "none",
            Pressure::Soft => "soft",
            Pressure::Hard => "hard",
        },
        parked: stats.parked.into_iter().map(ParkedBody::from).collect(),
        last_error: stats.last_error,
    }))
}

/// Brings everything that was acknowledged to the database, and answers after the commit.
#[utoipa::path(
    post,
    path = "/v1/buffers/{buffer}/flush",
    tag = "buffers",
    params(("buffer" = String, Path, description = "A declared buffer")),
    responses(
        (status = 200, description = "The rows that this flush brought to the database", body = Flushed),
        (status = "4XX", description = "It was not understood; 409: the buffer is paused", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store or the database could not; what is left stays, and is flushed later", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"])),
)]
async fn flush(
    _: Admin,
    State(app): State<Shared>,
    Path(buffer): Path<String>,
) -> Result<Answer<Flushed>, Problem> {
    let handle = &app.buffers.find(&buffer)?.handle;
    check_running(handle).await?;
    let rows = handle.flush().await?;
    Ok(Answer(Flushed { rows }))
}

/// Refuses what would touch the table of a paused buffer.
pub(super) async fn check_running(buffer: &BufferHandle) -> Result<(), Problem> {
    if buffer.is_paused().await? {
        let name = &buffer.schema().name;
        let detail = format!("buffer {name} is paused; POST /v1/buffers/{name}/resume ends that");
        return Err(Problem::new(StatusCode::CONFLICT, "paused", detail));
    }
    Ok(())
}

impl From<Parked> for ParkedBody {
    fn from(parked: Parked) -> Self {
        let Parked { id, partition, rows, reason, .. } = parked;
        Self { id: id.to_string(), partition, rows, reason }
    }
}

/// Stops the flushing of a buffer, by every server on the store, until it is resumed. Writes are taken all the same.
#[utoipa::path(
    post,
    path = "/v1/buffers/{buffer}/pause",
    tag = "buffers",
    params(("buffer" = String, Path, description = "A declared buffer")),
    responses(
        (status = 200, description = "It is paused, also if it was before; a flush under way ends first", body = Paused),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"])),
)]
async fn pause(
    _: Admin,
    State(app): State<Shared>,
    Path(buffer): Path<String>,
) -> Result<Answer<Paused>, Problem> {
    app.buffers.find(&buffer)?.handle.pause().await?;
    Ok(Answer(Paused { paused: true }))
}

/// Ends a pause, whoever began it.
#[utoipa::path(
    post,
    path = "/v1/buffers/{buffer}/resume",
    tag = "buffers",
    params(("buffer" = String, Path, description = "A declared buffer")),
    responses(
        (status = 200, description = "It is not paused, also if it was not before; flushing begins within a second", body = Paused),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"])),
)]
async fn resume(
    _: Admin,
    State(app): State<Shared>,
    Path(buffer): Path<String>,
) -> Result<Answer<Paused>, Problem> {
    app.buffers.find(&buffer)?.handle.resume().await?;
    Ok(Answer(Paused { paused: false }))
}
