//! Lines of `/v1/live`.

use std::collections::BTreeMap;

use forebay::buffer::Stats;
use serde::Serialize;
use utoipa::ToSchema;

use super::{declared::Declared, host::Host};

/// A line of the stream. A rate is the difference of two totals divided by the difference of `elapsed`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LiveLine {
    /// The time at which the server started. Totals count from then: only lines with the same value can be compared.
    #[schema(format = DateTime)]
    pub(crate) started: String,
    /// Seconds since then, on a monotonic clock.
    pub(crate) elapsed: f64,
    pub(crate) events: BTreeMap<String, EventTotals>,
    /// Buffers by name; one whose store does not answer is absent.
    pub(crate) buffers: BTreeMap<String, BufferState>,
    /// The hosts of the store; absent in a store with one host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) hosts: Vec<Host>,
    /// In the first line only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) declared: Option<Declared>,
    /// In the first line only: the last two minutes before it, about a second apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) history: Option<Vec<LivePast>>,
}

/// The totals at an earlier moment.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LivePast {
    /// Seconds since the server started.
    pub(crate) elapsed: f64,
    pub(crate) events: BTreeMap<String, EventTotals>,
}

/// The outcomes of the hits of an event.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EventTotals {
    /// Hits that were charged, counted and buffered.
    pub(crate) accepted: u64,
    /// Hits that a limit denied.
    pub(crate) limited: u64,
    /// Requests, and lines of a batch, that were refused as invalid.
    pub(crate) invalid: u64,
    /// Hits that a series or a buffer could not take.
    pub(crate) failed: u64,
}

/// The state of a buffer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct BufferState {
    /// Rows that are not in the database yet.
    pending_rows: u64,
    /// Age in seconds of the oldest pending row.
    oldest_age: f64,
    /// Batches that are being flushed.
    frozen_batches: u64,
    /// Rows that this process flushed.
    flushed_rows: u64,
    /// Rows that this process stored as dead letters.
    dead_rows: u64,
    /// The reason why the last flush failed; null after a flush that succeeded.
    last_error: Option<String>,
}

impl From<Stats> for BufferState {
    fn from(stats: Stats) -> Self {
        Self {
            pending_rows: stats.pending_rows,
            oldest_age: stats.oldest_age.as_secs_f64(),
            frozen_batches: stats.frozen_batches,
            flushed_rows: stats.flushed_rows,
            dead_rows: stats.dead_rows,
            last_error: stats.last_error,
        }
    }
}
