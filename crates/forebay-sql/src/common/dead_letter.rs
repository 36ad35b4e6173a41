//! Rows that a table refused. They are kept for people, and for a replay.

use forebay::{
    Error, ErrorKind, Timestamp,
    buffer::{ColumnType, Row, Schema, Value},
    sink::{DeadLetter, Replayed},
};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::{
    bindings::Parameters,
    datetime,
    ddl::DEAD_LETTERS,
    dialect::Dialect,
    key::{parse_key, stored_key},
    transaction::{Checked, Transaction, texts},
    work::Work,
};

/// How many dead letters one statement inserts.
const MAX_ROWS_PER_INSERT: usize = 500;

/// A row that the database refused.
#[derive(Debug)]
pub(crate) struct DeadRow {
    /// Its [stored key](stored_key).
    key: String,
    /// Its values as JSON.
    cells: String,
    pub(crate) reason: String,
}

impl DeadRow {
    pub(crate) fn new(schema: &Schema, row: &Row, reason: &str) -> Self {
        // Postgres's text has no NUL.
        Self { key: stored_key(&row.key), cells: cells(schema, row), reason: reason.replace('\0', "\\0") }
    }
}

impl<T: Transaction> Work<'_, T> {
    /// Inserts rows of a batch into the dead letters.
    pub(crate) async fn dead_letter(&mut self, batch: Uuid, rows: &[DeadRow]) -> sqlx::Result<()> {
        let (table, now) = (self.own(DEAD_LETTERS), self.transaction.now());
        for rows in rows.chunks(MAX_ROWS_PER_INSERT) {
            let mut bind = Parameters::<T::Dialect>::new();
            let values = |row: &DeadRow| {
                let (id, buffer) = (bind.uuid(batch), bind.text(self.buffer()));
                let (key, cells, reason) =
                    (bind.text(&*row.key), bind.text(&*row.cells), bind.text(&*row.reason));
                format!("({id}, {buffer}, {key}, {cells}, {reason}, {})", bind.time(Some(now)))
            };
            let values = rows.iter().map(values).collect::<Vec<_>>().join(", ");
            bind.one_off = true;
            let sql = format!("INSERT INTO {table} (gen, buffer, row_key, cells, error, at) VALUES {values}");
            self.execute(sql, bind).await?;
        }
        Ok(())
    }

    /// Reads those of some dead letters of the buffer that exist, in the order of their ids, and locks them until the
    /// transaction ends. A second replay waits, and finds those that are left. A letter that does not fit the buffer has a
    /// reason instead of a row.
    pub(crate) async fn lock_dead(&mut self, ids: &[u64]) -> sqlx::Result<Vec<(u64, Result<Row, String>)>> {
        self.transaction.lock_as_merge(&self.plan).await?;
        let mut bind = Parameters::<T::Dialect>::new();
        // `t.id` is the column. Without `t` it would be the text that is selected.
        let sql = format!(
            "SELECT {}, row_key, cells FROM {} AS t WHERE {} AND buffer = {} ORDER BY t.id{}",
            T::Dialect::cast("id"),
            self.own(DEAD_LETTERS),
            bind.any_id("id", ids),
            bind.text(self.buffer()),
            T::Dialect::LOCK_ROWS,
        );
        let letters = self.query(sql, bind).await?.into_iter().map(|letter| {
            let [id, key, cells] = texts(letter)?;
            let id = id.parse().map_err(|_| sqlx::Error::Decode(format!("{id:?} is no id").into()))?;
            Ok((id, row(self.schema, &key, &cells)))
        });
        letters.collect()
    }

    /// Deletes the dead letters that were applied, and updates the reasons of those that were refused again.
    pub(crate) async fn update_dead(&mut self, replayed: &Replayed) -> sqlx::Result<()> {
        let table = self.own(DEAD_LETTERS);
        let mut bind = Parameters::<T::Dialect>::new();
        let sql = format!("DELETE FROM {table} WHERE {}", bind.any_id("id", &replayed.applied));
        self.execute(sql, bind).await?;
        for (id, reason) in &replayed.refused {
            let mut bind = Parameters::<T::Dialect>::new();
            let reason = bind.text(reason.replace('\0', "\\0"));
            let id = bind.integer(id.cast_signed());
            self.execute(format!("UPDATE {table} SET error = {reason} WHERE id = {id}"), bind).await?;
        }
        Ok(())
    }

    /// Lists at most `limit` dead letters of the buffer with an id above `after`, in the order of their ids.
    pub(crate) async fn list_dead(&mut self, after: u64, limit: u32) -> Checked<Vec<DeadLetter>> {
        let mut bind = Parameters::<T::Dialect>::new();
        let sql = format!(
            "SELECT {}, {}, row_key, cells, error, {}
             FROM {} AS t WHERE buffer = {} AND id > {} ORDER BY t.id LIMIT {limit}",
            T::Dialect::cast("id"),
            T::Dialect::cast("gen"),
            T::Dialect::time_text("at"),
            self.own(DEAD_LETTERS),
            bind.text(self.buffer()),
            bind.integer(i64::try_from(after).unwrap_or(i64::MAX)),
        );
        let rows = self.query(sql, bind).await?.into_iter();
        rows.map(|row| Ok(letter(self.schema, texts(row)?)?)).collect()
    }

    /// Counts the dead letters of the buffer.
    pub(crate) async fn count_dead(&mut self) -> Checked<u64> {
        let mut bind = Parameters::<T::Dialect>::new();
        let (count, table) = (T::Dialect::cast("count(*)"), self.own(DEAD_LETTERS));
        let sql = format!("SELECT {count} FROM {table} WHERE buffer = {}", bind.text(self.buffer()));
        let rows = self.query(sql, bind).await?;
        Ok(rows.into_iter().flatten().flatten().next().and_then(|count| count.parse().ok()).unwrap_or(0))
    }
}

/// The cells of a row, as a JSON object by column. Nothing is lost: a time is RFC 3339 text, or, outside the years that RFC
/// 3339 has, its microseconds.
fn cells(schema: &Schema, row: &Row) -> String {
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

/// Reads a dead letter: its id, batch, key, cells, reason and time.
///
/// # Errors
/// The error of a letter that cannot be read. A letter that does not fit the buffer's definition is no error here: see [`DeadLetter::row`].
fn letter(schema: &Schema, texts: [String; 6]) -> Result<DeadLetter, String> {
    let [id, batch, key, cells, reason, at] = texts;
    let broken = |what: &str| format!("dead letter {id}: its {what} cannot be read");
    let row = row(schema, &key, &cells).map_err(|why| {
        let name = &schema.name;
        let text = format!(
            "dead letter {id} does not fit the definition of buffer {name}: {why}; its key is {key:?}, its values are {cells}"
        );
        Error::new(ErrorKind::Configuration, text)
    });
    Ok(DeadLetter {
        id: id.parse().map_err(|_| broken("id"))?,
        batch: batch.parse().map_err(|_| broken("batch"))?,
        at: datetime::parse(&at).ok_or_else(|| broken("time"))?,
        reason,
        row,
    })
}

/// Reads the row of a dead letter.
///
/// # Errors
/// Why it does not fit the buffer.
fn row(schema: &Schema, stored_key: &str, cells: &str) -> Result<Row, String> {
    let mut row = Row::empty(schema, parse_key(schema, stored_key)?);
    let object: Map<String, Json> = serde_json::from_str(cells).map_err(|error| error.to_string())?;
    for (name, json) in &object {
        let index = schema.position(name).ok_or_else(|| format!("the buffer has no column {name}"))?;
        let column_type = schema.columns[index].column_type;
        let value = value(column_type, json);
        row.cells[index] =
            Some(value.ok_or_else(|| format!("{name} is {json}, which is no {column_type:?}"))?);
    }
    schema.check_named(|index| row.cells[index].is_some()).map_err(|error| error.to_string())?;
    Ok(row)
}

/// Reads the output of [`json`].
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
    use forebay::{
        Buffer,
        buffer::{Merge, RowKey},
    };
    use proptest::prelude::*;
    use std::sync::Arc;

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
            letter(&schema, ["7".into(), batch, key.into(), cells.into(), "why".into(), at])
                .expect("a letter")
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
