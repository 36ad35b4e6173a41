//! The keys of rows, as Forebay's own tables store them.

use forebay::buffer::{RowKey, Schema};

/// A key as text without NUL, because Postgres's text has none. In a row's key any other `%` is followed by `25` or `7C`.
pub(crate) fn stored_key(key: &RowKey) -> String {
    key.as_str().replace('\0', "%00")
}

/// Parses a [stored key](stored_key).
///
/// # Errors
/// Why it is no key of the buffer.
pub(crate) fn parse_key(schema: &Schema, stored: &str) -> Result<RowKey, String> {
    RowKey::parse(schema, &stored.replace("%00", "\0")).map_err(|error| error.to_string())
}
