//! Bodies of `/v1/series`.

use forebay::{
    Error, Timestamp,
    series::{self, Range, SeriesHandle, Total},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::{At, Count, Key};
use crate::text::Step;

/// A point.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with key, and perhaps n and at")]
pub(crate) struct PointRequest {
    pub(crate) key: Key,
    /// The amount; default 1.
    #[serde(default)]
    pub(crate) n: Count,
    /// When; default now.
    pub(crate) at: Option<At>,
}

/// A sum, and its time range.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sum {
    #[serde(rename = "sum")]
    total: u64,
    /// The `from` of the request, widened to the finest bucket that is still kept there; later where no bucket is.
    #[schema(format = DateTime)]
    from: String,
    /// The exclusive end: widened likewise, and at most the bucket that is 5 minutes ahead.
    #[schema(format = DateTime)]
    to: String,
    /// Points may be missing that other hosts accepted while the one of this key was down. Left out if none are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    partial: bool,
}

impl From<Total> for Sum {
    fn from(total: Total) -> Self {
        let Total { sum, from, to, partial, .. } = total;
        Self { total: sum, from: from.to_string(), to: to.to_string(), partial }
    }
}

/// Counts at regular times, or by the calendar.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Range)]
pub(crate) struct RangeBody {
    pub(crate) key: String,
    /// The start of the first point: a multiple of `step` at or before `from`.
    #[schema(format = DateTime)]
    pub(crate) start: String,
    pub(crate) step: PointLength,
    /// The starts of all points, if `step` is a unit of the calendar; else left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) starts: Vec<String>,
    /// Buckets as fine as the request needs are not kept any more: `step` is longer, or `starts` are those of the nearest that are.
    pub(crate) coarsened: bool,
    /// The count of each point, zero where nothing was counted.
    pub(crate) values: Vec<u64>,
    /// The sum of all values, the same as from `/sum`.
    pub(crate) sum: u64,
    /// The `from` of the request, widened to the finest bucket that is still kept there; later where no bucket is.
    #[schema(format = DateTime)]
    pub(crate) from: String,
    /// The exclusive end: widened likewise, and at most the bucket that is 5 minutes ahead.
    #[schema(format = DateTime)]
    pub(crate) to: String,
    pub(crate) partial: Partial,
}

/// Seconds from point to point, or a unit of the calendar.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum PointLength {
    Seconds(u64),
    /// `day`, `week` or `month`.
    Unit(String),
}

/// Tells whether the first and the last point cover only a part of their step, and whether counts may be missing.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Partial {
    pub(crate) first: bool,
    pub(crate) last: bool,
    /// Points may be missing that other hosts accepted while the one of this key was down. Left out if none are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) counts: bool,
}

impl RangeBody {
    /// Reads the range of `key`. `zone` has the days of a step of the calendar.
    pub(crate) async fn ask(
        series: &SeriesHandle,
        key: &str,
        (from, to): (Timestamp, Timestamp),
        step: Option<Step>,
        zone: &str,
    ) -> Result<Self, Error> {
        let range = match step {
            Some(Step(series::Step::Calendar(unit))) => {
                series.calendar_range(key, from, to, unit, zone).await?
            }
            Some(Step(series::Step::Fixed(step))) => series.range(key, from, to, Some(step)).await?,
            None => series.range(key, from, to, None).await?,
        };
        Ok(Self::of(key, range))
    }

    fn of(key: &str, range: Range) -> Self {
        let (step, starts) = match range.step {
            series::Step::Fixed(step) => (PointLength::Seconds(step.as_secs()), vec![]),
            series::Step::Calendar(unit) => {
                let starts = range.starts.iter().map(Timestamp::to_string).collect();
                (PointLength::Unit(unit.as_str().to_owned()), starts)
            }
        };
        Self {
            key: key.to_owned(),
            start: range.start().to_string(),
            step,
            starts,
            coarsened: range.coarsened,
            sum: range.sum(),
            from: range.from.to_string(),
            to: range.to.to_string(),
            partial: Partial {
                first: range.is_first_partial(),
                last: range.is_last_partial(),
                counts: range.partial,
            },
            values: range.values,
        }
    }
}
