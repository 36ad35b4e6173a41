//! Postgres.

mod apply;
mod array;
mod catalogue;
mod ddl;
mod dead;
mod error;
mod form;
mod ledger;
mod moves;
mod open;
mod query;
mod sink;
mod statement;
mod survey;

pub use sink::Postgres;
