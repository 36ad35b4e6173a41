//! Bodies of `/v1/series` of other kinds than hits.

use std::collections::BTreeMap;

use forebay::series::{Distribution, GaugeStats, Points, Step};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    fields::{At, Key},
    series::PointLength,
};

/// An element of a set, for a series of the kind `distinct`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with key and element, and perhaps at")]
pub(crate) struct ElementRequest {
    pub(crate) key: Key,
    /// An element, which is counted once: 1 to 512 bytes of UTF-8, or an integer, which stands for its digits.
    pub(crate) element: Key,
    /// When; default now.
    pub(crate) at: Option<At>,
}

/// A value, for a series of the kind `gauge` or `percentiles`.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with key and value, and perhaps at")]
pub(crate) struct ValueRequest {
    pub(crate) key: Key,
    /// A number from -1e290 to 1e290.
    pub(crate) value: f64,
    /// When; default now.
    pub(crate) at: Option<At>,
}

/// Values over time of a series of another kind than hits, of all keys of the request together.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = SummaryRange)]
#[serde(deny_unknown_fields)]
pub(crate) struct SummaryBody {
    /// The kind of the series: `distinct`, `gauge` or `percentiles`.
    pub(crate) kind: String,
    /// The keys of the request.
    pub(crate) keys: Vec<String>,
    /// The start of the oldest point: a multiple of `step` at or before `from`.
    #[schema(format = DateTime)]
    pub(crate) start: String,
    pub(crate) step: PointLength,
    /// The starts of all points, if `step` is a unit of the calendar; else left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) starts: Vec<String>,
    /// `step` is longer than requested, or `starts` are those of the nearest buckets that are kept.
    pub(crate) coarsened: bool,
    /// The value of each point, in order of time; null where a gauge or percentiles have no value.
    pub(crate) values: Vec<Option<SummaryValue>>,
    /// The value of the whole span, which is not the sum of the points.
    pub(crate) total: Option<SummaryValue>,
    /// The `from` of the request, widened to the finest bucket that is still kept there; later where no bucket is.
    #[schema(format = DateTime)]
    pub(crate) from: String,
    /// The exclusive end: widened likewise.
    #[schema(format = DateTime)]
    pub(crate) to: String,
}

/// The value of a point.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum SummaryValue {
    /// About how many different elements there were, of the kind `distinct`.
    Distinct(u64),
    Gauge(GaugeBody),
    Percentiles(PercentilesBody),
}

/// A summary of the values of a gauge.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Gauge)]
pub(crate) struct GaugeBody {
    /// The value with the latest time; of several at one time the largest.
    pub(crate) last: f64,
    /// The time of the last value.
    #[schema(format = DateTime)]
    pub(crate) last_at: String,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) avg: f64,
    pub(crate) sum: f64,
    /// The number of values.
    pub(crate) count: u64,
}

impl From<&GaugeStats> for GaugeBody {
    fn from(stats: &GaugeStats) -> Self {
        let GaugeStats { last, at, min, max, average: avg, sum, count, .. } = *stats;
        Self { last, last_at: at.to_string(), min, max, avg, sum, count }
    }
}

/// The distribution of values, as far as it is known.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Percentiles)]
pub(crate) struct PercentilesBody {
    /// The number of values.
    pub(crate) count: u64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// For each of the requested `quantiles`, by its text, the value of that rank to within 1 %.
    pub(crate) quantiles: BTreeMap<String, f64>,
}

impl PercentilesBody {
    /// The quantiles of a distribution, each with its text; `None`: it has no value.
    pub(crate) fn new(distribution: &Distribution, quantiles: &[(String, f64)]) -> Option<Self> {
        let (min, max) = (distribution.min()?, distribution.max()?);
        let quantile = |(text, q): &(String, f64)| Some((text.clone(), distribution.quantile(*q)?));
        let quantiles = quantiles.iter().filter_map(quantile).collect();
        Some(Self { count: distribution.count(), min, max, quantiles })
    }
}

impl SummaryBody {
    /// The answer for some keys.
    pub(crate) fn new<T>(
        kind: &str,
        keys: &[String],
        points: &Points<T>,
        value: impl Fn(&T) -> Option<SummaryValue>,
    ) -> Self {
        let (step, lists) = match points.step {
            Step::Fixed(step) => (PointLength::Seconds(step.as_secs()), false),
            Step::Calendar(unit) => (PointLength::Unit(unit.as_str().to_owned()), true),
        };
        let starts = points.starts.iter().filter(|_| lists).map(ToString::to_string).collect();
        Self {
            kind: kind.to_owned(),
            keys: keys.to_vec(),
            start: points.starts.first().unwrap_or(&points.end).to_string(),
            step,
            starts,
            coarsened: points.coarsened,
            values: points.values.iter().map(&value).collect(),
            total: value(&points.total),
            from: points.from.to_string(),
            to: points.to.to_string(),
        }
    }
}
