//! Shared by all databases: the sink, its tables and its statements.

pub(crate) mod bindings;
pub(crate) mod codec;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) mod connect;
pub(crate) mod database;
pub(crate) mod datetime;
pub(crate) mod ddl;
pub(crate) mod dead_letter;
pub(crate) mod dialect;
pub(crate) mod driver;
pub(crate) mod error;
pub(crate) mod fit;
pub(crate) mod inspect;
pub(crate) mod key;
pub(crate) mod ledger;
pub(crate) mod merge;
pub(crate) mod moves;
pub(crate) mod plan;
pub(crate) mod prepare;
pub(crate) mod public;
pub(crate) mod replay;
pub(crate) mod session;
pub(crate) mod sink;
pub(crate) mod state;
pub(crate) mod statement;
pub(crate) mod table;
pub(crate) mod transaction;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) mod url;
pub(crate) mod work;
