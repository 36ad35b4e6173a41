//! Counters by time.

pub(crate) mod resolution;

pub use resolution::Resolution;
