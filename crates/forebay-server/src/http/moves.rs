//! `/v1/buffers/{buffer}/move`: two rows become one.

use forebay::buffer::RowKey;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, Json, JsonResult, Path,
    buffer::check_running,
    row::{key_of, key_to_json},
};
use crate::{
    api::buffer::{MoveRequest, Moved},
    app::Shared,
};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(move_row))
}

/// Merges a row into another, column by column as writes merge, and removes it. What is written for it from now on, and what
/// is on its way already, goes to the other.
#[utoipa::path(
    post, path = "/v1/buffers/{buffer}/move", security(("token" = ["admin"])),
    responses(
        (status = 200, description = "Moved, and committed; the same again changes nothing", body = Moved),
        (status = "4XX", description = "409: the buffer is paused; 422: the table does not take it (a sum would leave its column, there is no row to merge into, the row was moved elsewhere), and nothing has changed"),
        (status = 503, description = "The database does not answer; ask again"),
    ),
)]
async fn move_row(
    Admin(app): Admin,
    Path(buffer): Path<String>,
    Json(request): Json<MoveRequest>,
) -> JsonResult<Moved> {
    let buffer = &app.buffers.find(&buffer)?.handle;
    let schema = buffer.schema();
    let (from, to) = (key_of(schema, &request.from)?, key_of(schema, &request.to)?);
    check_running(buffer).await?;
    let to = buffer.move_row(&from, &to).await?;
    Ok(Json(Moved { to: key_to_json(schema, &RowKey::new(schema, &to)?)? }))
}
