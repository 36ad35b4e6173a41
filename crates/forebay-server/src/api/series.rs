//! Bodies of `/v1/series`.

use forebay::series::{Range, Total};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::{At, Count, Key};

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

/// Counts at regular times.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Range)]
pub(crate) struct RangeBody {
    pub(crate) key: String,
    /// The start of the first point: a multiple of `step` at or before `from`.
    #[schema(format = DateTime)]
    pub(crate) start: String,
    /// Seconds from point to point.
    pub(crate) step: u64,
    /// `step` is longer than the request's, because buckets as fine as that are not kept at `from` any more.
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
    /// The range of `key`.
    pub(crate) fn new(key: &str, range: Range) -> Self {
        Self {
            key: key.to_owned(),
            start: range.start.to_string(),
            step: range.step.as_secs(),
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
