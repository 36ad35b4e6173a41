//! Postgres.

mod array;
mod catalogue;
mod codec;
mod dialect;
mod error;
mod open;
mod query;
mod sink;
mod transaction;

pub use sink::Postgres;
