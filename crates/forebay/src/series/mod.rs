//! Counters by time.

mod definition;
mod handle;
mod query;
pub(crate) mod resolution;
#[cfg(test)]
mod tests;

pub use definition::Series;
pub(crate) use handle::Admission;
pub use handle::{MAX_AHEAD, Range, SeriesHandle};
pub use query::MAX_POINTS;
pub use resolution::Resolution;
