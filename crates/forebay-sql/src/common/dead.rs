//! Rows that could not be applied, as they are kept: for people, and for a replay.

use forebay::{
    Error, ErrorKind, Timestamp,
    buffer::{ColumnType, Row, RowKey, Schema, Value},
    sink::DeadLetter,
};
use serde_json::{Map, Value as Json};

use super::datetime;

/// A dead letter as a query answers it: id, batch, key, cells, reason, time.
pub(crate) type Line = (i64, String, String, String, String, String);

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

/// A row's key as the tables beside it keep it. Text in Postgres has no NUL; in a row's key any other `%` is followed by
/// `25` or `7C`.
pub(crate) fn stored_key(key: &RowKey) -> String {
    key.as_str().replace('\0', "%00")
}

/// Reads what [`stored_key`] wrote.
///
/// # Errors
/// Why it is no key of the buffer.
pub(crate) fn key(schema: &Schema, stored: &str) -> Result<RowKey, String> {
    RowKey::parse(schema, &stored.replace("%00", "\0")).map_err(|error| error.to_string())
}

/// Reads a dead letter.
///
/// # Errors
/// What in it cannot be read. That it does not fit the buffer's definition is not one: see [`DeadLetter::row`].
pub(crate) fn letter(schema: &Schema, line: Line) -> Result<DeadLetter, String> {
    let (id, batch, key, cells, reason, at) = line;
    let broken = |what: &str| format!("dead letter {id}: its {what} cannot be read");
    let row = row(schema, &key, &cells).map_err(|why| {
        let name = &schema.name;
        let text = format!(
            "dead letter {id} does not fit the definition of buffer {name}: {why}; its key is {key:?}, its values are {cells}"
        );
        Error::new(ErrorKind::Configuration, text)
    });
    Ok(DeadLetter {
        id: u64::try_from(id).map_err(|_| broken("id"))?,
        batch: batch.parse().map_err(|_| broken("batch"))?,
        at: datetime::parse(&at).ok_or_else(|| broken("time"))?,
        reason,
        row,
    })
}

/// The row of a dead letter.
///
/// # Errors
/// Why it does not fit the buffer.
pub(crate) fn row(schema: &Schema, stored_key: &str, cells: &str) -> Result<Row, String> {
    let mut row = Row::empty(schema, key(schema, stored_key)?);
    let object: Map<String, Json> = serde_json::from_str(cells).map_err(|error| error.to_string())?;
    for (name, json) in &object {
        let place = schema.position(name).ok_or_else(|| format!("the buffer has no column {name}"))?;
        let column_type = schema.columns[place].column_type;
        let value = value(column_type, json);
        row.cells[place] =
            Some(value.ok_or_else(|| format!("{name} is {json}, which is no {column_type:?}"))?);
    }
    schema.check_named(|place| row.cells[place].is_some()).map_err(|error| error.to_string())?;
    Ok(row)
}

/// Reads what [`json`] wrote.
fn value(column_type: ColumnType, json: &Json) -> Option<Value> {
    match (column_type, json) {
        (ColumnType::Integer, Json::Number(n)) => n.as_i64().map(Value::Integer),
        (ColumnType::Timestamp, Json::Number(n)) => {
            n.as_i64().map(|micros| Value::Timestamp(Timestamp::from_micros(micros)))
        }
        (ColumnType::Timestamp, Json::String(text)) => text.parse().ok().map(Value::Timestamp),
        (_, Json::String(text)) => Value::from_text(column_type, text).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use forebay::{Buffer, buffer::Merge};
    use proptest::prelude::*;
    use std::sync::Arc;
    use uuid::Uuid;

    use super::*;

    fn schema() -> Arc<Schema> {
        let of = |buffer: Buffer, name: &str, column_type| buffer.column(name, Merge::Max, column_type);
        let schema = Buffer::new("p").key("id").key_of("n", ColumnType::Integer).sum("hits").max("at");
        of(of(schema, "word", ColumnType::Text), "who", ColumnType::Uuid).build().expect("valid")
    }

    proptest! {
        #[test]
        fn a_row_is_read_back_with_nothing_lost(
            id in "(.|\0|%|\\|){1,20}", n in any::<i64>(), hits in proptest::option::of(any::<i64>()),
            at in proptest::option::of(any::<i64>()), word in proptest::option::of("(.|\0|\"|\\\\){0,9}"),
            who in proptest::option::of(any::<u128>()),
        ) {
            let schema = schema();
            let key = RowKey::new(&schema, &[id.into(), n.into()]).expect("a key");
            let cells = [
                hits.map(Value::from),
                at.map(|at| Timestamp::from_micros(at).into()),
                word.map(Value::from),
                who.map(|who| Uuid::from_u128(who).into()),
            ];
            let row = Row { key, cells: cells.into() };
            let stored = (stored_key(&row.key), super::cells(&schema, &row));
            prop_assert!(!stored.0.contains('\0') && !stored.1.contains('\0'));
            prop_assert_eq!(super::row(&schema, &stored.0, &stored.1), Ok(row));
        }
    }

    #[test]
    fn extremes_and_moments_are_kept() {
        let schema = schema();
        for (hits, at) in [
            (i64::MIN, Timestamp::from_micros(i64::MIN)),
            (i64::MAX, Timestamp::from_micros(i64::MAX)),
            (-1, "0000-01-01T00:00:00.000001Z".parse().expect("a time")),
            (0, "9999-12-30T22:00:00.999999Z".parse().expect("a time")),
        ] {
            let key = RowKey::new(&schema, &["a".into(), 1.into()]).expect("a key");
            let row = Row { key, cells: [Some(hits.into()), Some(at.into()), None, None].into() };
            assert_eq!(super::row(&schema, "a|1", &cells(&schema, &row)), Ok(row));
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let schema = schema();
        let line = |key: &str, cells: &str| {
            let [batch, at] = [Uuid::nil().to_string(), "2026-01-01 00:00:00.5".into()];
            letter(&schema, (7, batch, key.into(), cells.into(), "why".into(), at)).expect("a letter")
        };
        assert!(line("a|1", r#"{"hits":1}"#).row.is_ok());
        for (key, cells, why) in [
            ("a", r#"{"hits":1}"#, "does not fit the key columns"),
            ("a|1", r#"{"gone":1}"#, "no column gone"),
            ("a|1", r#"{"hits":"x"}"#, "no Integer"),
            ("a|1", r#"{"hits":1.5}"#, "no Integer"),
            ("a|1", "hits", "expected"),
        ] {
            let error = line(key, cells).row.expect_err(cells).to_string();
            assert!(error.contains(why) && error.contains("dead letter 7"), "{error}");
        }
    }
}
