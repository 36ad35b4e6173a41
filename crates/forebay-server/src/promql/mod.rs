//! The query language of Prometheus, as far as the counts of series need it.
//!
//! `parse.rs` reads a text into an [`Expression`]; `evaluate.rs` computes it over [`Samples`] at [`Instants`]. Numbers in,
//! numbers out: nothing here knows a series, waits, or reads a clock. A caller reads the samples of each [`Selector`] in
//! between.
//!
//! The rules are those of Prometheus 3: a window `(t - range, t]` is open on its left, and an instant has the newest sample of
//! the 5 minutes before it.
//!
//! # Source
//! <https://prometheus.io/docs/prometheus/latest/querying/basics/>

mod aggregate;
mod arithmetic;
mod binary;
mod evaluate;
mod expression;
mod fault;
mod labels;
mod over_time;
mod parse;
mod samples;
#[cfg(test)]
mod tests;

pub(crate) use evaluate::{Answer, evaluate};
pub(crate) use expression::{LOOKBACK, Query, Selector, Window};
pub(crate) use fault::Fault;
pub(crate) use labels::{Labels, NAME};
pub(crate) use parse::{parse, parse_selector, parse_span};
pub(crate) use promql_parser::label::{MatchOp, Matcher};
pub(crate) use samples::{Instants, Row, Samples, Stream};
