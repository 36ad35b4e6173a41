//! Series that count something else than hits: their buckets hold summaries. Each kind has a file with what it adds and answers;
//! what a summary is says `model/summary/`.

mod definition;
mod distinct;
mod gauge;
mod handle;
mod percentiles;
mod read;
#[cfg(test)]
mod tests;
mod values;

pub use definition::{Distinct, Gauge, Kind, Percentiles, Values};
pub use distinct::DistinctHandle;
pub use gauge::{GaugeHandle, GaugeStats};
pub use handle::KindHandle;
pub use percentiles::{Distribution, PercentilesHandle};
pub use read::{Merged, Points};
