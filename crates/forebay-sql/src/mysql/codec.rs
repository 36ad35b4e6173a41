//! Conversion of values to the columns that a MySQL table really has.
//!
//! | buffer | column |
//! |---|---|
//! | integer | the integers, also unsigned; in a key also `VARCHAR`, `CHAR`: its decimal text |
//! | text | `VARCHAR`, `CHAR`, `…TEXT`; in a key also the integers, for texts that spell one |
//! | timestamp | `DATETIME`, `TIMESTAMP`, in UTC, down to the column's precision |
//! | UUID | `BINARY(16)`: its bytes; `UUID`; texts: lower case with hyphens, without if it is for 32 characters |

use std::time::Duration;

use forebay::{
    Timestamp,
    buffer::{ColumnType, Value},
};
use uuid::Uuid;

use crate::common::{
    codec::{Cell, ColumnCodec, canonical_integer},
    datetime,
    table::TableColumn,
};

/// Converts the values of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MySqlCodec {
    Integer,
    Text(Text),
    /// 16 bytes.
    UuidBytes,
    /// MariaDB's own type.
    Uuid,
    /// A time with this number of digits of a second's fraction.
    Time(u32),
}

/// A column of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) collation: String,
    /// In characters.
    max: usize,
    /// It keeps spaces at a text's end, and compares them.
    spaces: bool,
    /// Its values are UUIDs without hyphens.
    digits: bool,
}

/// The digits of a microsecond.
const MICROSECOND_DIGITS: u32 = 6;

impl MySqlCodec {
    /// Parses a column's type, as the catalogue spells it.
    fn declared(declared: &str, collation: Option<&str>, key: bool) -> Option<Self> {
        let declared = declared.to_ascii_lowercase();
        let (name, rest) = declared.split_once(['(', ' ']).unwrap_or((&declared, ""));
        let size = rest.split_once(')').and_then(|(size, _)| size.parse::<usize>().ok());
        Some(match name {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => Self::Integer,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
                let collation = collation?.to_owned();
                let is_binary = collation.contains("nopad") || collation.contains("_0900_");
                let spaces = name != "char" && (is_binary || !key);
                let max = size.unwrap_or(usize::MAX);
                Self::Text(Text { collation, max, spaces, digits: false })
            }
            "binary" if size == Some(16) => Self::UuidBytes,
            "uuid" => Self::Uuid,
            "datetime" | "timestamp" => Self::Time(u32::try_from(size.unwrap_or(0)).ok()?),
            _ => return None,
        })
    }

    fn fits(self, column_type: ColumnType, key: bool) -> Option<Self> {
        match (column_type, self) {
            (ColumnType::Integer, Self::Integer) => Some(Self::Integer),
            (ColumnType::Text, Self::Integer) if key => Some(Self::Integer),
            (ColumnType::Text, Self::Text(text)) => Some(Self::Text(text)),
            (ColumnType::Integer, Self::Text(text)) if key => Some(Self::Text(text)),
            (ColumnType::Uuid, Self::Text(text)) if text.max >= 32 => {
                Some(Self::Text(Text { digits: text.max < 36, ..text }))
            }
            (ColumnType::Uuid, codec @ (Self::UuidBytes | Self::Uuid)) => Some(codec),
            // With less precision, two keys of the buffer could be one row.
            (ColumnType::Timestamp, Self::Time(digits)) if !key || digits == MICROSECOND_DIGITS => {
                Some(Self::Time(digits))
            }
            _ => None,
        }
    }

    /// The type of its column in the JSON that a statement binds.
    pub(super) fn json(&self) -> String {
        match self {
            Self::Integer => "BIGINT".into(),
            Self::Text(text) => {
                let kind = if text.is_long() { "LONGTEXT" } else { "VARCHAR(1024)" };
                format!("{kind} CHARACTER SET {} COLLATE {}", text.charset(), text.collation)
            }
            _ => "VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin".into(),
        }
    }

    /// An expression that compares as the buffer does: texts byte by byte as UTF-8, UUIDs by their digits.
    fn comparable(&self, value: &str) -> String {
        match self {
            Self::Text(text) if text.charset() == "utf8mb4" => format!("CAST({value} AS BINARY)"),
            Self::Text(_) => format!("CAST(CONVERT({value} USING utf8mb4) AS BINARY)"),
            Self::Uuid => format!("CAST({value} AS CHAR(36))"),
            _ => value.to_owned(),
        }
    }

    /// The column, if it takes different texts of the buffer for one: it ignores case, accents, or more.
    pub(super) fn folds(&self) -> Option<&Text> {
        match self {
            Self::Text(text) if !text.collation.ends_with("_bin") => Some(text),
            _ => None,
        }
    }

    /// Whether it ignores a space at the end of a text.
    pub(super) fn pads(&self) -> bool {
        matches!(self, Self::Text(text) if !text.spaces)
    }
}

impl Text {
    pub(super) fn charset(&self) -> &str {
        self.collation.split('_').next().unwrap_or(&self.collation)
    }

    fn is_long(&self) -> bool {
        self.max > 1_024
    }

    fn encode(&self, text: String) -> Result<Cell, String> {
        let (charset, collation, max) = (self.charset(), &self.collation, self.max);
        let fits = match charset {
            "utf8mb4" => true,
            "utf8mb3" | "utf8" => text.chars().all(|c| c <= '\u{ffff}'),
            _ => text.is_ascii(),
        };
        if !fits {
            return Err(format!(
                "{text:?} has characters that a column of character set {charset} cannot keep"
            ));
        }
        if !self.spaces && text.ends_with(' ') {
            return Err(format!(
                "{text:?} ends in a space, which a column with collation {collation} ignores"
            ));
        }
        if text.chars().count() > max {
            return Err(format!("{text:?} is longer than the {max} characters of its column"));
        }
        Ok(Cell::Text(text))
    }
}

impl ColumnCodec for MySqlCodec {
    fn for_column(column_type: ColumnType, column: &TableColumn, key: bool) -> Option<Self> {
        Self::declared(&column.declared, column.collation.as_deref(), key)?.fits(column_type, key)
    }

    fn encode(&self, value: &Value) -> Result<Cell, String> {
        match (self, value) {
            (Self::Integer, Value::Integer(n)) => Ok(Cell::Integer(*n)),
            (Self::Integer, Value::Text(text)) => canonical_integer(text).map(Cell::Integer),
            (Self::UuidBytes, Value::Uuid(id)) => Ok(Cell::Bytes(id.as_bytes().to_vec())),
            (Self::Uuid, Value::Uuid(id)) => Ok(Cell::Text(id.to_string())),
            (Self::Text(text), Value::Uuid(id)) => text.encode(spelled(*id, text.digits)),
            (Self::Text(text), value) => text.encode(value.to_text()),
            (Self::Time(digits), Value::Timestamp(at)) => time_of(*at, *digits),
            (codec, value) => Err(format!("a {:?} does not go into {codec:?}", value.column_type())),
        }
    }

    fn selected(&self, column: &str) -> String {
        match self {
            Self::UuidBytes => format!("LOWER(HEX({column}))"),
            _ => format!("CAST({column} AS CHAR CHARACTER SET utf8mb4)"),
        }
    }

    fn decode(&self, text: &str, column_type: ColumnType) -> Option<Value> {
        match self {
            Self::Time(_) => datetime::parse(text).map(Value::Timestamp),
            _ if column_type == ColumnType::Uuid => text.parse().ok().map(Value::Uuid),
            _ => Value::from_text(column_type, text).ok(),
        }
    }

    fn typed(&self, incoming: &str) -> String {
        match self {
            Self::UuidBytes => format!("UNHEX({incoming})"),
            Self::Time(_) => format!("CAST({incoming} AS DATETIME(6))"),
            // MariaDB copies a LONGTEXT into a shorter column and does not check its length: 300 bytes into a TINYTEXT
            // become 44 (seen with 10.11). It checks the value of an expression.
            Self::Text(text) if text.is_long() => format!("CONCAT({incoming}, '')"),
            _ => incoming.to_owned(),
        }
    }

    fn compared(&self, new: &str, than: &str, old: &str) -> String {
        format!("{} {than} {}", self.comparable(new), self.comparable(old))
    }

    /// The plain comparison is for the index. Where the column folds texts, they also have to be the same bytes.
    fn same(&self, column: &str, incoming: &str) -> String {
        let plain = format!("{column} = {}", self.typed(incoming));
        match self.folds() {
            Some(_) => format!("{plain} AND {}", self.compared(column, "=", incoming)),
            None => plain,
        }
    }
}

fn spelled(id: Uuid, digits: bool) -> String {
    if digits { id.simple().to_string() } else { id.to_string() }
}

/// Encodes a time in UTC, rounded down to the column's precision. The database itself would round up.
fn time_of(at: Timestamp, digits: u32) -> Result<Cell, String> {
    let unit = 10_i64.pow(MICROSECOND_DIGITS.saturating_sub(digits));
    let late = u64::try_from(at.as_micros().rem_euclid(unit)).expect("a remainder is not negative");
    let text = datetime::text(at.minus(Duration::from_micros(late)));
    text.map(Cell::Text).ok_or_else(|| format!("{at} is outside the years 0 to 9999"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(column_type: ColumnType, declared: &str, key: bool) -> Option<MySqlCodec> {
        MySqlCodec::declared(declared, Some("utf8mb4_bin"), key)?.fits(column_type, key)
    }

    #[test]
    fn declared_types_decide_the_form() {
        assert_eq!(of(ColumnType::Integer, "bigint(20) unsigned", false), Some(MySqlCodec::Integer));
        assert_eq!(of(ColumnType::Integer, "int", true), Some(MySqlCodec::Integer));
        assert_eq!(of(ColumnType::Integer, "decimal(20,0)", false), None);
        assert_eq!(of(ColumnType::Integer, "varchar(20)", false), None);
        assert!(matches!(of(ColumnType::Integer, "varchar(20)", true), Some(MySqlCodec::Text(_))));
        assert_eq!(of(ColumnType::Text, "int(11)", true), Some(MySqlCodec::Integer));
        assert_eq!(of(ColumnType::Text, "enum('a','b')", true), None);
        assert_eq!(of(ColumnType::Timestamp, "datetime", false), Some(MySqlCodec::Time(0)));
        assert_eq!(of(ColumnType::Timestamp, "timestamp(6)", true), Some(MySqlCodec::Time(6)));
        assert_eq!(of(ColumnType::Timestamp, "datetime(3)", true), None);
        assert_eq!(of(ColumnType::Uuid, "binary(16)", true), Some(MySqlCodec::UuidBytes));
        assert_eq!(of(ColumnType::Uuid, "uuid", true), Some(MySqlCodec::Uuid));
        assert_eq!(of(ColumnType::Uuid, "varchar(20)", true), None);
    }

    #[test]
    fn texts_that_a_column_would_change_are_refused_here() {
        let encode = |declared, collation, key, text: &str| {
            MySqlCodec::declared(declared, Some(collation), key).expect("known").encode(&text.into())
        };
        assert!(encode("varchar(9)", "utf8mb4_bin", true, "a ").is_err());
        assert!(encode("varchar(9)", "utf8mb4_bin", false, "a ").is_ok());
        assert!(encode("varchar(9)", "utf8mb4_nopad_bin", true, "a ").is_ok());
        assert!(encode("varchar(9)", "utf8mb4_0900_bin", true, "a ").is_ok());
        assert!(encode("char(9)", "utf8mb4_bin", false, "a ").is_err());
        assert!(encode("varchar(9)", "latin1_swedish_ci", true, "é").is_err());
        assert!(encode("varchar(9)", "utf8mb3_bin", true, "é").is_ok());
        assert!(encode("varchar(9)", "utf8mb3_bin", true, "😀").is_err());
        assert!(encode("varchar(2)", "utf8mb4_bin", true, "abc").is_err());
    }

    #[test]
    fn times_and_uuids_take_the_form_of_their_column() {
        let at = |digits, text: &str| {
            MySqlCodec::Time(digits).encode(&text.parse::<Timestamp>().expect("a time").into())
        };
        let text = |text: &str| Ok(Cell::Text(text.into()));
        assert_eq!(at(0, "2026-01-01T00:00:00.9Z"), text("2026-01-01 00:00:00.000000"));
        assert_eq!(at(3, "1969-12-31T23:59:59.9999Z"), text("1969-12-31 23:59:59.999000"));
        assert_eq!(at(6, "2026-01-01T00:00:00.000001Z"), text("2026-01-01 00:00:00.000001"));
        let id = Value::Uuid(Uuid::from_u128(1));
        let form = |declared| of(ColumnType::Uuid, declared, true).expect("known").encode(&id);
        assert_eq!(form("char(32)"), text("00000000000000000000000000000001"));
        assert_eq!(form("char(36)"), text("00000000-0000-0000-0000-000000000001"));
    }
}
