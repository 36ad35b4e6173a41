//! The open series of other kinds than hits.

use anyhow::Result;
use forebay::{
    Forebay, Timestamp,
    series::{DistinctHandle, GaugeHandle, KeyPage, KeyQuery, PercentilesHandle},
};

use crate::{config::SummaryConfig, metrics::SeriesMetrics, registry::Entry};

/// A series of another kind than hits, and its counters.
pub type SummaryEntry = Entry<SummarySeries, SeriesMetrics>;

/// An open series of another kind than hits.
#[derive(Clone, Debug)]
pub enum SummarySeries {
    /// Counts different elements.
    Distinct(DistinctHandle),
    /// Keeps the last value, the smallest, the largest and the average.
    Gauge(GaugeHandle),
    /// Keeps the distribution of values.
    Percentiles(PercentilesHandle),
}

/// Evaluates an expression on the handle of whichever kind.
macro_rules! each {
    ($series:expr, $handle:ident => $answer:expr) => {
        match $series {
            SummarySeries::Distinct($handle) => $answer,
            SummarySeries::Gauge($handle) => $answer,
            SummarySeries::Percentiles($handle) => $answer,
        }
    };
}

impl SummarySeries {
    /// Opens a definition.
    pub(crate) fn open(bay: &Forebay, config: &SummaryConfig) -> Result<Self> {
        Ok(match config {
            SummaryConfig::Distinct(series) => Self::Distinct(bay.distinct(series.clone())?),
            SummaryConfig::Gauge(series) => Self::Gauge(bay.gauge(series.clone())?),
            SummaryConfig::Percentiles(series) => Self::Percentiles(bay.percentiles(series.clone())?),
        })
    }

    /// Its kind, as configurations name it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Distinct(_) => "distinct",
            Self::Gauge(_) => "gauge",
            Self::Percentiles(_) => "percentiles",
        }
    }

    pub(crate) async fn delete(&self, key: &str) -> forebay::Result<()> {
        each!(self, series => series.delete(key).await)
    }

    pub(crate) async fn keys(&self, query: &KeyQuery) -> forebay::Result<KeyPage> {
        each!(self, series => series.keys(query).await)
    }

    pub(crate) async fn store_time(&self, key: &str) -> Timestamp {
        each!(self, series => series.store_time(key).await)
    }

    /// Shows the gauges of a series.
    pub(crate) fn show(&self, metrics: &SeriesMetrics) {
        let (late, refused, keys) =
            each!(self, series => (series.late(), series.refused_keys(), series.key_count()));
        metrics.show(late, refused, keys);
    }
}
