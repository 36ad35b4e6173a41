//! What all databases share: the model of a table, how a buffer fits it, and how a batch is merged into it.

pub(crate) mod catalogue;
pub(crate) mod cell;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) mod connect;
pub(crate) mod database;
pub(crate) mod datetime;
pub(crate) mod ddl;
pub(crate) mod dead;
pub(crate) mod error;
pub(crate) mod ledger;
pub(crate) mod merge;
pub(crate) mod moves;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) mod parameters;
pub(crate) mod plan;
pub(crate) mod public;
pub(crate) mod replay;
pub(crate) mod sink;
pub(crate) mod state;
