//! `/v1/buffers/{buffer}/dead`: rows that the database refused.

use forebay::{
    buffer::{DeadLetters, Schema},
    sink::{DeadLetter, Replayed},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, Json, JsonResult, Path, Problem, Query,
    buffer::check_running,
    row::{key_to_json, to_json},
};
use crate::{
    api::{
        buffer::{LetterBody, PageBody, ReplayRequest, ReplayedBody},
        fields::Id,
    },
    app::Shared,
};

/// The number of ids in one request.
const MAX_IDS: usize = 10_000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, replay))
}

/// The query of a page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// The number of letters, 1 to 1 000.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1_000, default = 100)]
    limit: u32,
    /// The id of the last letter of the previous page.
    #[serde(default)]
    #[param(default = 0)]
    after: u64,
}

fn hundred() -> u32 {
    100
}

/// The rows of a buffer that the database refused.
#[utoipa::path(
    get, path = "/v1/buffers/{buffer}/dead", operation_id = "list_dead", params(PageQuery),
    responses(
        (status = 200, description = "A page of dead letters", body = PageBody),
        (status = 503, description = "The database does not answer"),
    ),
    security(("token" = ["admin"])),
)]
async fn list(
    Admin(app): Admin,
    Path(buffer): Path<String>,
    Query(page): Query<PageQuery>,
) -> JsonResult<PageBody> {
    let buffer = &app.buffers.find(&buffer)?.handle;
    let letters = buffer.dead_letters(page.after, page.limit).await?;
    let is_full = letters.len() == page.limit as usize;
    let next = letters.last().map(|letter| letter.id).filter(|_| is_full);
    let letters = letters.into_iter().map(|letter| body(buffer.schema(), letter));
    Ok(Json(PageBody { letters: letters.collect::<Result<_, _>>()?, next }))
}

/// Merges dead letters into their rows, after their reason was removed. Each letter counts once, also if several callers
/// replay at the same time.
#[utoipa::path(
    post, path = "/v1/buffers/{buffer}/dead", operation_id = "replay_dead", security(("token" = ["admin"])),
    responses(
        (status = 200, description = "The result; applied letters are committed", body = ReplayedBody),
        (status = "4XX", description = "409: the buffer is paused"),
        (status = 503, description = "The database does not answer; the letters applied so far stay applied, and a repeat applies the rest"),
    ),
)]
async fn replay(
    Admin(app): Admin,
    Path(buffer): Path<String>,
    Json(request): Json<ReplayRequest>,
) -> JsonResult<ReplayedBody> {
    let buffer = &app.buffers.find(&buffer)?.handle;
    let (which, named) = letters(request)?;
    check_running(buffer).await?;
    let Replayed { applied, refused } = buffer.replay_dead(which).await?;
    let (applied, reason) = (applied.len(), refused.first().map(|(_, why)| why.clone()));
    let refused = refused.len();
    let unknown = named.map_or(0, |named| named.saturating_sub(applied + refused));
    Ok(Json(ReplayedBody { applied, refused, unknown, reason }))
}

/// The letters to replay, and how many different ones are named.
fn letters(request: ReplayRequest) -> Result<(DeadLetters, Option<usize>), Problem> {
    match (request.ids, request.all) {
        (None, true) => Ok((DeadLetters::All, None)),
        (Some(ids), false) => {
            if ids.len() > MAX_IDS {
                let detail = format!("ids: {} of them, at most {MAX_IDS} are accepted", ids.len());
                return Err(Problem::field("ids", detail));
            }
            let mut ids: Vec<u64> = ids.into_iter().map(|Id(id)| id).collect();
            ids.sort_unstable();
            ids.dedup();
            let named = ids.len();
            Ok((DeadLetters::Ids(ids), Some(named)))
        }
        _ => Err(Problem::field("ids", "one of \"ids\":[..] and \"all\":true is needed")),
    }
}

fn body(schema: &Schema, letter: DeadLetter) -> Result<LetterBody, Problem> {
    let DeadLetter { id, batch, at, reason, row } = letter;
    let (row, columns, misfit) = match row {
        Ok(row) => {
            let mut columns = to_json(schema, &row.cells);
            columns.retain(|_, value| !value.is_null());
            (Some(key_to_json(schema, &row.key)?), Some(columns), None)
        }
        Err(error) => (None, None, Some(error.to_string())),
    };
    Ok(LetterBody { id, batch: batch.to_string(), at: at.to_string(), reason, row, columns, misfit })
}
