//! Bodies of `/v1/series/{series}/top` and `/bottom`.

use forebay::series::{RankedKey, Ranking};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::labels::Labels;

/// A key and its count.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = RankedKey)]
pub(crate) struct RankedBody {
    /// The key; of a group, the one with the values of its labels alone.
    pub(crate) key: String,
    /// The labels of the key that have a value, or those of `group_by`. Left out for a series without labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<Labels>,
    /// The count in the span.
    pub(crate) sum: u64,
    /// The count of any key that was not looked at, at most. The same in all rows.
    pub(crate) at_most_missed: u64,
    /// Whether the row belongs here for certain: its count is larger than `at_most_missed`, or no key was missed.
    pub(crate) exact: bool,
    /// Counts or keys may be missing that other hosts accepted while one was down. Left out if none are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) partial: bool,
}

impl RankedBody {
    /// The rows of a ranking. `grouped`: by labels.
    pub(crate) fn rows(ranking: Ranking, grouped: bool) -> Vec<Self> {
        let Ranking { rows, at_most_missed, partial, .. } = ranking;
        let row = |row: RankedKey| {
            let RankedKey { key, mut labels, sum, .. } = row;
            if !grouped {
                labels.retain(|(_, value)| !value.is_empty());
            }
            let labels = Some(Labels(labels)).filter(|labels| !labels.0.is_empty());
            let exact = at_most_missed == 0 || sum > at_most_missed;
            Self { key, labels, sum, at_most_missed, exact, partial }
        };
        rows.into_iter().map(row).collect()
    }
}
