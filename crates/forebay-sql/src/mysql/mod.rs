//! MySQL and MariaDB.

mod apply;
mod catalogue;
mod ddl;
mod dead;
mod error;
mod form;
mod json;
mod ledger;
mod moves;
mod open;
mod sink;
mod statement;
mod survey;

pub use sink::MySql;
