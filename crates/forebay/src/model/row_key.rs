//! The key of a row.

use std::borrow::Cow;

use super::{
    schema::Schema,
    value::{ColumnType, Value},
};
use crate::{
    error::{Error, Result, invalid},
    key::{Key, hash, hash_with_seed},
};

/// The key of a row as one text: the values' texts, each with `%` and `|` written as `%25` and `%7C`, joined by `|`.
///
/// # Examples
/// ```
/// use forebay::{Buffer, buffer::RowKey};
/// let schema = Buffer::new("daily").key("page").key("day").sum("hits").build()?;
/// let key = RowKey::new(&schema, &["/".into(), "2026-01-01".into()])?;
/// assert_eq!(RowKey::parse(&schema, key.as_str())?, key);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey(Box<str>);

impl Schema {
    /// The partition that a row belongs to.
    pub fn partition_of(&self, row: &RowKey) -> u16 {
        u16::try_from(hash(row.as_str().as_bytes()) % u64::from(self.partitions))
            .expect("the remainder is below a u16")
    }

    /// The other partitions, in an order of the row's own: rows of one partition spread over all of the others. Every process
    /// has to find the same order, now and later.
    pub(crate) fn other_partitions(&self, row: &RowKey) -> Vec<u16> {
        let home = self.partition_of(row);
        let mut others: Vec<u16> = (0..self.partitions).filter(|index| *index != home).collect();
        others.sort_by_cached_key(|index| {
            std::cmp::Reverse(hash_with_seed(row.as_str().as_bytes(), u64::from(*index) + 1))
        });
        others
    }
}

impl RowKey {
    /// Builds the key of a row of `schema`, its values in the order of the key columns.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the number or a type of the values is wrong, a text is
    /// empty, or the whole is longer than 512 bytes.
    pub fn new(schema: &Schema, values: &[Value]) -> Result<Self> {
        let (want, got) = (schema.keys.len(), values.len());
        if want != got {
            return Err(wrong(schema, &format!("{got} key values for {want} key columns")));
        }
        let mut text = Cow::Borrowed("");
        for (column, value) in schema.keys.iter().zip(values) {
            let (name, want, got) = (&column.name, column.column_type, value.column_type());
            if want != got {
                return Err(wrong(schema, &format!("key column {name} is {want:?}, not {got:?}")));
            }
            let part = escaped(value);
            if part.is_empty() {
                return Err(wrong(schema, &format!("key column {name} is empty")));
            }
            if text.is_empty() {
                text = part;
            } else {
                let text = text.to_mut();
                text.push('|');
                text.push_str(&part);
            }
        }
        Self::in_range(schema, text.into())
    }

    /// The same for a schema with one key column. A text that is its own key is not copied.
    pub(crate) fn of_one(schema: &Schema, value: Value) -> Result<Self> {
        match value {
            Value::Text(text)
                if matches!(&*schema.keys, [column] if column.column_type == ColumnType::Text)
                    && !text.is_empty()
                    && !is_escaped(&text) =>
            {
                Self::in_range(schema, text)
            }
            value => Self::new(schema, &[value]),
        }
    }

    fn in_range(schema: &Schema, text: Box<str>) -> Result<Self> {
        if text.len() > Key::MAX_BYTES {
            let (got, most) = (text.len(), Key::MAX_BYTES);
            return Err(wrong(schema, &format!("a key of {got} bytes, a row's key has 1 to {most}")));
        }
        Ok(Self(text))
    }

    /// Reads a key's text, in the form of [`as_str`](Self::as_str).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is not the one text of a key of `schema`.
    pub fn parse(schema: &Schema, text: &str) -> Result<Self> {
        let read = Self::from_store(text).values(schema).and_then(|values| Self::new(schema, &values))?;
        if read.as_str() == text {
            return Ok(read);
        }
        Err(invalid(format!("row key {text:?} of buffer {}: it is written {:?}", schema.name, read.as_str())))
    }

    /// Takes a key's text as a store returned it.
    pub(crate) fn from_store(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The values this key was made of.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it was made for another schema.
    pub fn values(&self, schema: &Schema) -> Result<Vec<Value>> {
        let parts: Vec<&str> = self.0.split('|').collect();
        if parts.len() != schema.keys.len() {
            let (key, name) = (&self.0, &schema.name);
            return Err(invalid(format!("row key {key:?} does not fit the key columns of buffer {name}")));
        }
        let plain = |part: &str| part.replace("%7C", "|").replace("%25", "%");
        let columns = schema.keys.iter().zip(parts);
        columns.map(|(column, part)| Value::from_text(column.column_type, &plain(part))).collect()
    }
}

fn wrong(schema: &Schema, what: &str) -> Error {
    invalid(format!("row of buffer {}: {what}", schema.name))
}

/// Returns whether a text differs from its form as a part of a key.
fn is_escaped(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'%' | b'|'))
}

/// The form of a value's text as a part of a key.
fn escaped(value: &Value) -> Cow<'_, str> {
    let Value::Text(text) = value else { return Cow::Owned(value.to_text()) };
    if !is_escaped(text) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('%', "%25").replace('|', "%7C"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Buffer, model::ColumnType};

    #[test]
    fn only_the_one_text_of_a_key_is_read() {
        let schema =
            Buffer::new("p").key_of("n", ColumnType::Integer).key("a").sum("x").build().expect("valid");
        assert!(RowKey::parse(&schema, "7|a%7Cb%25").is_ok());
        for text in ["7", "7|", "07|a", "+7|a", "7|a%", "7|a%7", "7|a|b", "x|a", ""] {
            assert!(RowKey::parse(&schema, text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn row_keys_are_read_back(a in ".{1,40}", n in any::<i64>()) {
            let schema = Buffer::new("p").key("a").key_of("n", ColumnType::Integer).sum("x").build().expect("valid");
            let values = vec![Value::from(a.as_str()), Value::from(n)];
            if let Ok(key) = RowKey::new(&schema, &values) {
                prop_assert_eq!(key.values(&schema).expect("ours"), values);
                prop_assert_eq!(RowKey::parse(&schema, key.as_str()).expect("ours"), key);
            }
        }
    }
}
