//! The engine in this process: no server, and in memory unless given a file.

#![expect(clippy::unused_async, reason = "steps are async on every engine")]

mod batch;
mod buffer;
mod buffer_table;
mod charge;
mod chunk;
mod closing;
mod codec;
mod committer;
mod engine;
mod file;
mod journal;
mod kv;
mod kv_table;
mod lease;
mod lease_table;
mod limit;
mod limit_table;
mod lock;
mod lock_table;
mod once;
mod once_table;
mod override_table;
mod overrides;
mod pidfile;
mod population;
mod restore;
mod series;
mod series_table;
mod storage;
mod summary;
mod summary_table;
mod tables;
#[cfg(test)]
mod tests;
mod watched;

pub(crate) use self::{engine::Embedded, restore::FileOptions};
