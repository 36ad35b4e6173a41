//! `/v1/buffers/{buffer}/move`: merges a row into another one.

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

/// Merges a row into another one, column by column as writes merge, and removes it. Pending and later writes to it go to the
/// other row.
#[utoipa::path(
    post, path = "/v1/buffers/{buffer}/move", security(("token" = ["admin"])),
    responses(
        (status = 200, description = "Moved and committed; a repeat changes nothing", body = Moved),
        (status = "4XX", description = "409: the buffer is paused; 422: the table does not accept it (a sum would exceed its column, the target row does not exist, the row was moved to another one), and nothing has changed"),
        (status = 503, description = "The database does not answer; repeating is safe"),
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
