//! Counters by time.

mod definition;
mod handle;
mod query;
pub(crate) mod resolution;

pub use definition::Series;
pub use handle::{MAX_AHEAD, Range, SeriesHandle};
pub use query::MAX_POINTS;
pub use resolution::Resolution;
