//! `/v1/buffers/{buffer}/move`: two rows become one.

use axum::{Json as Answer, extract::State};
use forebay::buffer::RowKey;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, Json, Path, Problem, ProblemBody, Shared,
    buffer::check_running,
    row::{Cells, key_of, key_to_json},
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(move_row))
}

/// Which row, and into which.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with from and to")]
struct MoveRequest {
    /// Every key column of the row that goes.
    from: Cells,
    /// Every key column of the row that stays.
    to: Cells,
}

/// Where a row is now.
#[derive(Debug, Serialize, ToSchema)]
struct Moved {
    /// The key columns of the row that has it: `to`, or where that was itself moved to.
    to: Map<String, Value>,
}

/// Merges a row into another, column by column as writes merge, and removes it. What is written for it from now on, and what
/// is on its way already, goes to the other.
#[utoipa::path(
    post,
    path = "/v1/buffers/{buffer}/move",
    tag = "buffers",
    params(("buffer" = String, Path, description = "A declared buffer")),
    request_body = MoveRequest,
    responses(
        (status = 200, description = "Moved, and committed; the same again changes nothing", body = Moved),
        (status = "4XX", description = "It was not understood; 409: the buffer is paused; 422: the table does not take it (a sum would leave its column, there is no row to merge into, the row was moved elsewhere), and nothing has changed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer; ask again", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"])),
)]
async fn move_row(
    _: Admin,
    State(app): State<Shared>,
    Path(buffer): Path<String>,
    Json(request): Json<MoveRequest>,
) -> Result<Answer<Moved>, Problem> {
    let buffer = &app.buffers.find(&buffer)?.handle;
    let schema = buffer.schema();
    let (from, to) = (key_of(schema, &request.from)?, key_of(schema, &request.to)?);
    check_running(buffer).await?;
    let to = buffer.move_row(&from, &to).await?;
    Ok(Answer(Moved { to: key_to_json(schema, &RowKey::new(schema, &to)?)? }))
}
