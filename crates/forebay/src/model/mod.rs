//! What engines and primitives speak of: rows, rules, resolutions, commands and replies.
//!
//! Nothing in here knows a runtime, a clock or an engine: values go in, values come out.

mod bounds;
pub(crate) mod command;
mod host;
pub(crate) mod rate;
mod reply;
pub(crate) mod resolution;
pub(crate) mod row;
mod row_key;
mod schema;
mod value;

pub(crate) use bounds::RowCount;
pub use bounds::{Bounds, Pressure};
pub use command::Fate;
pub(crate) use command::{Command, Failure, Verb};
pub use host::{Health, HostStatus, Placement};
pub use reply::{FromReply, Reply};
pub use row::Row;
pub use row_key::RowKey;
pub use schema::{Buffer, Column, KeyColumn, Merge, Schema};
pub use value::{ColumnType, Value};
