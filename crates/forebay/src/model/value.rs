//! The values of a row, and their types.

use std::fmt::Write as _;

use uuid::Uuid;

use crate::{
    error::{Result, invalid},
    time::Timestamp,
};

/// The type of a column in the buffer. A sink casts to the type of the table's column.
///
/// # Examples
/// ```
/// use forebay::buffer::{ColumnType, Value};
/// assert_eq!(Value::from_text(ColumnType::Integer, "42")?, Value::Integer(42));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ColumnType {
    /// A 64-bit signed integer.
    Integer,
    /// Text: UTF-8, compared byte by byte; at most 512 bytes as a key.
    Text,
    /// A point in time, in microseconds.
    Timestamp,
    /// A UUID.
    Uuid,
}

/// A value of a row.
///
/// # Examples
/// ```
/// use forebay::buffer::Value;
/// assert_eq!(Value::from("42"), Value::Text("42".into()));
/// assert_eq!(Value::from(42).to_text(), "42");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Value {
    /// A value of [`ColumnType::Integer`].
    Integer(i64),
    /// A value of [`ColumnType::Text`].
    Text(Box<str>),
    /// A value of [`ColumnType::Timestamp`].
    Timestamp(Timestamp),
    /// A value of [`ColumnType::Uuid`].
    Uuid(Uuid),
}

impl Value {
    /// The type of column for this value.
    pub fn column_type(&self) -> ColumnType {
        match self {
            Self::Integer(_) => ColumnType::Integer,
            Self::Text(_) => ColumnType::Text,
            Self::Timestamp(_) => ColumnType::Timestamp,
            Self::Uuid(_) => ColumnType::Uuid,
        }
    }

    /// The unique text of this value, which keys consist of and stores hold.
    ///
    /// Timestamps are microseconds since 1970, UUIDs lower case with hyphens, so that equal values have
    /// equal texts, and texts and UUIDs order as their bytes do.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write_text(&mut text);
        text
    }

    /// Appends the value's text.
    pub(crate) fn write_text(&self, to: &mut String) {
        let written = match self {
            Self::Integer(n) => write!(to, "{n}"),
            Self::Text(text) => to.write_str(text),
            Self::Timestamp(at) => write!(to, "{}", at.as_micros()),
            Self::Uuid(id) => write!(to, "{}", id.hyphenated()),
        };
        written.expect("a string takes what is written");
    }

    /// Reads a text that [`to_text`](Self::to_text) wrote.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `text` is not a value of `column_type`.
    pub fn from_text(column_type: ColumnType, text: &str) -> Result<Self> {
        let integer = |what| {
            text.parse::<i64>().map_err(|cause| invalid(format!("{text:?} is not {what}")).with_source(cause))
        };
        Ok(match column_type {
            ColumnType::Integer => Self::Integer(integer("an integer from -2^63 to 2^63-1")?),
            ColumnType::Text => Self::Text(text.into()),
            ColumnType::Timestamp => {
                Self::Timestamp(Timestamp::from_micros(integer("a time in microseconds since 1970")?))
            }
            ColumnType::Uuid => {
                let refused = |cause| invalid(format!("{text:?} is not a UUID")).with_source(cause);
                Self::Uuid(Uuid::parse_str(text).map_err(refused)?)
            }
        })
    }
}

macro_rules! value_from {
    ($($from:ty => |$name:ident| $value:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($name: $from) -> Self { $value }
        }
    )*};
}
value_from! {
    i64 => |n| Self::Integer(n);
    i32 => |n| Self::Integer(n.into());
    u32 => |n| Self::Integer(n.into());
    &str => |text| Self::Text(text.into());
    String => |text| Self::Text(text.into());
    Timestamp => |at| Self::Timestamp(at);
    Uuid => |id| Self::Uuid(id);
}
