//! MySQL and MariaDB.

mod catalogue;
mod check;
mod codec;
mod dialect;
mod error;
mod json;
mod open;
mod sink;
mod transaction;

pub use sink::MySql;
