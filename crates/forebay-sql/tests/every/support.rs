//! Batches, and the results of applying them.

use std::sync::Arc;

use forebay::{
    Buffer, Timestamp,
    buffer::{Row, RowKey, Schema, Value},
    sink::{Applied, Batch, Sink, SinkError},
};
use uuid::Uuid;

/// The buffer of the README.
pub(crate) fn projects() -> Arc<Schema> {
    Buffer::new("projects").key("id").sum("hits").max("last_seen").build().expect("a valid buffer")
}

pub(crate) fn row(schema: &Schema, key: impl Into<Value>, cells: impl Into<Box<[Option<Value>]>>) -> Row {
    let key = RowKey::new(schema, &[key.into()]).expect("a valid key");
    Row { key, cells: cells.into() }
}

/// A row of [`projects`].
pub(crate) fn hits(schema: &Schema, id: &str, hits: i64, at: Timestamp) -> Row {
    row(schema, id, [Some(hits.into()), Some(at.into())])
}

/// A batch with an id of its own.
pub(crate) fn batch(schema: &Arc<Schema>, rows: Vec<Row>) -> Batch {
    Batch::new(Uuid::now_v7(), schema.clone(), 0, rows)
}

/// The message of an error that no retry resolves.
pub(crate) fn permanent(result: Result<impl std::fmt::Debug, SinkError>) -> String {
    match result {
        Err(SinkError::Permanent(error)) => error.to_string(),
        other => panic!("not a permanent refusal: {other:?}"),
    }
}

/// Applies one new batch.
pub(crate) async fn apply(sink: &Arc<dyn Sink>, schema: &Arc<Schema>, rows: Vec<Row>) -> Applied {
    sink.apply(&batch(schema, rows)).await.expect("applied")
}

pub(crate) const NOON: Timestamp = Timestamp::from_secs(1_767_268_800);
