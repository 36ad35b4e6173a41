//! SQLite.

mod catalogue;
mod codec;
mod dialect;
mod error;
mod file;
mod open;
mod sink;
mod transaction;

pub use sink::Sqlite;
