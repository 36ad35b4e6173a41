//! Conversion of values to the columns that a Postgres table really has.
//!
//! | buffer | column |
//! |---|---|
//! | integer | `smallint`, `integer`, `bigint`; in a key also `text`, `varchar`: its decimal text |
//! | text | `text`, `varchar`; in a key also the integers and `uuid`, for texts that spell one |
//! | timestamp | `timestamptz`, or `timestamp`, which then is UTC |
//! | UUID | `uuid`; `text`, `varchar`: lower case with hyphens |
//!
//! A domain counts as the type that it is based on.

use forebay::{
    Timestamp,
    buffer::{ColumnType, Value},
};

use super::array::Element;
use crate::common::{
    codec::{Cell, ColumnCodec, canonical_integer, canonical_uuid},
    table::TableColumn,
};

/// Converts the values of one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PostgresCodec {
    pub(super) element: Element,
    /// The limit of the column: the characters of a text, the digits of a second's fraction.
    max: usize,
}

/// The time from which Postgres counts, in microseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// Postgres's first time, Julian day 0, in microseconds since its epoch.
const MIN_MICROS: i64 = -211_813_488_000_000_000;

/// The digits of a microsecond.
const MICROSECOND_DIGITS: usize = 6;

impl PostgresCodec {
    /// Parses a column's type, as the catalogue spells it.
    fn declared(declared: &str) -> Option<Self> {
        let (name, rest) = declared.split_once('(').unwrap_or((declared, ""));
        let (max, zone) = rest.split_once(')').unwrap_or(("", declared));
        let element = match name {
            "smallint" => Element::Int2,
            "integer" => Element::Int4,
            "bigint" => Element::Int8,
            "text" | "character varying" => Element::Text,
            "uuid" => Element::Uuid,
            name if !name.starts_with("timestamp") => return None,
            _ if zone.ends_with("with time zone") => Element::TimestampTz,
            _ => Element::Timestamp,
        };
        let unbounded = if element == Element::Text { usize::MAX } else { MICROSECOND_DIGITS };
        Some(Self { element, max: max.parse().unwrap_or(unbounded) })
    }

    fn fits(self, column_type: ColumnType, key: bool) -> bool {
        match (column_type, self.element) {
            (ColumnType::Integer, Element::Int2 | Element::Int4 | Element::Int8)
            | (ColumnType::Text, Element::Text)
            | (ColumnType::Uuid, Element::Uuid | Element::Text) => true,
            (ColumnType::Integer, Element::Text)
            | (ColumnType::Text, Element::Int2 | Element::Int4 | Element::Int8 | Element::Uuid) => key,
            // With less precision, two keys of the buffer could be one row.
            (ColumnType::Timestamp, Element::Timestamp | Element::TimestampTz) => {
                !key || self.max == MICROSECOND_DIGITS
            }
            _ => false,
        }
    }

    fn of_integer(self, n: i64) -> Result<Cell, String> {
        let fits = match self.element {
            Element::Int2 => i16::try_from(n).is_ok(),
            Element::Int4 => i32::try_from(n).is_ok(),
            _ => true,
        };
        let refused = || format!("{n} does not fit a column of type {}", self.element.name());
        fits.then_some(Cell::Integer(n)).ok_or_else(refused)
    }

    /// Postgres's text has no NUL, and Postgres silently truncates spaces beyond the limit.
    fn of_text(self, text: String) -> Result<Cell, String> {
        if text.contains('\0') {
            return Err(format!("{text:?} contains a NUL, which Postgres's text does not"));
        }
        if self.max < usize::MAX && text.chars().count() > self.max {
            return Err(format!("{text:?} is longer than the {} characters of its column", self.max));
        }
        Ok(Cell::Text(text))
    }

    /// Encodes a time as microseconds since 2000, rounded down to the column's precision. Postgres itself would round up.
    fn of_time(self, at: Timestamp) -> Result<Cell, String> {
        let unit = (self.max..MICROSECOND_DIGITS).fold(1, |unit, _| unit * 10);
        let micros = at.as_micros().checked_sub(POSTGRES_EPOCH).filter(|micros| *micros >= MIN_MICROS);
        micros
            .map(|micros| Cell::Integer(micros - micros.rem_euclid(unit)))
            .ok_or_else(|| format!("{at} is before the year -4713, and Postgres begins there"))
    }
}

impl ColumnCodec for PostgresCodec {
    fn for_column(column_type: ColumnType, column: &TableColumn, key: bool) -> Option<Self> {
        Self::declared(&column.declared).filter(|codec| codec.fits(column_type, key))
    }

    fn encode(&self, value: &Value) -> Result<Cell, String> {
        match (self.element, value) {
            (Element::Int2 | Element::Int4 | Element::Int8, Value::Integer(n)) => self.of_integer(*n),
            (Element::Int2 | Element::Int4 | Element::Int8, Value::Text(text)) => {
                self.of_integer(canonical_integer(text)?)
            }
            (Element::Uuid, Value::Uuid(id)) => Ok(Cell::Bytes(id.as_bytes().to_vec())),
            (Element::Uuid, Value::Text(text)) => Ok(Cell::Bytes(canonical_uuid(text)?.as_bytes().to_vec())),
            (Element::Timestamp | Element::TimestampTz, Value::Timestamp(at)) => self.of_time(*at),
            (Element::Text, value) => self.of_text(value.to_text()),
            (element, value) => Err(format!(
                "a {:?} does not go into a column of type {}",
                value.column_type(),
                element.name()
            )),
        }
    }

    /// Times are read as the integers that Postgres stores, in hexadecimal: exact in all its years.
    fn selected(&self, column: &str) -> String {
        match self.element {
            Element::Timestamp | Element::TimestampTz => {
                format!("encode({}_send({column}), 'hex')", self.element.name())
            }
            _ => format!("CAST({column} AS text)"),
        }
    }

    fn decode(&self, text: &str, column_type: ColumnType) -> Option<Value> {
        match self.element {
            Element::Text => Value::from_text(column_type, text).ok(),
            Element::Uuid => text.parse().ok().map(Value::Uuid),
            Element::Timestamp | Element::TimestampTz => {
                time(u64::from_str_radix(text, 16).ok()?.cast_signed())
            }
            Element::Int2 | Element::Int4 | Element::Int8 => text.parse().ok().map(Value::Integer),
        }
    }

    /// Compares texts as the buffer does: byte by byte, whatever the column's collation.
    fn compared(&self, new: &str, than: &str, old: &str) -> String {
        let collation = if self.element == Element::Text { " COLLATE \"C\"" } else { "" };
        format!("{new} {than} {old}{collation}")
    }
}

/// A time of Postgres. `infinity` has none.
fn time(micros: i64) -> Option<Value> {
    let since_1970 = micros.checked_add(POSTGRES_EPOCH).filter(|_| micros != i64::MIN);
    since_1970.map(|micros| Value::Timestamp(Timestamp::from_micros(micros)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(column_type: ColumnType, declared: &str, key: bool) -> Option<PostgresCodec> {
        PostgresCodec::declared(declared).filter(|form| form.fits(column_type, key))
    }

    #[test]
    fn declared_types_decide_the_form() {
        let value = |column_type, declared| of(column_type, declared, false).map(|form| form.element);
        let key = |column_type, declared| of(column_type, declared, true).map(|form| form.element);
        assert_eq!(value(ColumnType::Integer, "smallint"), Some(Element::Int2));
        assert_eq!(value(ColumnType::Integer, "numeric(20,0)"), None);
        assert_eq!(value(ColumnType::Integer, "text"), None);
        assert_eq!(key(ColumnType::Integer, "text"), Some(Element::Text));
        assert_eq!(key(ColumnType::Text, "integer"), Some(Element::Int4));
        assert_eq!(key(ColumnType::Text, "uuid"), Some(Element::Uuid));
        assert_eq!(value(ColumnType::Text, "character varying(20)"), Some(Element::Text));
        // Pads with spaces, and compares without them.
        assert_eq!(value(ColumnType::Text, "character(20)"), None);
        assert_eq!(value(ColumnType::Text, "citext"), None);
        assert_eq!(value(ColumnType::Timestamp, "timestamp with time zone"), Some(Element::TimestampTz));
        assert_eq!(value(ColumnType::Timestamp, "timestamp(3) without time zone"), Some(Element::Timestamp));
        assert_eq!(key(ColumnType::Timestamp, "timestamp(3) with time zone"), None);
        assert_eq!(key(ColumnType::Timestamp, "timestamp with time zone"), Some(Element::TimestampTz));
        assert_eq!(value(ColumnType::Timestamp, "date"), None);
    }

    #[test]
    fn what_a_column_cannot_keep_is_refused_here() {
        let encode =
            |declared, value: Value| PostgresCodec::declared(declared).expect("known").encode(&value);
        assert_eq!(encode("smallint", 32_767.into()), Ok(Cell::Integer(32_767)));
        assert!(encode("smallint", 32_768.into()).is_err());
        assert!(encode("integer", i64::MAX.into()).is_err());
        assert!(encode("text", "a\0b".into()).is_err());
        assert!(encode("character varying(2)", "éé ".into()).is_err());
        assert_eq!(encode("character varying(2)", "éé".into()), Ok(Cell::Text("éé".into())));
        assert!(encode("timestamp with time zone", Timestamp::from_micros(i64::MIN).into()).is_err());
    }

    #[test]
    fn times_lose_what_their_column_does_not_keep() {
        let form = PostgresCodec::declared("timestamp(3) with time zone").expect("known");
        let micros = |at: &str| form.encode(&at.parse::<Timestamp>().expect("a time").into());
        assert_eq!(micros("2000-01-01T00:00:00.0019Z"), Ok(Cell::Integer(1_000)));
        assert_eq!(micros("1999-12-31T23:59:59.9999Z"), Ok(Cell::Integer(-1_000)));
    }
}
