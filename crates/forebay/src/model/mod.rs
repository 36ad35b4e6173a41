//! The data that engines and primitives exchange: rows, rules, resolutions, commands and replies.
//!
//! All of it is pure: it uses no runtime, clock or engine.

mod bounds;
pub(crate) mod command;
#[cfg(feature = "redis")]
mod conversion;
mod host;
mod latency;
mod lock;
#[cfg(feature = "redis")]
mod probe;
#[cfg(feature = "redis")]
mod progress;
pub(crate) mod rate;
mod reply;
pub(crate) mod resolution;
pub(crate) mod row;
mod row_key;
mod schema;
pub(crate) mod summary;
mod value;

pub(crate) use bounds::RowCount;
pub use bounds::{Bounds, Pressure};
pub(crate) use command::{Command, Failure, ScriptCall, Verb};
pub use command::{Fate, Script};
#[cfg(feature = "redis")]
pub use conversion::{Converted, KeysOfKind};
pub use host::{Calls, Health, HostStatus, Memory, Placement, Redirects, Since, Skew};
pub use latency::Latency;
#[cfg(feature = "redis")]
pub(crate) use latency::LatencyCounts;
pub use lock::{Holder, Holding, LockState};
#[cfg(feature = "redis")]
pub use probe::{Finding, Outcome, ServerReport};
#[cfg(feature = "redis")]
pub use progress::Progress;
pub use reply::{FromReply, Reply};
pub use row::Row;
pub use row_key::RowKey;
pub use schema::{Buffer, Column, KeyColumn, Merge, Schema};
pub use value::{ColumnType, Value};
