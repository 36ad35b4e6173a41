//! Time series: counters in buckets of time.

mod calendar;
mod definition;
mod handle;
mod plan;
mod read;
#[cfg(test)]
mod tests;

pub use crate::model::{rate::calendar::CalendarUnit, resolution::Resolution};
pub use calendar::CalendarRange;
pub use definition::Series;
pub(crate) use handle::Acceptance;
pub use handle::SeriesHandle;
pub use plan::{MAX_AHEAD, MAX_POINTS};
pub use read::{Range, Total};
