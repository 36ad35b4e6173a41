//! Bodies of `/v1/events`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    batch::LineAnswer,
    fields::{At, Count, Key},
    labels::Labels,
};

/// A hit.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with key, and perhaps labels, n and at")]
pub(crate) struct HitRequest {
    pub(crate) key: Key,
    /// The labels under which the event's labelled series count it, in place of the key. Limits and buffers have the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<Labels>,
    /// The number of hits; default 1.
    #[serde(default)]
    pub(crate) n: Count,
    /// The time of the hit; default now. It dates the point and the row. Limits use the store's clock.
    pub(crate) at: Option<At>,
}

/// The number of hits that were accepted, or denied.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HitAnswer {
    pub(crate) accepted: u64,
    pub(crate) limited: u64,
    /// Present and true if the store did not answer and `on_error` decided.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) degraded: bool,
    /// Series that did not count the hit, because its time is older than their retention; absent if none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) late: Vec<String>,
}

/// The answer to a batch of hits.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
pub(crate) struct BatchAnswer {
    /// Hits accepted.
    pub(crate) accepted: u64,
    /// Hits denied by a limit.
    pub(crate) limited: u64,
    /// Lines refused as invalid.
    pub(crate) invalid: u64,
    /// Hits that a series or a buffer could not take; absent if none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) failed: u64,
    /// Accepted hits that at least one series did not count, because their time is older than its retention; absent if none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) late: u64,
    /// The outcome of each line, in order.
    pub(crate) results: Vec<LineAnswer>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}
