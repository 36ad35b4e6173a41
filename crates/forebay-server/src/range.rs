//! Counts of a series at regular times: for `/v1/series/{series}` and `forebay series`.

use forebay::series::Range;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Counts at regular times.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Range)]
pub struct RangeBody {
    pub(crate) key: String,
    /// When the first point begins: a multiple of `step` at or before `from`.
    #[schema(format = DateTime)]
    pub(crate) start: String,
    /// Seconds from point to point.
    pub(crate) step: u64,
    /// `step` is longer than what was asked for: so fine a bucket is not kept at `from` any more.
    pub(crate) coarsened: bool,
    /// The count of each point, zero where nothing was counted.
    pub(crate) values: Vec<u64>,
    /// The same as that of `/sum` over the same span.
    pub(crate) sum: u64,
    /// From when the points count: `from` of the question, widened to the finest bucket that is still kept there; later
    /// where no bucket is.
    #[schema(format = DateTime)]
    pub(crate) from: String,
    /// Until before when: widened likewise, and at most the bucket that is 5 minutes ahead.
    #[schema(format = DateTime)]
    pub(crate) to: String,
    pub(crate) partial: Partial,
}

/// Whether the points at the edges count a part of their time only.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Partial {
    pub(crate) first: bool,
    pub(crate) last: bool,
}

impl RangeBody {
    /// Writes a range of `key` down.
    pub fn new(key: &str, range: Range) -> Self {
        Self {
            key: key.to_owned(),
            start: range.start.to_string(),
            step: range.step.as_secs(),
            coarsened: range.coarsened,
            sum: range.sum(),
            from: range.from.to_string(),
            to: range.to.to_string(),
            partial: Partial { first: range.is_first_partial(), last: range.is_last_partial() },
            values: range.values,
        }
    }
}
