//! Values in the forms of the columns that a table really has.

use forebay::buffer::{ColumnType, Value};
#[cfg(feature = "postgres")]
use uuid::Uuid;

use super::catalogue::TableColumn;

/// How one column keeps its values.
pub(crate) trait Form: Sized {
    /// The form for values of `column_type` in `column`; `None` if none is safe.
    fn of(column_type: ColumnType, column: &TableColumn, key: bool) -> Option<Self>;

    /// The value in this form.
    ///
    /// # Errors
    /// Why it has none.
    fn encode(&self, value: &Value) -> Result<Cell, String>;
}

/// A value in the form of its column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The integer that `text` is the only spelling of. `042` is not one: it would share a row with `42`.
pub(crate) fn canonical_integer(text: &str) -> Result<i64, String> {
    let integer = text.parse::<i64>().ok().filter(|n| n.to_string() == text);
    integer.ok_or_else(|| format!("the key {text:?} is no integer, and its column holds integers"))
}

/// The UUID that `text` is the only spelling of: lower case, with hyphens.
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
