//! Conversion of values to and from the columns that a table really has.

use forebay::buffer::{ColumnType, Value};
#[cfg(feature = "postgres")]
use uuid::Uuid;

use super::table::TableColumn;

/// Converts the values of one column, and spells the expressions that depend on its type.
pub(crate) trait ColumnCodec: std::fmt::Debug + Send + Sync + Sized + 'static {
    /// The codec for values of `column_type` in `column`; `None` if the column cannot keep all of them.
    fn for_column(column_type: ColumnType, column: &TableColumn, key: bool) -> Option<Self>;

    /// Encodes a value.
    ///
    /// # Errors
    /// Why the column cannot keep it.
    fn encode(&self, value: &Value) -> Result<Cell, String>;

    /// The expression that reads the column as text for [`decode`](Self::decode).
    fn selected(&self, column: &str) -> String;

    /// Decodes a [selected](Self::selected) text as a value of a buffer's column.
    fn decode(&self, text: &str, column_type: ColumnType) -> Option<Value>;

    /// The expression that gives an incoming value the type of its column.
    fn typed(&self, incoming: &str) -> String {
        incoming.to_owned()
    }

    /// The condition that `new` is `than` (`<` or `>`) `old`, as the buffer compares values: texts byte by byte.
    fn compared(&self, new: &str, than: &str, old: &str) -> String;

    /// The condition that a key column has the same value as `incoming`, as the buffer compares keys.
    fn same(&self, column: &str, incoming: &str) -> String {
        format!("{column} = {incoming}")
    }
}

/// A value in the form of its column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Parses the canonical spelling of an integer. `042` is refused, because it would share a row with `42`.
pub(crate) fn canonical_integer(text: &str) -> Result<i64, String> {
    let integer = text.parse::<i64>().ok().filter(|n| n.to_string() == text);
    integer.ok_or_else(|| format!("the key {text:?} is no integer, and its column holds integers"))
}

/// Parses the canonical spelling of a UUID: lower case, with hyphens.
#[cfg(feature = "postgres")]
pub(crate) fn canonical_uuid(text: &str) -> Result<Uuid, String> {
    let id = text.parse::<Uuid>().ok().filter(|id| id.hyphenated().to_string() == text);
    id.ok_or_else(|| format!("the key {text:?} is no UUID in lower case, and its column holds UUIDs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_spelling_of_an_integer_is_a_key() {
        assert_eq!(canonical_integer("-42"), Ok(-42));
        for text in ["042", "+42", " 42", "4e1", "42.0", "", "a", "9223372036854775808"] {
            assert!(canonical_integer(text).is_err(), "{text:?}");
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn only_one_spelling_of_a_uuid_is_a_key() {
        let text = "0123abcd-0000-0000-0000-000000000001";
        assert_eq!(canonical_uuid(text), Ok(text.parse().expect("a UUID")));
        for other in [text.to_uppercase(), text.replace('-', ""), format!("{{{text}}}")] {
            assert!(canonical_uuid(&other).is_err(), "{other:?}");
        }
    }
}
