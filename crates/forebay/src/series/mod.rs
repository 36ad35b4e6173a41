//! Time series: counters in buckets of time.

mod calendar;
mod definition;
mod handle;
mod plan;
mod range;
mod read;
mod step;
#[cfg(test)]
mod tests;

pub use crate::model::{rate::calendar::CalendarUnit, resolution::Resolution};
pub use definition::Series;
pub(crate) use handle::Acceptance;
pub use handle::SeriesHandle;
pub use plan::{MAX_AHEAD, MAX_POINTS};
pub use range::Range;
pub use read::Total;
pub use step::Step;
