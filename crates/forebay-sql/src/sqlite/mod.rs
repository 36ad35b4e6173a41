//! SQLite.

mod apply;
mod catalogue;
mod ddl;
mod dead;
mod error;
mod file;
mod form;
mod ledger;
mod moves;
mod open;
mod sink;
mod statement;
mod survey;

pub use sink::Sqlite;
