//! Exports of series: the buckets of many keys as text, with bounded memory.
//!
//! ```text
//! keys ─ buckets of each, page by page ─ points ─ text ─ parts of 64 KiB ─ response
//!        run.rs                          points.rs │     run.rs
//!                                                  rows.rs: CSV, JSON
//!                                                  openmetrics.rs
//! ```

pub(crate) mod openmetrics;
mod points;
mod rows;
mod run;

pub(crate) use rows::{LABELS, csv_cell};
pub(crate) use run::{Export, Keys};
