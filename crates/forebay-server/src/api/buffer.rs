//! Bodies of `/v1/buffers`.

use forebay::{
    Name,
    buffer::{BufferHandle, Parked, Pressure, Stats},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{cells::Cells, fields::Id};

/// A write to a row.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with row and columns")]
pub(crate) struct WriteRequest {
    /// Every key column.
    pub(crate) row: Cells,
    /// The values to merge. Columns that are not named stay as they are.
    pub(crate) columns: Cells,
}

/// The pending and the final state of a row.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RowState {
    /// The values that are not in the database yet, by column; null where nothing is pending.
    pub(crate) pending: Map<String, Value>,
    /// The values after the next flush, by column; null where nothing was ever written.
    pub(crate) value: Map<String, Value>,
    /// Present and true if a host of several did not answer: writes that it holds are missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) partial: bool,
}

/// The state of a buffer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BufferStats {
    /// Rows that are not in the database yet.
    pub(crate) pending_rows: u64,
    /// Age in seconds of the oldest pending row.
    pub(crate) oldest_age: f64,
    /// Batches that are being flushed.
    pub(crate) frozen_batches: u64,
    /// Dead letters in the database, from any server; null if the database does not answer within 2 s.
    pub(crate) dead_rows: Option<u64>,
    /// Present and true if a host of several did not answer: its rows count as it answered last.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) partial: bool,
    /// True while flushing is paused.
    pub(crate) paused: bool,
    /// Pending rows compared with the configured bounds: `none`, `soft` (an operator should look) or `hard` (writes are refused).
    pub(crate) pressure: &'static str,
    /// Batches that this process has parked. They stay in the store until their reason is removed.
    pub(crate) parked: Vec<ParkedBatch>,
    /// The reason why the last flush failed; null after a flush that succeeded.
    pub(crate) last_error: Option<String>,
}

/// A parked batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ParkedBatch {
    /// Its id, as in the ledger.
    id: String,
    partition: u16,
    rows: u64,
    /// The reason why it cannot be applied, and the remedy.
    reason: String,
}

/// Tells whether the flushing of a buffer is paused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Paused {
    pub(crate) paused: bool,
}

/// A buffer of the configuration.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Buffer)]
pub(crate) struct BufferBody {
    /// Its name.
    pub(crate) name: String,
    /// The table that it flushes to.
    table: String,
    /// The columns that identify a row.
    key: Vec<String>,
    /// The value columns.
    columns: Vec<String>,
}

/// The result of a flush.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Flushed {
    pub(crate) rows: u64,
}

/// A row to move, and its target.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with from and to")]
pub(crate) struct MoveRequest {
    /// Every key column of the row that goes.
    pub(crate) from: Cells,
    /// Every key column of the row that stays.
    pub(crate) to: Cells,
}

/// The result of a move.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Moved {
    /// The key columns of the row that has the values now: `to`, or the row that `to` was itself moved to.
    pub(crate) to: Map<String, Value>,
}

/// A row that the database refused.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(crate) struct LetterBody {
    pub(crate) id: u64,
    /// The batch that it was in.
    pub(crate) batch: String,
    /// The time at which it was first refused.
    pub(crate) at: String,
    /// The reason why it was last refused.
    pub(crate) reason: String,
    /// The key of the row; null if the letter does not fit the buffer's definition any more.
    pub(crate) row: Option<Map<String, Value>>,
    /// The values to merge; null where `row` is null.
    pub(crate) columns: Option<Map<String, Value>>,
    /// The reason why it does not fit, with its content; null if it fits.
    pub(crate) misfit: Option<String>,
}

/// A page of dead letters, by id.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = DeadLetters)]
pub(crate) struct PageBody {
    pub(crate) letters: Vec<LetterBody>,
    /// The `after` of the next page; null on the last page.
    pub(crate) next: Option<u64>,
}

/// The dead letters to replay: `ids`, or `all`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with ids or all")]
pub(crate) struct ReplayRequest {
    /// At most 10 000.
    #[serde(default)]
    pub(crate) ids: Option<Vec<Id>>,
    /// All dead letters of the buffer.
    #[serde(default)]
    pub(crate) all: bool,
}

/// The result of a replay.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Replayed)]
pub(crate) struct ReplayedBody {
    /// Letters that are in the database now; they are deleted.
    pub(crate) applied: usize,
    /// Letters that were refused again; they stay, with the new reason.
    pub(crate) refused: usize,
    /// Ids without a letter: replayed before, perhaps by another caller at the same time.
    pub(crate) unknown: usize,
    /// The reason why the first of the refused letters was refused.
    pub(crate) reason: Option<String>,
}

impl BufferBody {
    pub(crate) fn new(name: &Name, buffer: &BufferHandle) -> Self {
        let schema = buffer.schema();
        Self {
            name: name.to_string(),
            table: schema.table.to_string(),
            key: schema.keys.iter().map(|column| column.name.to_string()).collect(),
            columns: schema.columns.iter().map(|column| column.name.to_string()).collect(),
        }
    }
}

impl BufferStats {
    pub(crate) fn new(stats: Stats, dead_rows: Option<u64>) -> Self {
        Self {
            pending_rows: stats.pending_rows,
            oldest_age: stats.oldest_age.as_secs_f64(),
            frozen_batches: stats.frozen_batches,
            dead_rows,
            partial: stats.partial,
            paused: stats.paused,
            pressure: match stats.pressure {
                Pressure::None => "none",
                Pressure::Soft => "soft",
                Pressure::Hard => "hard",
            },
            parked: stats.parked.into_iter().map(ParkedBatch::from).collect(),
            last_error: stats.last_error,
        }
    }
}

impl From<Parked> for ParkedBatch {
    fn from(parked: Parked) -> Self {
        let Parked { id, partition, rows, reason, .. } = parked;
        Self { id: id.to_string(), partition, rows, reason }
    }
}
