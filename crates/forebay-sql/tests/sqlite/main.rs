//! The sink on real SQLite files.

mod applying;
mod columns;
mod failures;
mod ledger;
mod support;
mod tables;
