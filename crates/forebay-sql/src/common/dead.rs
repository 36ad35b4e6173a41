//! The values of a row that could not be applied, for people and for a replay.

use forebay::buffer::{Row, Schema, Value};
use serde_json::{Map, Value as Json};

use super::datetime;

/// The cells that were written, as a JSON object by column. Nothing is lost: a time is RFC 3339 text, or, outside the
/// years that has, its microseconds.
pub(crate) fn cells(schema: &Schema, row: &Row) -> String {
    let mut object = Map::new();
    for (column, cell) in schema.columns.iter().zip(&row.cells) {
        if let Some(value) = cell {
            object.insert(column.name.to_string(), json(value));
        }
    }
    Json::Object(object).to_string()
}

fn json(value: &Value) -> Json {
    match value {
        Value::Integer(n) => (*n).into(),
        Value::Timestamp(at) if datetime::text(*at).is_none() => at.as_micros().into(),
        Value::Timestamp(at) => at.to_string().into(),
        other => other.to_text().into(),
    }
}
