//! Conversion of values to the columns that a SQLite table really has.
//!
//! | buffer | declared as | kept as |
//! |---|---|---|
//! | integer | `INT…`, `NUMERIC`, any name SQLite does not know, nothing | integer |
//! | integer, in a key | `TEXT`, `CHAR…` | its decimal text |
//! | text | `TEXT`, `CHAR…`, nothing | text |
//! | text, in a key | `INT…` | the integer it spells; other texts are refused |
//! | timestamp | `DATETIME…`, `TIMESTAMP…`, `TEXT`, `CHAR…`, nothing | UTC text of fixed width |
//! | timestamp, not in a key | `INT…` | seconds since 1970 |
//! | UUID | `TEXT`, `CHAR…`, `UUID`, nothing | lower case text with hyphens; without if declared for 32 characters |
//! | UUID | `BLOB…`, `…BINARY…` | its 16 bytes |

use forebay::{
    Timestamp,
    buffer::{ColumnType, Value},
};

use crate::common::{
    codec::{Cell, ColumnCodec, canonical_integer},
    datetime,
    table::TableColumn,
};

/// Converts the values of one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SqliteCodec {
    Integer,
    IntegerAsText,
    Text,
    TextAsInteger,
    DateTime,
    Seconds,
    Uuid,
    UuidDigits,
    UuidBytes,
}

/// SQLite's reading of a declared type, <https://www.sqlite.org/datatype3.html#determination_of_column_affinity>.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

fn affinity(declared: &str) -> Affinity {
    let has = |parts: &[&str]| parts.iter().any(|part| declared.contains(part));
    if has(&["INT"]) {
        Affinity::Integer
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Affinity::Text
    } else if has(&["BLOB"]) {
        Affinity::Blob
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

impl ColumnCodec for SqliteCodec {
    fn for_column(column_type: ColumnType, column: &TableColumn, key: bool) -> Option<Self> {
        Self::of_declared(column_type, &column.declared, key)
    }

    fn encode(&self, value: &Value) -> Result<Cell, String> {
        Ok(match (self, value) {
            (Self::Integer, Value::Integer(n)) => Cell::Integer(*n),
            (Self::TextAsInteger, Value::Text(text)) => Cell::Integer(canonical_integer(text)?),
            (Self::Seconds, Value::Timestamp(at)) => Cell::Integer(at.as_secs()),
            (Self::DateTime, Value::Timestamp(at)) => {
                let text = datetime::text(*at);
                Cell::Text(text.ok_or_else(|| format!("{at} is outside the years 0 to 9999"))?)
            }
            (Self::UuidDigits, Value::Uuid(id)) => Cell::Text(id.simple().to_string()),
            (Self::UuidBytes, Value::Uuid(id)) => Cell::Bytes(id.as_bytes().to_vec()),
            (Self::IntegerAsText | Self::Text | Self::Uuid, value) => Cell::Text(value.to_text()),
            (codec, value) => return Err(format!("a {:?} does not go into {codec:?}", value.column_type())),
        })
    }

    /// The type of the stored value, which may be any, and its text.
    fn selected(&self, column: &str) -> String {
        format!(
            "typeof({column}) || ' ' || CASE typeof({column}) WHEN 'blob' THEN hex({column}) ELSE CAST({column} AS TEXT) END"
        )
    }

    fn decode(&self, text: &str, _: ColumnType) -> Option<Value> {
        let (stored, text) = text.split_once(' ').filter(|(stored, _)| *stored == self.storage())?;
        match stored {
            "integer" => Some(self.of_integer(text.parse().ok()?)),
            "blob" => text.parse().ok().map(Value::Uuid),
            _ => self.of_text(text),
        }
    }

    /// An application may have written RFC 3339, and a column may compare texts without regard to case.
    fn compared(&self, new: &str, than: &str, old: &str) -> String {
        match self {
            Self::DateTime => format!("{new} {than} replace(rtrim({old}, 'Z'), 'T', ' ')"),
            Self::Text => format!("{new} {than} {old} COLLATE BINARY"),
            _ => format!("{new} {than} {old}"),
        }
    }

    /// Texts have to be the same bytes: in a column that ignores case two rows of one batch could match one row of the
    /// table, and an update then takes only one of them. The plain comparison is for the index.
    fn same(&self, column: &str, incoming: &str) -> String {
        let plain = format!("{column} = {incoming}");
        match self {
            Self::Text => format!("{plain} AND {plain} COLLATE BINARY"),
            _ => plain,
        }
    }
}

impl SqliteCodec {
    /// The codec for values of `column_type` in a column declared as `declared`; `None` if none is safe.
    fn of_declared(column_type: ColumnType, declared: &str, key: bool) -> Option<Self> {
        let declared = declared.to_ascii_uppercase();
        let is = |parts: &[&str]| parts.iter().any(|part| declared.contains(part));
        let untyped = declared.is_empty();
        Some(match (column_type, affinity(&declared)) {
            (ColumnType::Integer, Affinity::Integer | Affinity::Numeric) => Self::Integer,
            (ColumnType::Integer, Affinity::Text) if key => Self::IntegerAsText,
            (ColumnType::Text, Affinity::Text) => Self::Text,
            (ColumnType::Text, Affinity::Integer) if key => Self::TextAsInteger,
            (ColumnType::Text, Affinity::Numeric) if untyped => Self::Text,
            (ColumnType::Timestamp, Affinity::Text) => Self::DateTime,
            (ColumnType::Timestamp, Affinity::Numeric) if untyped || is(&["DATETIME", "TIMESTAMP"]) => {
                Self::DateTime
            }
            (ColumnType::Timestamp, Affinity::Integer) if !key => Self::Seconds,
            (ColumnType::Uuid, Affinity::Text) if is(&["(32)"]) => Self::UuidDigits,
            (ColumnType::Uuid, Affinity::Text) => Self::Uuid,
            (ColumnType::Uuid, Affinity::Numeric) if untyped || is(&["UUID"]) => Self::Uuid,
            (ColumnType::Uuid, Affinity::Blob) => Self::UuidBytes,
            (ColumnType::Uuid, Affinity::Numeric) if is(&["BINARY"]) => Self::UuidBytes,
            _ => return None,
        })
    }

    /// SQLite's `typeof` for the values it writes.
    pub(super) fn storage(self) -> &'static str {
        match self {
            Self::Integer | Self::TextAsInteger | Self::Seconds => "integer",
            Self::UuidBytes => "blob",
            _ => "text",
        }
    }

    fn of_integer(self, n: i64) -> Value {
        match self {
            Self::TextAsInteger => Value::from(n.to_string()),
            Self::Seconds => Value::Timestamp(Timestamp::from_secs(n)),
            _ => Value::Integer(n),
        }
    }

    fn of_text(self, text: &str) -> Option<Value> {
        match self {
            Self::IntegerAsText => text.parse().ok().map(Value::Integer),
            Self::DateTime => datetime::parse(text).map(Value::Timestamp),
            Self::Uuid | Self::UuidDigits => text.parse().ok().map(Value::Uuid),
            _ => Some(Value::from(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_decide_the_form() {
        let value = |column_type, declared| SqliteCodec::of_declared(column_type, declared, false);
        let key = |column_type, declared| SqliteCodec::of_declared(column_type, declared, true);
        assert_eq!(value(ColumnType::Integer, "bigint unsigned"), Some(SqliteCodec::Integer));
        assert_eq!(value(ColumnType::Integer, ""), Some(SqliteCodec::Integer));
        assert_eq!(value(ColumnType::Integer, "REAL"), None);
        assert_eq!(value(ColumnType::Integer, "TEXT"), None);
        assert_eq!(key(ColumnType::Integer, "varchar(20)"), Some(SqliteCodec::IntegerAsText));
        assert_eq!(key(ColumnType::Text, "INTEGER"), Some(SqliteCodec::TextAsInteger));
        // SQLite makes a number of "007" in a column declared STRING.
        assert_eq!(key(ColumnType::Text, "STRING"), None);
        assert_eq!(value(ColumnType::Timestamp, "timestamp with time zone"), Some(SqliteCodec::DateTime));
        assert_eq!(value(ColumnType::Timestamp, "INTEGER"), Some(SqliteCodec::Seconds));
        assert_eq!(key(ColumnType::Timestamp, "INTEGER"), None);
        assert_eq!(value(ColumnType::Timestamp, "DATE"), None);
        assert_eq!(value(ColumnType::Uuid, "char(32)"), Some(SqliteCodec::UuidDigits));
        assert_eq!(value(ColumnType::Uuid, "BINARY(16)"), Some(SqliteCodec::UuidBytes));
        assert_eq!(value(ColumnType::Uuid, "INTEGER"), None);
    }
}
