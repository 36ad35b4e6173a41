//! Writes that gather, and reach SQL together.

pub(crate) mod row;
mod schema;

pub use row::Row;
pub use schema::{Buffer, Column, ColumnType, KeyColumn, Merge, RowKey, Schema, Value};
