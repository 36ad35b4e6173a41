//! `/v1/buffers/{buffer}/dead`: rows that the database refused.

use axum::{Json as Answer, extract::State};
use forebay::{
    buffer::{DeadLetters, Schema},
    sink::{DeadLetter, Replayed},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Admin, Json, Path, Problem, ProblemBody, Query, Shared,
    buffer::check_running,
    fields::Id,
    row::{key_to_json, to_json},
};

/// How many letters one request may name.
const MOST_NAMED: usize = 10_000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list, replay))
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// How many letters at most, 1 to 1 000.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1_000, default = 100)]
    limit: u32,
    /// The id of the last letter of the page before.
    #[serde(default)]
    #[param(default = 0)]
    after: u64,
}

fn hundred() -> u32 {
    100
}

/// A row that the database refused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
struct LetterBody {
    id: u64,
    /// The batch that it was in.
    batch: String,
    /// When it was first refused.
    at: String,
    /// Why it was last refused.
    reason: String,
    /// Which row it is for; null if the letter does not fit the buffer's definition any more.
    row: Option<Map<String, Value>>,
    /// What it would merge; null as `row` is.
    columns: Option<Map<String, Value>>,
    /// Why it does not fit, with what is in it; null if it fits.
    misfit: Option<String>,
}

/// A page of dead letters, in the order of their ids.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetters)]
struct PageBody {
    letters: Vec<LetterBody>,
    /// The `after` of the next page; null if this is the last.
    next: Option<u64>,
}

/// Which letters to replay: `ids`, or `all`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with ids or all")]
struct ReplayRequest {
    /// At most 10 000.
    #[serde(default)]
    ids: Option<Vec<Id>>,
    /// Whatever there is.
    #[serde(default)]
    all: bool,
}

/// What a replay came to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replayed)]
struct ReplayedBody {
    /// Letters whose values are in the database now; they are gone.
    applied: usize,
    /// Letters that were refused again; they stay, with the new reason.
    refused: usize,
    /// Letters that were named and are not there: replayed before, perhaps by somebody else at this moment.
    unknown: usize,
    /// Why the first of the refused was.
    reason: Option<String>,
}

/// The rows of a buffer that the database refused.
#[utoipa::path(
    get,
    path = "/v1/buffers/{buffer}/dead",
    tag = "buffers",
    operation_id = "list_dead",
    params(("buffer" = String, Path, description = "A declared buffer"), PageQuery),
    responses(
        (status = 200, description = "A page of them", body = PageBody),
        (status = "4XX", description = "It was not understood", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"])),
)]
async fn list(
    _: Admin,
    State(app): State<Shared>,
    Path(buffer): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Answer<PageBody>, Problem> {
    let buffer = &app.buffers.find(&buffer)?.handle;
    let letters = buffer.dead_letters(page.after, page.limit).await?;
    let is_full = letters.len() == page.limit as usize;
    let next = letters.last().map(|letter| letter.id).filter(|_| is_full);
    let letters = letters.into_iter().map(|letter| LetterBody::of(buffer.schema(), letter));
    Ok(Answer(PageBody { letters: letters.collect::<Result<_, _>>()?, next }))
}

/// Merges dead letters into their rows, after what was in their way has been mended. Each counts once, also when several
/// replay at once.
#[utoipa::path(
    post,
    path = "/v1/buffers/{buffer}/dead",
    tag = "buffers",
    operation_id = "replay_dead",
    params(("buffer" = String, Path, description = "A declared buffer")),
    request_body = ReplayRequest,
    responses(
        (status = 200, description = "What became of them; what was applied is committed", body = ReplayedBody),
        (status = "4XX", description = "It was not understood; 409: the buffer is paused", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The database does not answer; what was applied so far stays so, and asking again does the rest", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"])),
)]
async fn replay(
    _: Admin,
    State(app): State<Shared>,
    Path(buffer): Path<String>,
    Json(request): Json<ReplayRequest>,
) -> Result<Answer<ReplayedBody>, Problem> {
    let buffer = &app.buffers.find(&buffer)?.handle;
    let (which, named) = request.which()?;
    check_running(buffer).await?;
    let Replayed { applied, refused } = buffer.replay_dead(which).await?;
    let (applied, reason) = (applied.len(), refused.first().map(|(_, why)| why.clone()));
    let refused = refused.len();
    let unknown = named.map_or(0, |named| named.saturating_sub(applied + refused));
    Ok(Answer(ReplayedBody { applied, refused, unknown, reason }))
}

impl ReplayRequest {
    /// Which letters, and how many different ones are named.
    fn which(self) -> Result<(DeadLetters, Option<usize>), Problem> {
        match (self.ids, self.all) {
            (None, true) => Ok((DeadLetters::All, None)),
            (Some(ids), false) => {
                if ids.len() > MOST_NAMED {
                    let detail = format!("ids: {} of them, at most {MOST_NAMED} are accepted", ids.len());
                    return Err(Problem::field("ids", detail));
                }
                let mut ids: Vec<u64> = ids.into_iter().map(|Id(id)| id).collect();
                ids.sort_unstable();
                ids.dedup();
                let named = ids.len();
                Ok((DeadLetters::Ids(ids), Some(named)))
            }
            _ => Err(Problem::field("ids", "either \"ids\":[..] or \"all\":true says which letters")),
        }
    }
}

impl LetterBody {
    fn of(schema: &Schema, letter: DeadLetter) -> Result<Self, Problem> {
        let DeadLetter { id, batch, at, reason, row } = letter;
        let (row, columns, misfit) = match row {
            Ok(row) => {
                let mut columns = to_json(schema, &row.cells);
                columns.retain(|_, value| !value.is_null());
                (Some(key_to_json(schema, &row.key)?), Some(columns), None)
            }
            Err(error) => (None, None, Some(error.to_string())),
        };
        Ok(Self { id, batch: batch.to_string(), at: at.to_string(), reason, row, columns, misfit })
    }
}
