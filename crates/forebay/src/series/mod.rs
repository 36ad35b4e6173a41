//! Counters by time.

mod definition;
mod handle;
mod query;
mod read;
pub(crate) mod resolution;
#[cfg(test)]
mod tests;

pub use definition::Series;
pub(crate) use handle::Admission;
pub use handle::SeriesHandle;
pub use query::{MAX_AHEAD, MAX_POINTS};
pub use read::{Range, Total};
pub use resolution::Resolution;
