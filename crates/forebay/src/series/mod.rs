//! Time series: counters in buckets of time, and what else a bucket can hold (`kinds/`).

mod bound;
mod buckets;
mod calendar;
mod cover;
mod definition;
mod derive;
mod erase;
mod filter;
mod finest;
mod groups;
mod handle;
mod keys;
mod kinds;
mod labelled;
mod labels;
mod listed;
mod moves;
mod plan;
mod query;
mod query_plan;
mod range;
mod rank;
mod rank_query;
mod read;
mod run;
mod step;
#[cfg(test)]
mod tests;
mod uniform;
mod uniform_plan;
mod uniform_query;

pub use crate::model::{rate::calendar::CalendarUnit, resolution::Resolution};
pub use buckets::{BucketReader, Buckets};
pub use cover::MAX_AHEAD;
pub use definition::Series;
pub use filter::Filter;
pub use groups::{Group, Groups, MAX_FILTERED_KEYS, MAX_GROUPS};
pub(crate) use handle::Acceptance;
pub use handle::SeriesHandle;
pub use keys::{KeyPage, KeyQuery, MAX_KEYS_PER_PAGE};
pub use kinds::{
    Distinct, DistinctHandle, Distribution, Gauge, GaugeHandle, GaugeStats, Kind, KindHandle, Merged,
    Percentiles, PercentilesHandle, Points, Values,
};
pub use labels::MAX_LABELS;
pub use plan::MAX_POINTS;
pub use query::{Fill, Function, Order, Previous, Query};
pub use range::{Columns, Filled, Range, Ranges};
pub use rank::{MAX_RANKED, RankedKey, Ranking};
pub use rank_query::RankQuery;
pub use read::Total;
pub use run::MAX_KEYS;
pub use step::Step;
pub use uniform::{KeyBuckets, UniformBuckets};
pub use uniform_query::UniformQuery;
