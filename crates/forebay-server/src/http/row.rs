//! Rows of a buffer: from JSON and to JSON.

use forebay::buffer::{BufferHandle, Column, ColumnType, KeyColumn, Row, RowKey, Schema, Value};
use serde::Deserialize as _;
use serde_json::Map;

use super::Problem;
use crate::{
    api::{
        cells::Cells,
        fields::{At, integer},
    },
    text::{quoted, unknown},
};

/// The values of a row's key, in the order of the key columns.
pub(super) fn key_of(schema: &Schema, row: &Cells) -> Result<Vec<Value>, Problem> {
    let known = || schema.keys.iter().map(|key| &*key.name);
    if let Some((column, _)) = row.0.iter().find(|(column, _)| !known().any(|key| key == column)) {
        let field = format!("row.{column}");
        return Err(Problem::field(&field, format!("row: {}", unknown("key column", column, known()))));
    }
    let cell = |key: &KeyColumn| {
        let field = format!("row.{}", key.name);
        match row.0.iter().find(|(column, _)| *column == *key.name) {
            Some((_, value)) => read(&field, key.column_type, value),
            None => Err(Problem::field(&field, format!("row: lacks the key column {}", key.name))),
        }
    };
    schema.keys.iter().map(cell).collect()
}

/// The write that a request describes.
pub(super) fn row(buffer: &BufferHandle, key: &Cells, columns: &Cells) -> Result<Row, Problem> {
    let schema = buffer.schema();
    let mut write = buffer.row_of(key_of(schema, key)?);
    for (column, value) in &columns.0 {
        let field = format!("columns.{column}");
        let Some(place) = schema.position(column) else {
            let known = schema.columns.iter().map(|column| &*column.name);
            return Err(Problem::field(&field, format!("columns: {}", unknown("column", column, known))));
        };
        write = write.merge(column, read(&field, schema.columns[place].column_type, value)?);
    }
    Ok(write.into_row()?)
}

fn read(field: &str, column_type: ColumnType, value: &serde_json::Value) -> Result<Value, Problem> {
    use serde_json::Value as Json;
    match (column_type, value) {
        (ColumnType::Integer, Json::Number(n)) => {
            n.as_i64().or_else(|| n.as_f64().and_then(integer)).map(Value::Integer)
        }
        (ColumnType::Integer | ColumnType::Uuid, Json::String(text)) => {
            Value::from_text(column_type, text).ok()
        }
        (ColumnType::Text, Json::String(text)) => Some(Value::Text(text.as_str().into())),
        (ColumnType::Text, Json::Number(n)) if !n.is_f64() => Some(Value::Text(n.to_string().into())),
        (ColumnType::Text, Json::Number(n)) => {
            n.as_f64().and_then(integer).map(|n| Value::Text(n.to_string().into()))
        }
        (ColumnType::Timestamp, value) => At::deserialize(value).ok().map(|At(at)| Value::Timestamp(at)),
        _ => None,
    }
    .ok_or_else(|| {
        let accepted = match column_type {
            ColumnType::Integer => "an integer from -2^63 to 2^63-1",
            ColumnType::Text => "a string",
            ColumnType::Uuid => "a UUID",
            _ => "a time, RFC 3339 or seconds since 1970,",
        };
        let found = quoted(&value.to_string());
        Problem::field(field, format!("{field}: {found}, where {accepted} is accepted"))
    })
}

/// The cells of a query, by column.
pub(super) fn cells_of_query(pairs: Vec<(String, String)>) -> Result<Cells, Problem> {
    let mut cells: Vec<(String, serde_json::Value)> = vec![];
    for (column, value) in pairs {
        if cells.iter().any(|(other, _)| *other == column) {
            return Err(Problem::field(&column, format!("query: column {} is given twice", quoted(&column))));
        }
        cells.push((column, value.into()));
    }
    Ok(Cells(cells))
}

/// The value columns as JSON; null where nothing was written.
pub(super) fn to_json(schema: &Schema, cells: &[Option<Value>]) -> Map<String, serde_json::Value> {
    let cell = |(column, cell): (&Column, &Option<Value>)| {
        (column.name.to_string(), cell.as_ref().map_or(serde_json::Value::Null, value_to_json))
    };
    schema.columns.iter().zip(cells).map(cell).collect()
}

/// The key columns as JSON, in the form of a write.
pub(super) fn key_to_json(schema: &Schema, key: &RowKey) -> Result<Map<String, serde_json::Value>, Problem> {
    let values = key.values(schema)?;
    let named = schema.keys.iter().zip(&values);
    Ok(named.map(|(column, value)| (column.name.to_string(), value_to_json(value))).collect())
}

fn value_to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Integer(n) => (*n).into(),
        Value::Timestamp(at) => at.to_string().into(),
        other => other.to_text().into(),
    }
}
